"""What the alerting engine keeps: implements the port `alerts.persistence.store`, and the journal."""
