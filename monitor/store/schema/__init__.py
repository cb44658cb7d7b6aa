"""Tables, conversion of rows to values, and migrations."""
