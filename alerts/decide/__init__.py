"""Decisions of the engine: pure functions of stored data and the time `now`, which return what to do. No I/O."""
