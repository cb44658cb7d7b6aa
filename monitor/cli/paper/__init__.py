"""Commands on letters, records, reports and the audit log."""
