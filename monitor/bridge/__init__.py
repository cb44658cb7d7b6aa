"""Bridge from health evaluation to incidents: the only connection between probing and alerting."""
