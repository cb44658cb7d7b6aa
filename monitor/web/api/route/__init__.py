"""Building blocks of API routes: request validation, rejection, responses."""
