"""Checks of a domain in the DNS and at its servers: records, policies, certificates, signatures."""
