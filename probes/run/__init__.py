"""Runner of one probe, and its trace."""
