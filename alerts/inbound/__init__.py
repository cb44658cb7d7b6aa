"""Processing of people's replies by telephone key, SMS or PIN, and of Alertmanager's webhook."""
