"""The pages on which officers edit their agency."""
