"""How a route of the API is made: what it takes, what it refuses, and how it answers."""
