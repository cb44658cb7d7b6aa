"""How a file is read: places, keys, kinds of values, secrets, and what is wrong with it."""
