"""Round-trip mail probes.

They send a real message, wait for it to arrive, and say what became of it. They know nothing of agencies' health,
incidents, storage or metrics: a probe takes mailboxes and returns a `ProbeResult`.
"""
