"""SMTP, IMAP and POP3 clients for a mailbox's servers."""
