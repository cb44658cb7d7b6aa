"""What the DNS and the servers of a domain say of it: records, policies, certificates, signatures."""
