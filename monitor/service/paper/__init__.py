"""Paper: letters in the trays, and the numbers that an older copy of the store must not assign again."""
