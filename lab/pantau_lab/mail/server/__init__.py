"""Servers of a mail system: submission, inbound SMTP and IMAP."""
