"""Probing loops: scheduled probes and checks, their permits, and mail that arrives late."""
