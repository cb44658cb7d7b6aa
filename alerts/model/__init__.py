"""Values of the alerting side, and the protocol of gateways. No I/O."""
