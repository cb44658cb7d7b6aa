"""The service: composes probes and alerts, schedules, judges, stores, exposes."""
