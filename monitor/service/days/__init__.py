"""The days of agencies: kept minute by minute, and told of all at once and a month at a time."""
