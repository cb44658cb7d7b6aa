"""How one probe is run to its one end, and the notes of it."""
