"""Commands of people on duty."""
