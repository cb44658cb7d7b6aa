"""Basis of the portal's pages and the API's commands: editing an agency, testing a route, pending work, each command once."""
