"""When mail is proven: which runs and checks are due, whose turn it is at a server, and the loops that run them."""
