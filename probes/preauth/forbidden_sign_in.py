"""Attempts that a server must refuse: a sign-in without TLS, and a wrong password.

Without TLS only the sign-in command is sent; it is cancelled as soon as the server is ready for the credentials. The
wrong password is random, is sent over trusted TLS only, and is tried once.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from probes.credentials.sign_in import plain
from probes.model.mailbox import Password, Security, Server
from probes.model.result import Party
from probes.preauth.session import (
    PreAuthSession,
    Protocol,
    ReplyKind,
    ServerReply,
    mechanisms,
    open_session,
    tls_offered,
)
from probes.protocol.imap_response import quoted

#: Mechanisms that reveal a password or a token to an eavesdropper.
_REVEALING = frozenset({"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"})


async def sign_in_in_clear(protocol: Protocol, server: Server) -> str:
    """Return how *server* permits a sign-in without TLS, or "" when it does not.

    *server* uses STARTTLS. Raise the errors of a session: `OSError`, `ProtocolError`, `ProbeFailedError`.
    """
    async with _session(protocol, server, in_clear=True) as session:
        offered = revealing(protocol, await session.offers())
        if offered:
            return f"offers {offered}"
        for attempt in _attempts(protocol):
            reply = await session.ask(attempt)
            if reply.kind is ReplyKind.GO_ON:
                await session.cancel()
                return f"accepts {attempt}"
            if reply.done:
                return "accepts USER"
    return ""


def revealing(protocol: Protocol, offers: tuple[str, ...]) -> str:
    """Return which of *offers*, made without TLS, reveal a password to an eavesdropper; "" for none."""
    found = mechanisms(protocol, offers) & _REVEALING
    # LOGIN needs no offer: it is available unless it is disabled (RFC 9051 6.2.3).
    if protocol is Protocol.IMAP and offers and "LOGINDISABLED" not in offers:
        found |= {"LOGIN"}
    if protocol is Protocol.POP3:
        found |= {"USER"} & set(offers)
    return ", ".join(sorted(found))


def _attempts(protocol: Protocol) -> tuple[str, ...]:
    match protocol:
        case Protocol.SMTP:
            return "AUTH LOGIN", "AUTH PLAIN"
        case Protocol.IMAP:
            return "AUTHENTICATE LOGIN", "AUTHENTICATE PLAIN"
        case Protocol.POP3:
            # A random name: the check only needs whether USER is accepted.
            return "AUTH PLAIN", f"USER {secrets.token_hex(6)}"


async def try_wrong_password(protocol: Protocol, server: Server, username: str) -> ServerReply | None:
    """Return the reply to one random password for *username*; `None` when the server offers no password sign-in."""
    wrong = secrets.token_urlsafe(18)
    async with _session(protocol, server) as session:
        match protocol:
            case Protocol.SMTP:
                return await _over_smtp(session, username, wrong)
            case Protocol.IMAP:
                return await session.ask(f"LOGIN {quoted(username)} {quoted(wrong)}")
            case Protocol.POP3:
                named = await session.ask(f"USER {username}")
                return await session.ask(f"PASS {wrong}") if named.done else named


async def _over_smtp(session: PreAuthSession, username: str, wrong: str) -> ServerReply | None:
    ways = mechanisms(Protocol.SMTP, await session.offers())
    if "PLAIN" in ways:
        return await session.ask(f"AUTH PLAIN {plain(Password(username=username, secret=wrong))}")
    if "LOGIN" not in ways:
        return None
    reply = await session.ask("AUTH LOGIN")
    for line in (username, wrong):
        if reply.kind is not ReplyKind.GO_ON:
            return reply
        reply = await session.ask(_encoded(line))
    return reply


@asynccontextmanager
async def _session(protocol: Protocol, server: Server, *, in_clear: bool = False) -> AsyncIterator[PreAuthSession]:
    """Open a session, with trusted TLS unless *in_clear*; log out at the end."""
    session = await open_session(protocol, server, Party.SENDER)
    try:
        greeting = await session.greet()
        if not greeting.done:
            raise ConnectionRefusedError(f"greeted with {greeting.text}")
        if server.security is Security.STARTTLS and not in_clear:
            offered = tls_offered(protocol, await session.offers())
            if not offered or not (await session.start_tls(server.tls, server.certificate_name)).done:
                raise ConnectionRefusedError("no TLS, so nothing was said")
        yield session
        await session.leave()
    finally:
        session.close()


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()
