"""Which days are worked, when an office answers, at which instant a clock on a wall shows a time, and what was a short while ago. Decisions only."""
