"""Sites and their hub: PostgreSQL replicates each site's statuses from its store into the hub's."""
