"""Values of routes and agencies: probing policies, quotas, health, documents, windows. No I/O."""
