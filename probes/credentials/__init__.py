"""With what a mailbox is signed in to: passwords, and access tokens from wherever they come."""
