"""What the alerting engine keeps: implements the port `alerts.record.store`, and the journal."""
