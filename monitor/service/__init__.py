"""Services that depend on the current configuration and run beside the probing: gateways, rotas, silences, letters."""
