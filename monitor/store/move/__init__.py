"""A store moved to another: from the embedded file to a server, in parts, and compared before it counts."""
