"""Access control: the permission check of every route, and the pages for sign-in, users, tokens and wallboards."""
