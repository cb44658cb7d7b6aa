"""Simulated Google service account with domain-wide delegation: its key file, and the check of its signed assertions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

#: Google's error descriptions (developers.google.com/identity/protocols/oauth2/service-account).
NOT_DELEGATED = "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested."
_INVALID_USER = "Invalid email or User ID"
_INVALID_SIGNATURE = "Invalid JWT Signature."
_INVALID_TIMES = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
    " Check your iat and exp values in the JWT claim."
)
#: Accepted clock skew.
_LEEWAY = timedelta(minutes=1)


@cache
def _cached_key(_name: str) -> RSAKey:
    """Return the key with this name. It is cached, because generating one takes a third of a second."""
    return RSAKey.generate_key(2048)


@dataclass(slots=True, kw_only=True)
class LabServiceAccount:
    """Service account that may act for every user of a domain if the domain's administrator delegates scopes to it."""

    email: str = "pantau@projek-contoh.iam.gserviceaccount.com"
    client_id: str = "104999999999999999999"
    #: Delegated scopes; empty: nothing is delegated.
    scopes: set[str] = field(default_factory=lambda: {"https://mail.google.com/"})
    key: RSAKey = field(default_factory=lambda: _cached_key("own"), repr=False)

    def key_file(self) -> str:
        """Return the text of the key file, in the format of Google's console."""
        content = {
            "type": "service_account",
            "project_id": "projek-contoh",
            "private_key_id": "0123456789abcdef",
            "private_key": self.key.as_pem(private=True).decode(),
            "client_email": self.email,
            "client_id": self.client_id,
            "token_uri": "https://oauth2.googleapis.com/token",
        }
        return json.dumps(content, indent=2)

    def renew_key(self) -> None:
        """Replace the key, so that assertions signed with earlier key files are refused."""
        self.key = _cached_key("another")

    def refusal(self, assertion: str, mailbox: str, now: datetime) -> tuple[str, str] | None:
        """Return why a signed assertion for *mailbox* is refused: an error (RFC 6749 5.2) and its text; `None`: it is valid.

        *now*: the present time, with which the times of the assertion are compared.
        """
        try:
            claims = jwt.decode(assertion, self.key, algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            return "invalid_grant", _INVALID_SIGNATURE
        issued_at, expires_at = (datetime.fromtimestamp(int(claims[each]), now.tzinfo) for each in ("iat", "exp"))
        if issued_at > now + _LEEWAY or expires_at < now - _LEEWAY or expires_at - issued_at > timedelta(hours=1):
            return "invalid_grant", _INVALID_TIMES
        if claims["iss"] != self.email or not str(claims["aud"]).endswith("/token"):
            return "invalid_grant", "Invalid grant: account not found"
        if not self.scopes.issuperset(str(claims["scope"]).split()):
            return "unauthorized_client", NOT_DELEGATED
        return None if claims["sub"] == mailbox else ("invalid_grant", _INVALID_USER)
