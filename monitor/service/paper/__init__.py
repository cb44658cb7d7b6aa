"""Letters and faxes: letters in trays, and the guard that keeps a restored database from reusing numbers on paper."""
