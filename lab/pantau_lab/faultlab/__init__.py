"""`pantau lab`: the mail of one agency and of two references, to be broken by orders at a terminal."""
