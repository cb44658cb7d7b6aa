"""`pantau lab`: mail systems of one agency and two references, which commands at a terminal break and repair."""
