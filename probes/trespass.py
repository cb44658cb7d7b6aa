"""Tries at a server what it must not let anybody do, as far as the door and no further.

In clear nothing is said but that one would like to sign in; the attempt is called off as soon as the server is ready for
it. The wrong password is random, goes over trusted TLS only, and is tried once.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from probes.answer import Unreadable
from probes.connection import open_socket
from probes.dialogue import Dialogue
from probes.mailbox import Security, Server
from probes.result import Party
from probes.session import Answer, Protocol, Reply, Session, tls_offered
from probes.trace import Recorder

_FAREWELL_SECONDS = 2.0
#: Ways to sign in that show a password or a token to whoever listens.
_REVEALING = frozenset({"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"})


async def sign_in_in_clear(protocol: Protocol, server: Server) -> str:
    """Return how *server* lets one sign in without TLS, or "" when it does not.

    Raise what a session raises: `OSError`, `Unreadable`, `ProbeFailure`.
    """
    async with _session(protocol, server, in_clear=True) as session:
        offered = revealing(protocol, await session.offers())
        if offered:
            return f"offers {offered}"
        for attempt in _attempts(protocol):
            reply = await session.ask(attempt)
            if reply.answer is Answer.GO_ON:
                # Known by now, whatever becomes of the farewell.
                with suppress(TimeoutError, OSError, Unreadable):
                    async with asyncio.timeout(_FAREWELL_SECONDS):
                        await session.cancel()
                return f"accepts {attempt}"
            if reply.done:
                return "accepts USER"
    return ""


def revealing(protocol: Protocol, offers: tuple[str, ...]) -> str:
    """Return which of *offers*, made in clear, show a password to whoever listens; "" for none."""
    match protocol:
        case Protocol.SMTP:
            words = {word for line in offers if line.startswith(("AUTH ", "AUTH=")) for word in line[5:].split()}
            found = words & _REVEALING
        case Protocol.IMAP:
            found = {offer.removeprefix("AUTH=") for offer in offers if offer.startswith("AUTH=")} & _REVEALING
            # LOGIN needs no offer: it is there unless it is said not to be (RFC 9051 6.2.3).
            if offers and "LOGINDISABLED" not in offers:
                found |= {"LOGIN"}
        case Protocol.POP3:
            found = {word for line in offers if line.startswith("SASL ") for word in line.split()[1:]} & _REVEALING
            found |= {"USER"} & set(offers)
    return ", ".join(sorted(found))


def _attempts(protocol: Protocol) -> tuple[str, ...]:
    match protocol:
        case Protocol.SMTP:
            return "AUTH LOGIN", "AUTH PLAIN"
        case Protocol.IMAP:
            return "AUTHENTICATE LOGIN", "AUTHENTICATE PLAIN"
        case Protocol.POP3:
            # Nobody's name: it is only seen whether one is taken.
            return "AUTH PLAIN", f"USER {secrets.token_hex(6)}"


async def try_wrong_password(protocol: Protocol, server: Server, username: str) -> Reply | None:
    """Return the answer to one random password for *username*; `None` when there is no way to sign in with one."""
    wrong = secrets.token_urlsafe(18)
    async with _session(protocol, server) as session:
        match protocol:
            case Protocol.SMTP:
                return await _over_smtp(session, username, wrong)
            case Protocol.IMAP:
                return await session.ask(f"LOGIN {_quoted(username)} {_quoted(wrong)}")
            case Protocol.POP3:
                named = await session.ask(f"USER {username}")
                return await session.ask(f"PASS {wrong}") if named.done else named


async def _over_smtp(session: Session, username: str, wrong: str) -> Reply | None:
    ways = {word for line in await session.offers() if line.startswith("AUTH ") for word in line.split()[1:]}
    if "PLAIN" in ways:
        return await session.ask(f"AUTH PLAIN {_encoded(f'{chr(0)}{username}{chr(0)}{wrong}')}")
    if "LOGIN" not in ways:
        return None
    reply = await session.ask("AUTH LOGIN")
    for line in (username, wrong):
        if reply.answer is not Answer.GO_ON:
            return reply
        reply = await session.ask(_encoded(line))
    return reply


@asynccontextmanager
async def _session(protocol: Protocol, server: Server, *, in_clear: bool = False) -> AsyncIterator[Session]:
    """Open a session, with trusted TLS unless *in_clear*; take leave of it."""
    name = server.tls_name or server.host
    implicit = server.security is Security.IMPLICIT and not in_clear
    sock = await open_socket(server, Recorder(), Party.SENDER)
    dialogue = await Dialogue.over(sock, tls=server.tls if implicit else None, name=name)
    try:
        session = Session(protocol, dialogue)
        greeting = await session.greet()
        if not greeting.done:
            raise ConnectionRefusedError(f"greeted with {greeting.text}")
        if not implicit and not in_clear:
            offered = tls_offered(protocol, await session.offers())
            if not offered or not (await session.start_tls(server.tls, name)).done:
                raise ConnectionRefusedError("no TLS, so nothing was said")
        yield session
        with suppress(TimeoutError, OSError, Unreadable):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await session.leave()
    finally:
        dialogue.close()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
