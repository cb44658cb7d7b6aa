"""The servers at which clients knock: submission, inbound SMTP, IMAP."""
