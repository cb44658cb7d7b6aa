"""What is due, whose turn it is at a server, what is let go, and whose an agency is. Decisions only."""
