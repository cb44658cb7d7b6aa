"""Views of the current state for people and programs. No I/O."""
