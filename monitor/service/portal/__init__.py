"""Basis of portal pages and API commands: editing an agency, testing a route, pending work, each command once."""
