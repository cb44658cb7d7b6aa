"""Sessions of an unauthenticated client with a server, up to the sign-in."""
