"""The parsed values: settings, agencies, and what the settings provide to the agencies."""
