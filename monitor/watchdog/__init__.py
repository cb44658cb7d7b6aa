"""Self-monitoring: escalation auditor, heartbeat to a dead man's switch, out-of-band alerts without a database."""
