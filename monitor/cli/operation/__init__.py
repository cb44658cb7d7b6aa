"""Commands that run the service, check its configuration and probe mail."""
