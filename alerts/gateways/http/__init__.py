"""SMS through any provider that the configuration describes: the gateway `http_sms` and its profile."""
