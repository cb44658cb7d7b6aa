"""When mail is proven: the loops that run probes and checks, and wait for their turn."""
