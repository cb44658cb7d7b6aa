"""Probing loops: scheduled probes and checks, permits for submission, and mail that arrives late."""
