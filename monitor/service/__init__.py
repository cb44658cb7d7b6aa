"""What follows from the configuration in force and runs beside the probing: gateways, duties, silences, letters."""
