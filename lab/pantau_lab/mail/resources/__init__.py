"""Resources of a mail system: accounts, mailboxes, ports, certificates, delays of faults."""
