"""What is done to the store by hand: copied, put back, moved; agencies written into it, its secrets kept, sites joined to it."""
