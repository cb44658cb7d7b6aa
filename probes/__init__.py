"""Round-trip mail probes.

A probe sends a real message, waits for its arrival, and reports the result. It does not depend on agencies' health,
incidents, storage or metrics: it takes mailboxes and returns a `ProbeResult`.
"""
