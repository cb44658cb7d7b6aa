"""Stored results of probing: runs, hours, tokens, processes and the applied configuration."""
