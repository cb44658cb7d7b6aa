"""A site among others: it beats and tells of its runs, and at the hub hears what the others say."""
