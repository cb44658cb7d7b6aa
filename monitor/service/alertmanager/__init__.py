"""The NOC's Alertmanager: alerts received from it, and our incidents sent to it."""
