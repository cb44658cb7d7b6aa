"""Permissions and sign-in rules of the portal: roles, passwords, lockout, codes. Pure."""
