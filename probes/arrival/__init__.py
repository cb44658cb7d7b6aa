"""How an arrival is seen: one watcher a mailbox, what it reads it through, and the second look."""
