"""Sections of the settings file alone."""
