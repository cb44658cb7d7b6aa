"""Which days are worked, when an office answers, at which instant a clock on a wall shows a time. Decisions only."""
