"""A stand-in for a provider that issues access tokens, as RFC 6749 has it and as Google and Microsoft answer."""

from pantau_lab.oauth.api import app
from pantau_lab.oauth.provider import Grant, OAuthError, OAuthProvider, TokenEndpointFault

__all__ = ["Grant", "OAuthError", "OAuthProvider", "TokenEndpointFault", "app"]
