"""How things stand, as people are shown it. No I/O."""
