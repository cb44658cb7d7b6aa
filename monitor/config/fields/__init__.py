"""What single keys hold: days, hours, numbers, addresses to listen on, certificates."""
