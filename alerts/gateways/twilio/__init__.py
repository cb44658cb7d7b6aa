"""SMS and voice through Twilio: the gateways `twilio_sms` and `twilio_voice` and their common client."""
