"""What is due, whose turn it is at a server, and what is let go. Decisions only."""
