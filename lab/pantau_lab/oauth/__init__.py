"""Simulated OAuth 2.0 authorization server (RFC 6749), which answers as Google and Microsoft do."""

from pantau_lab.oauth.api import app
from pantau_lab.oauth.authorization_server import AuthorizationServer, Grant, OAuthError, TokenEndpointFault
from pantau_lab.oauth.service_account import LabServiceAccount

__all__ = ["AuthorizationServer", "Grant", "LabServiceAccount", "OAuthError", "TokenEndpointFault", "app"]
