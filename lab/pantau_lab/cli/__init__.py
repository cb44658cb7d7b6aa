"""The commands that come with the lab."""
