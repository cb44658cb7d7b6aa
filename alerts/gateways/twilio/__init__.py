"""SMS and calls through Twilio: the gateways `twilio_sms` and `twilio_voice`, and what they share."""
