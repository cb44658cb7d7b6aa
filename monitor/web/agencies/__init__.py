"""Administration pages of the list of agencies: list, add, remove."""
