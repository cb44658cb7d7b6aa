"""What duty officers see and do in a browser: what waits for them, an incident with its forms, and who is on call."""
