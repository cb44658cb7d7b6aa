"""Simulated Google service account with domain-wide delegation: its key file, and the check of its signed assertions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

#: Google's words (developers.google.com/identity/protocols/oauth2/service-account).
NOT_DELEGATED = "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested."
NO_ACCOUNT = "Invalid email or User ID"
ANOTHER_KEY = "Invalid JWT Signature."
OTHER_TIME = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
    " Check your iat and exp values in the JWT claim."
)
#: Accepted clock skew.
_LEEWAY = timedelta(minutes=1)


@cache
def _a_key(_whose: str) -> RSAKey:
    """Return the key with this name. It is cached, because generating one takes a third of a second."""
    return RSAKey.generate_key(2048)


@dataclass(slots=True, kw_only=True)
class LabServiceAccount:
    """Service account that may act for all users of a domain, or for nobody until delegation."""

    email: str = "pantau@projek-contoh.iam.gserviceaccount.com"
    client_id: str = "104999999999999999999"
    #: Scopes that the domain's administrator has delegated to it.
    scopes: set[str] = field(default_factory=lambda: {"https://mail.google.com/"})
    key: RSAKey = field(default_factory=lambda: _a_key("own"), repr=False)

    def file(self) -> str:
        """Return the key file in the format of Google's console."""
        said = {
            "type": "service_account",
            "project_id": "projek-contoh",
            "private_key_id": "0123456789abcdef",
            "private_key": self.key.as_pem(private=True).decode(),
            "client_email": self.email,
            "client_id": self.client_id,
            "token_uri": "https://oauth2.googleapis.com/token",
        }
        return json.dumps(said, indent=2)

    def renew_key(self) -> None:
        """Take back the key that is out."""
        self.key = _a_key("another")

    def refusal(self, assertion: str, mailbox: str, now: datetime) -> tuple[str, str] | None:
        """Return the reason to refuse a signed assertion: an error (RFC 6749 5.2) and its text; `None` if it is valid."""
        try:
            claims = jwt.decode(assertion, self.key, algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            return "invalid_grant", ANOTHER_KEY
        since, until = (datetime.fromtimestamp(int(claims[each]), now.tzinfo) for each in ("iat", "exp"))
        if since > now + _LEEWAY or until < now - _LEEWAY or until - since > timedelta(hours=1):
            return "invalid_grant", OTHER_TIME
        if claims["iss"] != self.email or not str(claims["aud"]).endswith("/token"):
            return "invalid_grant", "Invalid grant: account not found"
        if not self.scopes.issuperset(str(claims["scope"]).split()):
            return "unauthorized_client", NOT_DELEGATED
        return None if claims["sub"] == mailbox else ("invalid_grant", NO_ACCOUNT)
