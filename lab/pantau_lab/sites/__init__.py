"""Sites beside the demo's hub: each has a PostgreSQL and a service, and links that can be disconnected."""
