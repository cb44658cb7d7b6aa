"""Sites beside the demo's hub: a PostgreSQL and a service each, and wires that can be cut."""
