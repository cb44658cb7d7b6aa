"""IMAP session with a mailbox.

After any error a session is unusable: close it and open another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import timedelta
from itertools import islice

from probes.credentials.sign_in import Bearer, with_key
from probes.model.mailbox import Mailbox, MailboxQuota, Password
from probes.model.probe import ProtocolError, Trace
from probes.model.result import Party
from probes.protocol.connection import unquoted
from probes.protocol.folder import Namespaces, namespaces
from probes.protocol.imap_connection import ImapConnection, ok, open_connection
from probes.protocol.imap_response import (
    Fetched,
    FolderStatus,
    Listed,
    fetched,
    folder_status,
    junk_folders,
    listed,
    quota,
    quoted_if_needed,
    searched,
)

#: Enough for our headers and for those that relays add.
_HEADER_OCTETS = 32 * 1024
#: Our message has some 10 KiB, a bounce of it twice that.
_MESSAGE_OCTETS = 256 * 1024


class ImapSession:
    """A signed-in connection to a mailbox. Not for concurrent use."""

    def __init__(self, connection: ImapConnection) -> None:
        self._connection = connection
        self._wire = connection.wire
        self.capabilities = connection.capabilities

    @property
    def cost(self) -> int:
        """Cost of the server's responses so far, by `probes.model.polling.cost`."""
        return int(self._wire.cost)

    @property
    def news(self) -> bool:
        """Whether the server has announced a message since the last `noop`."""
        return bool(self._wire.news)

    @property
    def can_idle(self) -> bool:
        """Whether the server supports IDLE (RFC 2177)."""
        return "IDLE" in self.capabilities

    def hasten(self, leg: timedelta) -> None:
        """Wait for each response at most *leg* from now on."""
        self._wire.hasten(leg.total_seconds())

    async def select(self, folder: str) -> FolderStatus:
        """Select *folder*, named as the server writes it."""
        ok(await self._wire.select(quoted_if_needed(folder)))
        # The number of messages was part of the response; later announcements are new.
        self._wire.news = False
        return folder_status(self._wire.heard)

    async def examine(self, folder: str) -> FolderStatus:
        """Open *folder* read-only, named as the server writes it: its messages stay unread and recent."""
        ok(await self._wire.examine(quoted_if_needed(folder)))
        return folder_status(self._wire.heard)

    async def standing(self, folder: str) -> FolderStatus:
        """Return the status of a folder that is not selected."""
        asked = quoted_if_needed(folder), "(MESSAGES UIDNEXT UIDVALIDITY)"
        ok(await self._wire.simple_command("STATUS", *asked))
        return folder_status(self._wire.heard)

    async def noop(self) -> bool:
        """Send NOOP, and return whether the server has announced mail, now or since the last time.

        Gmail announces nothing on any other command before a NOOP. It is not sent when mail has been announced already.
        """
        if not self.news:
            ok(await self._wire.simple_command("NOOP"))
        news, self._wire.news = self.news, False
        return news

    async def idle(self, stirred: asyncio.Event, at_most: timedelta) -> None:
        """Wait by IDLE (RFC 2177) until *stirred* is set, by an announcement or by a caller, or until the timeout."""
        wire = self._wire
        command = wire.command("IDLE")
        wire.begin(command)
        await wire.until(wire.going_on)
        if command.response.result in {"NO", "BAD"}:
            # The server offers IDLE and rejects it: polling is used instead.
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

    async def newest(self, count: int, exists: int) -> list[Fetched]:
        """Return UID, size and time of arrival of the last *count* of *exists* messages, the newest first."""
        if not exists:
            return []
        first = max(1, exists - count + 1)
        found = await self._fetch(f"{first}:{exists}", "(UID RFC822.SIZE INTERNALDATE)", by_uid=False)
        return sorted(found, key=lambda mail: mail.uid, reverse=True)

    async def headers(self, uids: Iterable[int]) -> list[Fetched]:
        """Return size and header of each message that still exists; it stays unread."""
        asked = set(uids)
        what = f"(UID RFC822.SIZE FLAGS BODY.PEEK[HEADER]<0.{_HEADER_OCTETS}>)"
        return _of(asked, await self._fetch(_set(asked), what, by_uid=True))

    async def message(self, uid: int) -> bytes | None:
        """Return the complete message, or its beginning when it is large; `None`: it is gone."""
        found = await self._fetch(str(uid), f"(UID BODY.PEEK[]<0.{_MESSAGE_OCTETS}>)", by_uid=True)
        return next((one.content for one in _of({uid}, found) if one.content is not None), None)

    async def delete(self, uids: Iterable[int], *, marked: AbstractSet[int] = frozenset()) -> bool:
        """Delete exactly these messages and those that we have *marked* before; return whether they are gone.

        Without UIDPLUS (RFC 4315) the only way is EXPUNGE, which removes every message marked as deleted; so it is sent
        only when no other message is marked, otherwise ours stay marked.
        """
        ours = set(uids)
        ok(await self._wire.store(_set(ours), "+FLAGS.SILENT", r"(\Deleted)", by_uid=True))
        if "UIDPLUS" in self.capabilities:
            ok(await self._wire.expunge(_set(ours), by_uid=True))
            return True
        # Without CHARSET: Exchange rejects one.
        ok(await self._wire.search("DELETED", charset=None, by_uid=True))
        if searched(self._wire.heard) <= ours | marked:
            ok(await self._wire.expunge())
            return True
        return False

    async def junk(self) -> tuple[str, ...]:
        """Return the folders that the server marks as junk."""
        if "SPECIAL-USE" in self.capabilities:
            response = await self._wire.simple_command("LIST", "(SPECIAL-USE)", '"" "*"')
            if response.result == "OK":
                return junk_folders(self._wire.heard)
            # Some servers mark their folders and cannot select by the mark (RFC 6154 requires LIST-EXTENDED for that).
        ok(await self._wire.simple_command("LIST", '""', '"*"'))
        return junk_folders(self._wire.heard)

    async def folders(self, at_most: int) -> list[Listed]:
        """Return the folders visible to the account, up to *at_most*: an account with more has them from a program."""
        ok(await self._wire.simple_command("LIST", '""', '"*"'))
        return list(islice(listed(self._wire.heard), at_most))

    async def namespaces(self) -> Namespaces:
        """Request the namespaces (RFC 2342), if the server supports it."""
        if "NAMESPACE" not in self.capabilities:
            return {}
        response = await self._wire.execute(self._wire.command("NAMESPACE"))
        return namespaces(self._wire.heard) if response.result == "OK" else {}

    async def quota(self, folder: str) -> MailboxQuota | None:
        """Return the quota of the mailbox with *folder* (RFC 9208); `None`: the server does not report it."""
        if "QUOTA" not in self.capabilities:
            return None
        response = await self._wire.execute(self._wire.command("GETQUOTAROOT", quoted_if_needed(folder)))
        return quota(self._wire.heard) if response.result == "OK" else None

    def close(self) -> None:
        """Send LOGOUT without waiting for the response, and close the socket."""
        self._connection.close()

    async def _fetch(self, which: str, what: str, *, by_uid: bool) -> list[Fetched]:
        ok(await self._wire.fetch(which, what, by_uid=by_uid))
        return [found for answer in self._wire.heard if (found := fetched(answer)) is not None]


