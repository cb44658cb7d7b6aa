"""Notification engine: reads the database, calls `alerts.decide`, writes the decisions, calls gateways."""
