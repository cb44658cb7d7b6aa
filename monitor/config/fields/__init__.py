"""Types of single keys: days, hours, numbers, listen addresses, certificates."""
