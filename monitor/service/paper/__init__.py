"""What is on paper, or waits to be: letters in the trays, and numbers that an older copy of the store must not give again."""
