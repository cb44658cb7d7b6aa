"""Access control in the browser: the permission check of every route, sign-in, users."""
