"""A corpus of wrong configurations, one file per case. `case` describes the format."""
