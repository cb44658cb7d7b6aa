"""Sign-in with a password or an access token for SMTP, IMAP and POP3, and masking of secrets in servers' texts."""

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
from probes.model.reply import Reason, probe_failure
from probes.model.result import Outcome, Party, Phase, RefusalCause

T = TypeVar("T")

#: Length of the shortest piece of a secret that is masked in a text.
_MIN_MASKED = 8
#: A server's message is cut to this length before masking, because masking takes long. People see less of it.
_MAX_SHOWN = 1024
#: Masked characters are replaced by NUL first.
_MASKED_RUN = re.compile("\0+")
#: Lower case of ASCII letters only: `str.lower` may change the length of a text with other letters.
_LOWER_CASE = str.maketrans(ascii_uppercase, ascii_lowercase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Credential with a valid access token."""

    username: str
    token: AccessToken = field(repr=False)

    @property
    def response(self) -> str:
        """The response of SASL XOAUTH2, in base64."""
        return auth_xoauth2_encode(self.username, self.token.secret).decode("ascii")


async def with_credential(
    login: Password | OAuth | UnavailableLogin,
    party: Party,
    attempt: Callable[[Password | Bearer], Awaitable[T]],
    *,
    within: timedelta | None = None,
) -> T:
    """Return the result of *attempt*, which opens a connection and signs in with the credential that it is given.

    A token is obtained before the connection is opened, in at most half of *within*: servers allow little time before
    the sign-in, and a slow token endpoint must not count as a slow mail server. If the server rejects the token, the
    token may have been revoked, so *attempt* is repeated once with another token. A password is tried only once,
    because servers lock accounts after failed attempts.

    *party*: end of the route that a failure names. Raise `ProbeFailedError`. A failure to obtain a token is no evidence
    about the mail server.
    """
    if isinstance(login, UnavailableLogin):
        raise probe_failure(Outcome.INCONCLUSIVE, Reason.NO_SECRET, Phase.AUTH, party, login.reason)
    if isinstance(login, Password):
        return await attempt(login)
    token = await _get_token(login, party, within)
    try:
        return await attempt(Bearer(username=login.username, token=token))
    except ProbeFailedError as error:
        # `reject` drops the token, and returns whether the server may accept a new one.
        if not error.failure.credentials_refused or not login.tokens.reject(token):
            raise
        new_token = await _get_token(login, party, within)
        if new_token.secret == token.secret:
            raise
    return await attempt(Bearer(username=login.username, token=new_token))


def plain_response(credential: Password) -> str:
    """Return the response of SASL PLAIN (RFC 4616), in base64."""
    return b64encode(f"\0{credential.username}\0{credential.secret}".encode()).decode("ascii")


def mask_secrets(text: str, credential: Password | Bearer) -> str:
    """Return *text*, a server's message, without the secrets of *credential*, which some servers repeat in a refusal.

    Servers repeat a secret as it was sent, decoded, cut off, wrapped, or in another case. So every piece of eight
    characters that is also in a form of the secret is masked.
    """
    secret = credential.token.secret if isinstance(credential, Bearer) else credential.secret
    response = credential.response if isinstance(credential, Bearer) else plain_response(credential)
    forms = [
        form.translate(_LOWER_CASE)
        for form in (secret, quote(secret, safe=""), response, b64encode(secret.encode()).decode("ascii"))
    ]
    # `masked` has the indexes of the masked characters.
    lower_text, masked = text.translate(_LOWER_CASE), set[int]()
    for form in (form for form in forms if form):
        length = min(_MIN_MASKED, len(form))
        for start in range(len(lower_text) - length + 1):
            if lower_text[start : start + length] in form:
                masked.update(range(start, start + length))
    return _MASKED_RUN.sub("***", "".join("\0" if index in masked else letter for index, letter in enumerate(text)))


def mask_refusal(text: str, credential: Password | Bearer | None) -> str:
    """Return the beginning of a server's message about a refusal, without the secrets of *credential*."""
    return text if credential is None else mask_secrets(text[:_MAX_SHOWN], credential)


async def _get_token(login: OAuth, party: Party, within: timedelta | None) -> AccessToken:
    try:
        async with asyncio.timeout(within.total_seconds() / 2 if within else None):
            return await login.tokens.get()
    except AccessTokenError as error:
        raise _token_failure(error, party) from None
    except TimeoutError:
        raise _token_failure(AccessTokenError("no response to the request for a token"), party) from None


def _token_failure(error: AccessTokenError, party: Party) -> ProbeFailedError:
    """Return the failure of the run: a refused token is a fault of the account, any other error is inconclusive.

    Any other error may be a fault of our network, and is no evidence about the mail server.
    """
    if error.refused:
        detail, account_cause = str(error), RefusalCause.ACCOUNT
        return probe_failure(
            Outcome.AUTH, Reason.TOKEN_REFUSED, Phase.AUTH, party, detail, credentials_refused=True, cause=account_cause
        )
    return probe_failure(Outcome.INCONCLUSIVE, Reason.NO_TOKEN, Phase.AUTH, party, str(error))
