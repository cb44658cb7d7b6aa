"""SMTP, IMAP and POP3 as a mailbox's servers are spoken to."""
