"""API for programs: queries, and commands with a token, under `/api/v1`."""
