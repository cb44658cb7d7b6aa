"""What duty officers see and do in a browser: what waits for them, and an incident with its forms."""
