"""Workdays, office hours, wall-clock times across changes of the clock, elapsed time. Pure."""
