"""What can be shown afterwards: the chain of the journal, the dossier of an incident, the life of the service."""
