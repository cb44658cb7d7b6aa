"""What it is worth that was found of a domain or a host. Decisions, but for the look-up of an address."""
