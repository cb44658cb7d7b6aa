"""What programs ask of the service, and may order with a token: `/api/v1`."""