async def open_session(
    mailbox: Mailbox,
    trace: Trace,
    party: Party,
    *,
    leg: timedelta,
    within: timedelta | None = None,
    stir: Callable[[], None] = lambda: None,
) -> ImapSession:
    """Connect, with TLS, and sign in.

    *stir* is called when the server announces something or the connection is lost. Each response is awaited at most
    *leg*, and the connection must be open *within* that time after the credentials are available. Raise
    `ProbeFailedError` when the mailbox cannot be reached, is not trusted, or refuses the sign-in, and `TimeoutError`;
    the trace has the phase.
    """
    server = mailbox.imap
    if server is None:
        raise ValueError(f"{mailbox.name} has no IMAP server")

    async def attempt(key: Password | Bearer) -> ImapSession:
        with unquoted(server):
            async with asyncio.timeout(within.total_seconds() if within else None):
                return ImapSession(await open_connection(server, key, trace, party, stir=stir, leg=leg))

    return await with_key(mailbox.login, party, attempt, within=within)


def _of(asked: AbstractSet[int], found: list[Fetched]) -> list[Fetched]:
    """Return those of *found* that were *asked* for; servers also report changes of other messages.

    Raise `ProtocolError` when the text of another message is returned instead.
    """
    if any(one.uid not in asked and one.content is not None for one in found):
        raise ProtocolError("FETCH shows another message than the one that was asked for")
    return [one for one in found if one.uid in asked]


def _set(uids: Iterable[int]) -> str:
    return ",".join(str(uid) for uid in sorted(uids))
