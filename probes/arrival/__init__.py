"""Detection of arrivals: one watcher per mailbox, its mail readers, and the final search."""
