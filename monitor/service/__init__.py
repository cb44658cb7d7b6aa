"""Services that depend on the configuration in force and run beside the probing: gateways, duties, silences, letters."""
