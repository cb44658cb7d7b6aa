"""Verdicts on findings about a domain or a host. Pure, except for the resolution of an address."""
