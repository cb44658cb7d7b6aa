"""One IMAP connection to a mailbox.

Whatever goes wrong here, a session ends with an error and is of no use afterwards: throw it away and open another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from probes.answer import (
    Answer,
    Fetched,
    Position,
    Refused,
    Unreadable,
    capabilities,
    fetched,
    folder_name,
    junk_folders,
    position,
    quoted_if_needed,
)
from probes.cause import stage
from probes.connection import open_socket
from probes.mailbox import Mailbox, Password, Security, Server
from probes.probe import ProbeFailure, Trace
from probes.reply import Reason, imap_sign_in_failure, shortened
from probes.result import Failure, Outcome, Party, Phase
from probes.wire import Wire

#: Enough for our headers and for what relays add to them.
_HEADER_OCTETS = 32 * 1024
#: Our message has some 10 KiB, a report about it twice that.
_MESSAGE_OCTETS = 256 * 1024


class Session:
    """A signed-in connection to a mailbox. Not for two tasks at once."""

    def __init__(self, wire: Wire, transport: asyncio.Transport) -> None:
        self._wire = wire
        self._transports = [transport]
        self.capabilities: frozenset[str] = frozenset()

    @property
    def news(self) -> bool:
        """Whether the server has announced a message since `noop` was last called."""
        return bool(self._wire.news)

    @property
    def can_idle(self) -> bool:
        """Whether the server tells by itself what is new (RFC 2177)."""
        return "IDLE" in self.capabilities

    def hasten(self, leg: timedelta) -> None:
        """Wait for no answer longer than *leg* from now on."""
        self._wire.hasten(leg.total_seconds())

    async def select(self, folder: str) -> Position:
        """Open *folder*, named as the server writes it."""
        _ok(await self._wire.select(quoted_if_needed(folder)))
        return position(self._wire.heard.answers)

    async def standing(self, folder: str) -> Position:
        """Ask how a folder stands that is not open."""
        asked = quoted_if_needed(folder), "(MESSAGES UIDNEXT UIDVALIDITY)"
        _ok(await self._wire.simple_command("STATUS", *asked))
        return position(self._wire.heard.answers)

    async def noop(self) -> bool:
        """Give the server the occasion to tell what is new, and return whether it has, now or since the last time.

        Gmail shows nothing new to any other command before a NOOP.
        """
        _ok(await self._wire.simple_command("NOOP"))
        news, self._wire.news = self.news, False
        return news

    async def idle(self, stirred: asyncio.Event, at_most: timedelta) -> None:
        """Listen (RFC 2177) until *stirred* is set, by the server's news or by somebody else, or the time is over."""
        wire = self._wire
        command = wire.command("IDLE")
        wire.begin(command)
        await wire.until(wire.going_on)
        if command.response.result in {"NO", "BAD"}:
            # Offered and refused all the same: looking has to do.
            self.capabilities -= {"IDLE"}
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most.total_seconds()):
                await stirred.wait()
        if wire.cause is not None:
            raise wire.lost()
        wire.idle_done()
        await wire.end(command)

    async def uids_from(self, first: int) -> list[int]:
        """Return the UIDs from *first* on, in order."""
        found = await self._fetch(f"{first}:*", "(UID)", by_uid=True)
        # "n:*" names the last message even when its UID is below n (RFC 3501 6.4.8).
        return sorted({one.uid for one in found if one.uid >= first})

    async def last_uids(self, count: int, exists: int) -> list[int]:
        """Return the UIDs of the last *count* of *exists* messages, in order."""
        if not exists:
            return []
        found = await self._fetch(f"{max(1, exists - count + 1)}:{exists}", "(UID)", by_uid=False)
        return sorted({one.uid for one in found})

    async def headers(self, uids: Iterable[int]) -> list[Fetched]:
        """Return size and header of each message that is still there, and leave it unread."""
        return await self._fetch(
            _set(uids), f"(UID RFC822.SIZE FLAGS BODY.PEEK[HEADER]<0.{_HEADER_OCTETS}>)", by_uid=True
        )

    async def message(self, uid: int) -> bytes | None:
        """Return the whole message, or its beginning when it is large; `None` when it is gone."""
        found = await self._fetch(str(uid), f"(UID BODY.PEEK[]<0.{_MESSAGE_OCTETS}>)", by_uid=True)
        return next((one.content for one in found if one.uid == uid), None)

    async def delete(self, uids: Iterable[int]) -> None:
        """Delete exactly these messages.

        Without UIDPLUS (RFC 4315) the only way is EXPUNGE, which takes everything that anybody has marked as deleted;
        so it is said only when nothing else is marked, and the messages stay marked otherwise.
        """
        ours = set(uids)
        _ok(await self._wire.store(_set(ours), "+FLAGS.SILENT", r"(\Deleted)", by_uid=True))
        if "UIDPLUS" in self.capabilities:
            _ok(await self._wire.expunge(_set(ours), by_uid=True))
            return
        # Without CHARSET: Exchange refuses one.
        _ok(await self._wire.search("DELETED", charset=None, by_uid=True))
        marked = {int(uid) for line in self._wire.heard.answers for uid in _search_result(line)}
        if marked <= ours:
            _ok(await self._wire.expunge())

    async def junk(self) -> tuple[str, ...]:
        """Return the folders that the server itself marks as the place for junk."""
        if "SPECIAL-USE" in self.capabilities:
            response = await self._wire.simple_command("LIST", "(SPECIAL-USE)", '"" "*"')
            if response.result == "OK":
                return junk_folders(self._wire.heard.answers)
            # Some servers mark their folders and cannot select by the mark (RFC 6154 wants LIST-EXTENDED for that).
        _ok(await self._wire.simple_command("LIST", '""', '"*"'))
        return junk_folders(self._wire.heard.answers)

    def close(self) -> None:
        """Say LOGOUT without waiting for the answer, and let go of the socket."""
        if self._wire.cause is None:
            self._wire.send(f"{self._wire.new_tag()} LOGOUT")
            self._wire.fail(ConnectionAbortedError("closed"))
        for transport in self._transports:
            transport.abort()

    async def _fetch(self, which: str, what: str, *, by_uid: bool) -> list[Fetched]:
        _ok(await self._wire.fetch(which, what, by_uid=by_uid))
        return [found for answer in self._wire.heard.answers if (found := fetched(answer)) is not None]

    async def greet(self, party: Party) -> None:
        """Read the greeting."""
        wire = self._wire
        await wire.until(wire.greeted)
        greeting = wire.greeting.upper()
        if greeting.startswith("* BYE"):
            raise _failure(Outcome.CONNECT, Phase.CONNECT, party, Reason.SERVICE_REFUSED, wire.greeting[6:])
        if not greeting.startswith(("* OK", "* PREAUTH")):
            raise Unreadable(f"greeted with {shortened(wire.greeting)}")
        wire.enter(signed_in=greeting.startswith("* PREAUTH"))

    async def start_tls(self, mailbox: Mailbox, party: Party) -> None:
        """Upgrade the connection (RFC 9051 6.2.1), or fail: going on in clear is not an option."""
        wire, server = self._wire, _server(mailbox)
        await self._ask_capabilities()
        # A PREAUTH greeting in clear forbids STARTTLS; it is what an attacker would send.
        if "STARTTLS" not in self.capabilities or wire.is_signed_in:
            raise _failure(Outcome.TLS, Phase.TLS, party, Reason.TLS_NOT_OFFERED)
        response = await wire.execute(wire.command("STARTTLS"))
        if response.result != "OK":
            raise _failure(Outcome.TLS, Phase.TLS, party, Reason.TLS_REFUSED, _text(response))
        name = server.tls_name or server.host
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(self._transports[0], wire, server.tls, server_hostname=name)
        if transport is None:
            raise ConnectionResetError("the server closed the connection")
        self._transports.append(transport)
        wire.transport = transport

    async def sign_in(self, mailbox: Mailbox, party: Party) -> None:
        """LOGIN, and ask again what the server can do for who is signed in."""
        await self._ask_capabilities()
        if not self._wire.is_signed_in:
            if "LOGINDISABLED" in self.capabilities:
                raise _failure(Outcome.AUTH, Phase.AUTH, party, Reason.SIGN_IN_NOT_OFFERED)
            if not isinstance(mailbox.login, Password):
                raise TypeError("no sign-in with an access token yet")
            response = await self._wire.login(mailbox.login.username, mailbox.login.secret)
            if response.result != "OK":
                raise imap_sign_in_failure(response.result, _text(response), party)
            await self._ask_capabilities()

    async def _ask_capabilities(self) -> None:
        _ok(await self._wire.execute(self._wire.command("CAPABILITY")))
        self.capabilities = capabilities(self._wire.heard.answers)


