"""A site among others: its heartbeat and published runs; at the hub, the statuses of the others."""
