"""Day records of agencies: recorded minute by minute, reported for all agencies at once and per month."""
