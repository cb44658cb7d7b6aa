"""Queueing and relaying of messages between mail systems, and delivery status notifications."""
