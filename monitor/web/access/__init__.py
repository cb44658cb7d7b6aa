"""Who may see and do what in a browser: the gate before every route, signing in, users."""
