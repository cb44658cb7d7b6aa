"""Queries and commands of the command line, over the control socket."""
