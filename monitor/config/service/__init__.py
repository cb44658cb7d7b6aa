"""The sections that only the settings file has."""
