"""Delivery decisions: the next action of a notification, rate limits, overdue receipts, latency."""
