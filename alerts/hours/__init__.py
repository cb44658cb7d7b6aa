"""Workdays, office hours, wall clocks across time changes, elapsed time. Pure."""
