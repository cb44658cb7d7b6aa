"""Commands on letters, records and the audit log."""
