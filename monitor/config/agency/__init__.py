"""Sections of an agency's file; the settings file shares some of them."""
