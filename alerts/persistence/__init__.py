"""Persistence: protocol of the store, hash chain of the audit log, clock."""
