"""Store of the engine: implements `alerts.persistence.store`, and the audit log."""
