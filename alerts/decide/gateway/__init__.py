"""Decisions about delivery: next action of a notification, rate limits, overdue receipts, latency."""
