"""A service account in the name of a mailbox (RFC 7523), as Google has it for domains whose administrator has delegated to one.

With its private key it signs who it is, whom it acts for and what it wants, and the token endpoint gives an access token for that.
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

#: Nothing less opens IMAP and SMTP at Google.
GOOGLE_SCOPE: Final = "https://mail.google.com/"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
#: In characters: Google's has some 2,400, and reading an RSA key of more bits than this holds takes seconds.
LARGEST_KEY: Final = 8 * 1024
#: Of a name or a number in it, in characters.
_LONGEST: Final = 254
#: What Google allows between "from" and "until".
_LIFE: Final = timedelta(hours=1)
#: So far may our clock be ahead of the provider's. Behind, it may be all the rest of the hour.
_AHEAD: Final = timedelta(minutes=5)


class BadServiceAccountError(Exception):
    """What was given is no key of a service account. The message says what one is, and none of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """A service account, as the file of its key (JSON) says it."""

    #: Its name: "pantau@projek-contoh.iam.gserviceaccount.com".
    email: str
    #: By which number an administrator delegates to it.
    client_id: str
    #: Which of its keys this is.
    key_id: str
    key: RSAKey = field(repr=False)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read the file of a key. Where it says that tokens come from is not gone by. Raise `BadServiceAccountError`."""
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
        """Return what it signs to be given a token by *audience*, in the name of *subject*."""
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
    """Asks with what a service account has signed (RFC 7523 2.1), in the name of one mailbox."""

    def __init__(
        self, client: Client, account: ServiceAccount, subject: str, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        """*subject*: the mailbox' own address."""
        # Who asks is in what is signed, with what it asks for.
        self._client = replace(client, client_id="", client_secret=None, scope=None)
        self._scope = client.scope or ""
        self._account = account
        self._subject = subject
        self._clock = clock

    async def issue(self) -> AccessToken:
        """Return a new token. Raise `AccessTokenError`."""
        now, url = self._clock(), self._client.token_url
        signed = await asyncio.to_thread(self._account.assertion, url, self._subject, self._scope, now)
        async with self._client.session() as session:
            asked = session.fetch_token(url, grant_type=_GRANT, assertion=signed)
            return token_of(await answer_of(asked, self._client, signed), now)
