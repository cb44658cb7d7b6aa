"""Fake access tokens."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from datetime import datetime

from probes.credentials.oauth import AccessTokenError
from probes.model.mailbox import AccessToken, OAuth

USER = "semakan@jabatan-contoh.gov.my"
#: As Google says it.
CHALLENGE = b64encode(
    json.dumps({"status": "400", "schemes": "Bearer", "scope": "https://mail.google.com/"}).encode()
).decode()


@dataclass(slots=True)
class FakeTokens:
    """Implements `probes.model.mailbox.AccessTokens`: hands out the first of its tokens until it is rejected."""

    tokens: list[AccessToken | AccessTokenError] = field(default_factory=list)
    #: Whether another token is worth a try.
    is_renewable: bool = True
    rejected: list[str] = field(default_factory=list)
    silent: bool = False
    expires_at: datetime | None = None

    async def get(self) -> AccessToken:
        if self.silent:
            await asyncio.Event().wait()
        first = self.tokens[0]
        if isinstance(first, AccessTokenError):
            raise first
        return first

    def reject(self, token: AccessToken) -> bool:
        self.rejected.append(token.secret)
        if self.is_renewable and len(self.tokens) > 1:
            self.tokens.pop(0)
        return self.is_renewable


def fake_tokens(*secrets: str, is_renewable: bool = True) -> FakeTokens:
    return FakeTokens([AccessToken(secret=secret) for secret in secrets], is_renewable=is_renewable)


def login(tokens: FakeTokens) -> OAuth:
    return OAuth(username=USER, tokens=tokens)


def token_of_response(response: str) -> str:
    """Return the token in an XOAUTH2 response; it must be put as documented."""
    user, bearer, *rest = b64decode(response, validate=True).decode().split("\1")
    assert (user, rest) == (f"user={USER}", ["", ""])
    assert bearer.startswith("auth=Bearer ")
    return bearer.removeprefix("auth=Bearer ")
