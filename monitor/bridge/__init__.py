"""From a judged run to an event: the only bridge between probing and alerting."""
