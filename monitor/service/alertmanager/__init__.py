"""The NOC's Alertmanager: what it brings that fires, and what it is told of our incidents."""
