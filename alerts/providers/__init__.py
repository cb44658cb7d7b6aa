"""How the providers behind gateways are spoken to: over HTTP, by a description, through Twilio."""
