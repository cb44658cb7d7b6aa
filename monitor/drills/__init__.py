"""Exercises in telling people, so that a number that does not answer is found before it is needed."""
