"""The tables, their rows as values, and the migrations that made them."""
