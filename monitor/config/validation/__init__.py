"""Consistency checks of the configuration across sections and files, including the reachability of recipients."""
