"""What is known of a route: when it may run, what its accounts may send, how healthy it is. No I/O."""
