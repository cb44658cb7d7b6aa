"""What the command line asks and orders, over the control socket."""
