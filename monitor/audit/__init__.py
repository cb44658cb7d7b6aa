"""Records for audits: the hash chain of the audit log, incident records, and the life cycle of the service."""
