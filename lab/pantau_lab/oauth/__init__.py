"""A stand-in for an authorization server, which issues access tokens, as RFC 6749 has it and as Google and Microsoft answer."""

from pantau_lab.oauth.api import app
from pantau_lab.oauth.authorization_server import AuthorizationServer, Grant, OAuthError, TokenEndpointFault
from pantau_lab.oauth.service_account import LabServiceAccount

__all__ = ["AuthorizationServer", "Grant", "LabServiceAccount", "OAuthError", "TokenEndpointFault", "app"]
