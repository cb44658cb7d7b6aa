"""Bridge from health evaluation to incidents: the only package that connects probing and alerting."""
