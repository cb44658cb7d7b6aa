"""Incidents, escalation, announcements, notifications and their delivery.

Independent of mail probes: an incident is opened by an `alerts.model.event.Event` from any source.
"""
