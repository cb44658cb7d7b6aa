"""The words of the alerting side as values, and the contract of a gateway. No I/O."""
