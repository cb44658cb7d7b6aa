"""SMS through any provider that is described in the configuration: the gateway `http_sms`, and how it is described."""
