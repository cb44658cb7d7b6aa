"""What a mail system has: accounts and mailboxes, ports, certificates, its pace."""
