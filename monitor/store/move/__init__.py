"""Move of a store from the embedded file to a server, in parts, and verified before it is valid."""
