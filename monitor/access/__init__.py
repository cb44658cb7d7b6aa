"""Who may do what in the portal, and what makes a sign-in good: roles, passwords, waits, codes. Decisions only."""
