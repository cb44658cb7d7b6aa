"""Engine: reads the store, calls `alerts.decide`, writes the results, calls gateways."""
