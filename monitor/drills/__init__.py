"""Drills: test notifications that find unreachable numbers and broken gateways before they are needed."""