async def open_session(
    mailbox: Mailbox, trace: Trace, party: Party, *, stir: Callable[[], None], leg: timedelta
) -> Session:
    """Connect, with TLS, and sign in.

    *stir* is called when the server announces something or the connection is gone. No answer is waited for longer than
    *leg*. Raise `ProbeFailure` when the mailbox cannot be reached, is not trusted, or does not let us in.
    """
    server = _server(mailbox)
    implicit = server.security is Security.IMPLICIT
    sock = await open_socket(server, trace, party)
    with stage(trace, Phase.TLS if implicit else Phase.CONNECT, party):
        transport, wire = await asyncio.get_running_loop().create_connection(
            lambda: Wire(stir, leg.total_seconds()),
            sock=sock,
            ssl=server.tls if implicit else None,
            server_hostname=(server.tls_name or server.host) if implicit else None,
        )
    session = Session(wire, transport)
    try:
        with stage(trace, Phase.CONNECT, party):
            await session.greet(party)
        if not implicit:
            with stage(trace, Phase.TLS, party):
                await session.start_tls(mailbox, party)
        with stage(trace, Phase.AUTH, party):
            await session.sign_in(mailbox, party)
    except BaseException:
        session.close()
        raise
    return session


def _server(mailbox: Mailbox) -> Server:
    if mailbox.imap is None:
        raise ValueError(f"{mailbox.name} has no IMAP server")
    return mailbox.imap


def encoded(folder: str) -> str:
    """Return a configured folder's name as the server writes it."""
    return folder_name(folder)


def _ok(response: Any) -> None:
    if response.result != "OK":
        raise Refused(response.result, shortened(_text(response)))


def _text(response: Any) -> str:
    return bytes(response.lines[-1]).decode() if response.lines else ""


def _set(uids: Iterable[int]) -> str:
    return ",".join(str(uid) for uid in sorted(uids))


def _search_result(answer: Answer) -> list[str]:
    words = answer.text.split()
    return words[1:] if words[:1] == ["SEARCH"] else []


def _failure(outcome: Outcome, phase: Phase, party: Party, reason: Reason, detail: str = "") -> ProbeFailure:
    return ProbeFailure(outcome, Failure(phase=phase, party=party, reason=reason, detail=shortened(detail)))
