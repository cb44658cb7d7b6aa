"""SQLite and PostgreSQL behind one face: transactions, locks, clocks, and what to do while the store is away."""
