"""Decisions: pure functions of values and `now` that return a named value. No I/O."""
