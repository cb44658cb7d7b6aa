"""What the portal's pages and the API's orders rest on: editing an agency, testing a route, what waits for somebody, each order once."""
