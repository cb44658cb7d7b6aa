"""What is done to the store by hand: copied, put back, moved; agencies written into it, and its secrets kept."""
