"""What can be broken, and how that shows."""
