"""Sign-in with a password or an access token, and the meaning of a missing token: common to SMTP, IMAP and POP3."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from string import ascii_lowercase, ascii_uppercase
from typing import TypeVar
from urllib.parse import quote

from aiosmtplib.auth import auth_xoauth2_encode

from probes.credentials.oauth import AccessTokenError
from probes.model.mailbox import AccessToken, OAuth, Password, UnavailableLogin
from probes.model.probe import ProbeFailedError
from probes.model.reply import Reason, failed
from probes.model.result import Outcome, Party, Phase, RefusalCause

T = TypeVar("T")

#: This many characters of a secret in a message count as a disclosure of it.
_GIVEN_AWAY = 8
#: Characters: less of a refusal is shown in the end, and masking more takes long.
_SHOWN_AT_MOST = 1024
_STARS = re.compile("\0+")
#: Maps each letter to one letter, which `lower` does not guarantee.
_SMALL = str.maketrans(ascii_uppercase, ascii_lowercase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Sign-in with a valid access token."""

    username: str
    token: AccessToken = field(repr=False)

    @property
    def response(self) -> str:
        """The response of SASL XOAUTH2, in base64."""
        return auth_xoauth2_encode(self.username, self.token.secret).decode("ascii")


async def with_key(
    login: Password | OAuth | UnavailableLogin,
    party: Party,
    attempt: Callable[[Password | Bearer], Awaitable[T]],
    *,
    within: timedelta | None = None,
) -> T:
    """Return the result of *attempt*, which opens its own connection and signs in with the given credential.

    A token is obtained before the connection is opened: servers allow little time between the two, and a slow token
    endpoint must not count as a slow mail server. It takes at most half of *within*, the timeout of the waiting runs. A
    rejected token may have been revoked since it was issued: then *attempt* is repeated once, with another token.
    Passwords are tried once, because the account could be locked.

    Raise `ProbeFailedError`; one without an access token says nothing about the mail server.
    """
    if isinstance(login, UnavailableLogin):
        raise failed(Outcome.INCONCLUSIVE, Reason.NO_SECRET, Phase.AUTH, party, login.reason)
    if isinstance(login, Password):
        return await attempt(login)
    token = await _token(login, party, within)
    try:
        return await attempt(Bearer(username=login.username, token=token))
    except ProbeFailedError as refusal:
        if not refusal.failure.credentials_refused or not login.tokens.reject(token):
            raise
        another = await _token(login, party, within)
        if another.secret == token.secret:
            raise
    return await attempt(Bearer(username=login.username, token=another))


def plain(key: Password) -> str:
    """Return the response of SASL PLAIN (RFC 4616), in base64."""
    return b64encode(f"\0{key.username}\0{key.secret}".encode()).decode("ascii")


def masked(text: str, key: Password | Bearer) -> str:
    """Return *text*, a server's message about *key*, without secrets: some servers repeat what they refuse.

    They repeat it as it was sent, decoded, cut off, wrapped, or in another case, so every part that has eight
    consecutive characters in common with it is removed.
    """
    secret = key.token.secret if isinstance(key, Bearer) else key.secret
    sent = key.response if isinstance(key, Bearer) else plain(key)
    forms = [
        form.translate(_SMALL)
        for form in (secret, quote(secret, safe=""), sent, b64encode(secret.encode()).decode("ascii"))
    ]
    low, hidden = text.translate(_SMALL), set[int]()
    for form in (form for form in forms if form):
        length = min(_GIVEN_AWAY, len(form))
        for start in range(len(low) - length + 1):
            if low[start : start + length] in form:
                hidden.update(range(start, start + length))
    return _STARS.sub("***", "".join("\0" if place in hidden else letter for place, letter in enumerate(text)))


def shown(text: str, key: Password | Bearer | None) -> str:
    """Return the part of a server's message that people are shown of a refusal, without secrets of *key*."""
    return text if key is None else masked(text[:_SHOWN_AT_MOST], key)


async def _token(login: OAuth, party: Party, within: timedelta | None) -> AccessToken:
    try:
        async with asyncio.timeout(within.total_seconds() / 2 if within else None):
            return await login.tokens.get()
    except AccessTokenError as missing:
        raise _without_token(missing, party) from None
    except TimeoutError:
        raise _without_token(AccessTokenError("no answer to the request for a token"), party) from None


def _without_token(missing: AccessTokenError, party: Party) -> ProbeFailedError:
    """Return the failure for the run: a refusal concerns our account; any other error is attributed to none.

    Only our side may fail to reach the authorization server, so its silence is not attributed to a mail server.
    """
    if missing.refused:
        said, account = str(missing), RefusalCause.ACCOUNT
        return failed(
            Outcome.AUTH, Reason.TOKEN_REFUSED, Phase.AUTH, party, said, credentials_refused=True, cause=account
        )
    return failed(Outcome.INCONCLUSIVE, Reason.NO_TOKEN, Phase.AUTH, party, str(missing))
