"""Service account acting for a mailbox (RFC 7523), as Google provides with domain-wide delegation.

Its private key signs an assertion of issuer, subject and scope, which the token endpoint exchanges for an access token.
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
from probes.credentials.oauth_endpoint import Client, answer_of, token_of
from probes.model.mailbox import AccessToken

#: The only scope that opens IMAP and SMTP at Google.
GOOGLE_SCOPE: Final = "https://mail.google.com/"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
#: Characters: Google's has some 2,400, and parsing an RSA key with more bits than this allows takes seconds.
LARGEST_KEY: Final = 8 * 1024
#: Characters of a name or number in it.
_LONGEST: Final = 254
#: Longest lifetime of an assertion that Google allows.
_LIFE: Final = timedelta(hours=1)
#: Tolerance for a clock ahead of the provider's. A clock that is behind may use the rest of the hour.
_AHEAD: Final = timedelta(minutes=5)


class BadServiceAccountError(Exception):
    """The text is no key of a service account. The message describes the format, and contains nothing of the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """Service account, from its key file (JSON)."""

    #: Its name: "pantau@projek-contoh.iam.gserviceaccount.com".
    email: str
    #: Number by which an administrator delegates to it.
    client_id: str
    #: Id of the key.
    key_id: str
    key: RSAKey = field(repr=False)

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse a key file. Its token address is ignored. Raise `BadServiceAccountError`."""
        if len(text) > LARGEST_KEY:
            raise BadServiceAccountError(
                f"has more than {LARGEST_KEY // 1024} KiB, and a service account's key has less"
            )
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            raise BadServiceAccountError("is no JSON, as the file of a service account's key is") from None
        if not isinstance(said, dict) or said.get("type") != "service_account":
            raise BadServiceAccountError("is the JSON of something else than a service account's key")
        found = {key: said.get(key) for key in ("client_email", "client_id", "private_key_id", "private_key")}
        texts = [each if isinstance(each, str) and each.isascii() else "" for each in found.values()]
        email, client_id, key_id, private = texts
        if not private or not all(each.isprintable() and 0 < len(each) <= _LONGEST for each in texts[:3]):
            raise BadServiceAccountError(
                f"does not say {', '.join(found)}, as the file of a service account's key does"
            )
        try:
            key = RSAKey.import_key(private)
        except (ValueError, TypeError):
            key = None
        if key is None or not key.is_private:
            raise BadServiceAccountError("holds a private key that cannot be read: the file was changed, or cut off")
        return cls(email=email, client_id=client_id, key_id=key_id, key=key)

    def assertion(self, audience: str, subject: str, scope: str, now: datetime) -> str:
        """Return the signed assertion for *audience*, in the name of *subject*."""
        since = int((now - _AHEAD).timestamp())
        claims = {
            "iss": self.email,
            "sub": subject,
            "aud": audience,
            "scope": scope,
            "iat": since,
            "exp": since + int(_LIFE.total_seconds()),
        }
        return jwt.encode({"alg": "RS256", "kid": self.key_id}, claims, self.key)


class Delegated:
    """Issuer by a service account's signed assertion (RFC 7523 2.1), in the name of one mailbox."""

    def __init__(
        self, client: Client, account: ServiceAccount, subject: str, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        """*subject*: the mailbox's own address."""
        # The assertion contains the client and the scope.
        self._client = replace(client, client_id="", client_secret=None, scope=None)
        self._scope = client.scope or ""
        self._account = account
        self._subject = subject
        self._clock = clock

    async def issue(self) -> AccessToken:
        """Request a new token. Raise `AccessTokenError`."""
        now, url = self._clock(), self._client.token_url
        signed = await asyncio.to_thread(self._account.assertion, url, self._subject, self._scope, now)
        async with self._client.session() as session:
            asked = session.fetch_token(url, grant_type=_GRANT, assertion=signed)
            return token_of(await answer_of(asked, self._client, signed), now)
