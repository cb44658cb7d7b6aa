"""Round-trip mail probes.

A probe sends a real message, waits for its arrival, and reports the result: it takes mailboxes and returns a
`ProbeResult`. The package does not import the code for agencies' health, incidents, storage or metrics.
"""
