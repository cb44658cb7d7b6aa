"""Parsing of configuration files: source locations, keys, value types, secrets, problems."""
