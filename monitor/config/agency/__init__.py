"""The sections of an agency's file, some of which the settings file has, too."""
