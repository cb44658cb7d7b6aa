"""What was read, as values: the settings, the agencies, and what the first provide to the second."""
