"""The service: schedules probes, evaluates health, stores results, and serves pages, API and metrics."""
