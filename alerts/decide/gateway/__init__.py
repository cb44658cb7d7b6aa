"""What is decided of a notice and its gateway: when it may go, what is tried next, when receipts are overdue, how long it took."""
