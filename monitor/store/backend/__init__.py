"""SQLite and PostgreSQL behind one interface: transactions, locks, clocks, availability."""
