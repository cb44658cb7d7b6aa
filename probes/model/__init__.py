"""Value types of probes, the classification of refusals, and rate limits for reading. No I/O."""
