"""Commands on the store (the database): backup, restore, move; agency documents, secrets, sites."""
