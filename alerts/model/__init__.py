"""Data types of incidents and notifications, and the protocol of gateways. No I/O."""
