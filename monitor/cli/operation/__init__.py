"""Running the service, checking its configuration, proving mail at once."""
