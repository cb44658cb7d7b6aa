"""Issuer of access tokens by a service account that acts for a mailbox (RFC 7523): Google's domain-wide delegation.

The account's private key signs an assertion (JWT) of issuer, subject and scope, which the token endpoint exchanges for
an access token.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Self

from joserfc import jwt
from joserfc.jwk import RSAKey

from probes.credentials.oauth import utc_now
from probes.credentials.oauth_endpoint import Client, parse_token, read_response
from probes.model.mailbox import AccessToken

#: The only scope for IMAP and SMTP at Google.
GOOGLE_SCOPE: Final = "https://mail.google.com/"
_GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
#: Limit of characters of a key file. Google's has some 2,400; parsing a larger RSA key takes seconds.
MAX_KEY_FILE: Final = 8 * 1024
#: Limit of characters of a name or number in a key file.
_MAX_FIELD: Final = 254
#: Longest lifetime of an assertion that Google allows.
_LIFETIME: Final = timedelta(hours=1)
#: The assertion is dated back by this time, so that the provider accepts it although our clock is ahead. The rest of
#: the hour is the tolerance for a clock that is behind.
_CLOCK_TOLERANCE: Final = timedelta(minutes=5)


class BadServiceAccountError(Exception):
    """The text is not a key file of a service account.

    The message, whose subject is the file ("is no JSON"), describes the format without quoting the text.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """Service account, from its key file (JSON)."""

    #: Name of the account: "pantau@projek-contoh.iam.gserviceaccount.com".
    email: str
    #: Number by which an administrator grants the delegation.
    client_id: str
    #: Id of the key.
    key_id: str
    key: RSAKey = field(repr=False)

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse a key file; the token URL in it is ignored. Raise `BadServiceAccountError`."""
        if len(text) > MAX_KEY_FILE:
            raise BadServiceAccountError(
                f"has more than {MAX_KEY_FILE // 1024} KiB, and a service account's key has less"
            )
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise BadServiceAccountError("is no JSON, as the file of a service account's key is") from None
        if not isinstance(document, dict) or document.get("type") != "service_account":
            raise BadServiceAccountError("is the JSON of something else than a service account's key")
        values = {key: document.get(key) for key in ("client_email", "client_id", "private_key_id", "private_key")}
        fields = [value if isinstance(value, str) and value.isascii() else "" for value in values.values()]
        email, client_id, key_id, private_key = fields
        if not private_key or not all(value.isprintable() and 0 < len(value) <= _MAX_FIELD for value in fields[:3]):
            raise BadServiceAccountError(
                f"does not say {', '.join(values)}, as the file of a service account's key does"
            )
        try:
            key = RSAKey.import_key(private_key)
        except (ValueError, TypeError):
            key = None
        if key is None or not key.is_private:
            raise BadServiceAccountError("holds a private key that cannot be read: the file was changed, or cut off")
        return cls(email=email, client_id=client_id, key_id=key_id, key=key)

    def assertion(self, audience: str, subject: str, scope: str, now: datetime) -> str:
        """Return the signed assertion for *audience*, a token endpoint, in the name of the mailbox *subject*."""
        issued_at = int((now - _CLOCK_TOLERANCE).timestamp())
        claims = {
            "iss": self.email,
            "sub": subject,
            "aud": audience,
            "scope": scope,
            "iat": issued_at,
            "exp": issued_at + int(_LIFETIME.total_seconds()),
        }
        return jwt.encode({"alg": "RS256", "kid": self.key_id}, claims, self.key)


class ServiceAccountIssuer:
    """Issuer of access tokens for one mailbox, by a service account's signed assertion (RFC 7523 2.1)."""

    def __init__(
        self, client: Client, account: ServiceAccount, subject: str, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        """*subject*: address of the mailbox."""
        # The request has neither client nor scope, because the assertion contains both.
        self._client = replace(client, client_id="", client_secret=None, scope=None)
        self._scope = client.scope or ""
        self._account = account
        self._subject = subject
        self._clock = clock

    async def issue(self) -> AccessToken:
        """Request a new token. Raise `AccessTokenError`."""
        now, url = self._clock(), self._client.token_url
        signed_assertion = await asyncio.to_thread(self._account.assertion, url, self._subject, self._scope, now)
        async with self._client.session() as session:
            request = session.fetch_token(url, grant_type=_GRANT_TYPE, assertion=signed_assertion)
            return parse_token(await read_response(request, self._client, signed_assertion), now)
