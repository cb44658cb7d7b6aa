"""SMS and calls through Twilio: the gateways `sms` and `voice`, and what they share."""
