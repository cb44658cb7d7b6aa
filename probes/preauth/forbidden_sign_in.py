"""Attempts that a server must refuse: a sign-in without TLS, and a wrong password.

Without TLS, only the sign-in command is sent, and it is cancelled as soon as the server asks for the credentials. The
wrong password is random, is tried once, and is sent only over trusted TLS.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from probes.credentials.sign_in import plain_response
from probes.model.mailbox import Password, Security, Server
from probes.model.result import Party
from probes.preauth.session import (
    PreAuthSession,
    Protocol,
    ReplyKind,
    ServerReply,
    offers_tls,
    open_session,
    sasl_mechanisms,
)
from probes.protocol.imap_response import quote

#: Mechanisms that reveal a password or a token to an eavesdropper.
_REVEALING = frozenset({"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"})


async def try_clear_text_sign_in(protocol: Protocol, server: Server) -> str:
    """Return how *server*, which uses STARTTLS, permits a sign-in without TLS; "" if it does not.

    Raise the errors of a session: `OSError`, `ProtocolError`, `ProbeFailedError`.
    """
    async with _session(protocol, server, without_tls=True) as session:
        revealing = find_revealing_mechanisms(protocol, await session.read_capabilities())
        if revealing:
            return f"offers {revealing}"
        for command in _sign_in_commands(protocol):
            reply = await session.send_command(command)
            if reply.kind is ReplyKind.CONTINUE:
                await session.cancel_sign_in()
                return f"accepts {command}"
            if reply.is_done:  # Only USER succeeds without a secret.
                return "accepts USER"
    return ""


def find_revealing_mechanisms(protocol: Protocol, capabilities: tuple[str, ...]) -> str:
    """Return the sign-ins in *capabilities* that reveal a secret without TLS, such as "LOGIN, PLAIN"; "" for none."""
    revealing = sasl_mechanisms(protocol, capabilities) & _REVEALING
    # IMAP servers do not announce LOGIN: it is available unless it is disabled (RFC 9051 6.2.3). Without any
    # capabilities this is unknown.
    if protocol is Protocol.IMAP and capabilities and "LOGINDISABLED" not in capabilities:
        revealing |= {"LOGIN"}
    if protocol is Protocol.POP3:
        revealing |= {"USER"} & set(capabilities)
    return ", ".join(sorted(revealing))


def _sign_in_commands(protocol: Protocol) -> tuple[str, ...]:
    match protocol:
        case Protocol.SMTP:
            return "AUTH LOGIN", "AUTH PLAIN"
        case Protocol.IMAP:
            return "AUTHENTICATE LOGIN", "AUTHENTICATE PLAIN"
        case Protocol.POP3:
            # The name is random, because only the acceptance of USER matters.
            return "AUTH PLAIN", f"USER {secrets.token_hex(6)}"


async def try_wrong_password(protocol: Protocol, server: Server, username: str) -> ServerReply | None:
    """Return the reply to one random password for *username*; `None` if the server offers no password sign-in."""
    password = secrets.token_urlsafe(18)
    async with _session(protocol, server) as session:
        match protocol:
            case Protocol.SMTP:
                return await _try_over_smtp(session, username, password)
            case Protocol.IMAP:
                return await session.send_command(f"LOGIN {quote(username)} {quote(password)}")
            case Protocol.POP3:
                user_reply = await session.send_command(f"USER {username}")
                return await session.send_command(f"PASS {password}") if user_reply.is_done else user_reply


async def _try_over_smtp(session: PreAuthSession, username: str, password: str) -> ServerReply | None:
    mechanisms = sasl_mechanisms(Protocol.SMTP, await session.read_capabilities())
    if "PLAIN" in mechanisms:
        return await session.send_command(f"AUTH PLAIN {plain_response(Password(username=username, secret=password))}")
    if "LOGIN" not in mechanisms:
        return None
    reply = await session.send_command("AUTH LOGIN")
    for line in (username, password):
        if reply.kind is not ReplyKind.CONTINUE:
            return reply
        reply = await session.send_command(_encode_base64(line))
    return reply


@asynccontextmanager
async def _session(protocol: Protocol, server: Server, *, without_tls: bool = False) -> AsyncIterator[PreAuthSession]:
    """Open a session, with trusted TLS unless *without_tls*; log out at the end."""
    session = await open_session(protocol, server, Party.SENDER)
    try:
        greeting = await session.read_greeting()
        if not greeting.is_done:
            raise ConnectionRefusedError(f"greeted with {greeting.text}")
        if server.security is Security.STARTTLS and not without_tls:
            has_tls = offers_tls(protocol, await session.read_capabilities())
            if not has_tls or not (await session.start_tls(server.tls, server.certificate_name)).is_done:
                raise ConnectionRefusedError("TLS is not available, so no password was sent")
        yield session
        await session.log_out()
    finally:
        session.close()


def _encode_base64(text: str) -> str:
    return b64encode(text.encode()).decode()
