"""Credentials of mailboxes: passwords, and access tokens of every grant."""
