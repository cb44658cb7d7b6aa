"""Faults of a mail system, and their effects."""
