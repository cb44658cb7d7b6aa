"""Initial data of the demo, in a database that no service has opened yet: users, and ninety days of history."""
