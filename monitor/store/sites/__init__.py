"""Sites and their hub: what each site says is replicated by PostgreSQL from its store into the hub's."""
