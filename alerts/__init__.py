"""From an event to a person: incidents, escalation, announcement, notices and their delivery.

Knows nothing of mail probes. What opens an incident is an `alerts.model.event.Event`, whoever sends it.
"""
