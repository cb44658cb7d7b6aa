"""Queries and commands of the command line, over the control socket, a Unix socket for the service's own user."""
