"""Brings incidents forward: reads what is true, asks `alerts.decide`, writes what follows, calls gateways."""
