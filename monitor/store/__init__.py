"""Persistent storage: everything that must outlive the process."""
