"""Configurations as people write them: one file a case. `case` says how they are written."""
