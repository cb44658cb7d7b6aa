"""SMS through any provider that is described in the configuration: the gateway `sms`, and how it is described."""
