"""Who watches the watcher: the escalation auditor, the heartbeat for an outside switch, the lifeline without a store."""
