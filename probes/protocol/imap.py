"""Signed-in IMAP session with a mailbox: the commands that probes and checks need.

After any error the session is unusable: close it and open another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import timedelta
from itertools import islice

from probes.credentials.sign_in import Bearer, with_credential
from probes.model.mailbox import Mailbox, MailboxQuota, Password
from probes.model.probe import ProtocolError, Trace
from probes.model.result import Party
from probes.protocol.connection import hide_peer_text
from probes.protocol.folder import Namespaces, parse_namespaces
from probes.protocol.imap_connection import ImapConnection, open_connection, require_ok
from probes.protocol.imap_response import (
    FetchedMessage,
    FolderStatus,
    ListedFolder,
    find_junk_folders,
    parse_fetch,
    parse_folder_status,
    parse_list,
    parse_quota,
    parse_search,
    quote_if_needed,
)

#: Octets of a header that are fetched: enough for a probe message's headers and those that relays add.
_MAX_HEADER = 32 * 1024
#: Octets of a message that are fetched. A probe message has some 10 KiB, a bounce of it twice that.
_MAX_MESSAGE = 256 * 1024


class ImapSession:
    """A signed-in connection to a mailbox. Not for concurrent use."""

    def __init__(self, connection: ImapConnection) -> None:
        self._connection = connection
        self._wire = connection.wire
        self.capabilities = connection.capabilities

    @property
    def cost(self) -> int:
        """Cost of the server's responses so far, by `probes.model.polling.reading_cost`."""
        return int(self._wire.cost)

    @property
    def has_new_mail(self) -> bool:
        """Whether the server has announced a message since the last `noop`."""
        return bool(self._wire.has_new_mail)

    @property
    def can_idle(self) -> bool:
        """Whether the server supports IDLE (RFC 2177)."""
        return "IDLE" in self.capabilities

    def set_response_timeout(self, response_timeout: timedelta) -> None:
        """Wait for each response at most *response_timeout* from now on."""
        self._wire.set_response_timeout(response_timeout.total_seconds())

    async def select(self, folder: str) -> FolderStatus:
        """Select *folder*. Names of folders are in the server's encoding, modified UTF-7."""
        require_ok(await self._wire.select(quote_if_needed(folder)))
        # EXISTS in the response to SELECT is the present number of messages; only a later EXISTS announces new mail.
        self._wire.has_new_mail = False
        return parse_folder_status(self._wire.untagged)

    async def examine(self, folder: str) -> FolderStatus:
        """Open *folder* read-only, so that its messages stay unread and recent."""
        require_ok(await self._wire.examine(quote_if_needed(folder)))
        return parse_folder_status(self._wire.untagged)

    async def status(self, folder: str) -> FolderStatus:
        """Return the status of a folder that is not selected."""
        arguments = quote_if_needed(folder), "(MESSAGES UIDNEXT UIDVALIDITY)"
        require_ok(await self._wire.simple_command("STATUS", *arguments))
        return parse_folder_status(self._wire.untagged)

    async def noop(self) -> bool:
        """Return whether the server has announced mail since the last call.

        NOOP is sent unless mail has already been announced, because Gmail announces mail only in response to it.
        """
        if not self.has_new_mail:
            require_ok(await self._wire.simple_command("NOOP"))
        has_new_mail, self._wire.has_new_mail = self.has_new_mail, False
        return has_new_mail

    async def idle(self, wake_event: asyncio.Event, within: timedelta) -> None:
        """Run IDLE (RFC 2177) until *wake_event* is set by new mail or by another task, at most for *within*."""
        wire = self._wire
        command = wire.command("IDLE")
        wire.begin_command(command)
        await wire.wait_for_event(wire.continuation_ready)
        if command.response.result in {"NO", "BAD"}:
            # The server offers IDLE but rejects it, so the caller polls from now on.
            self.capabilities -= {"IDLE"}
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(within.total_seconds()):
                await wake_event.wait()
        if wire.failure is not None:
            raise wire.connection_error()
        wire.idle_done()
        await wire.finish_command(command)

    async def uids_from(self, first: int) -> list[int]:
        """Return the UIDs that are at least *first*, in ascending order."""
        messages = await self._fetch(f"{first}:*", "(UID)", by_uid=True)
        # "n:*" contains the last message even if its UID is below n (RFC 3501 6.4.8).
        return sorted({message.uid for message in messages if message.uid >= first})

    async def last_uids(self, count: int, exists: int) -> list[int]:
        """Return the UIDs of the last *count* of a folder's *exists* messages, in ascending order."""
        if not exists:
            return []
        messages = await self._fetch(f"{max(1, exists - count + 1)}:{exists}", "(UID)", by_uid=False)
        return sorted({message.uid for message in messages})

    async def fetch_newest(self, count: int, exists: int) -> list[FetchedMessage]:
        """Return UID, size and arrival time of the last *count* of a folder's *exists* messages, the newest first."""
        if not exists:
            return []
        first = max(1, exists - count + 1)
        messages = await self._fetch(f"{first}:{exists}", "(UID RFC822.SIZE INTERNALDATE)", by_uid=False)
        return sorted(messages, key=lambda message: message.uid, reverse=True)

    async def fetch_headers(self, uids: Iterable[int]) -> list[FetchedMessage]:
        """Return size, header and deletion mark of each of the messages that still exists. They stay unread."""
        requested = set(uids)
        items = f"(UID RFC822.SIZE FLAGS BODY.PEEK[HEADER]<0.{_MAX_HEADER}>)"
        return _requested_only(requested, await self._fetch(_message_set(requested), items, by_uid=True))

    async def fetch_message(self, uid: int) -> bytes | None:
        """Return the message, or the beginning of a large message; `None` if the message no longer exists."""
        messages = await self._fetch(str(uid), f"(UID BODY.PEEK[]<0.{_MAX_MESSAGE}>)", by_uid=True)
        return next(
            (message.content for message in _requested_only({uid}, messages) if message.content is not None), None
        )

    async def delete(self, uids: Iterable[int], *, marked_before: AbstractSet[int] = frozenset()) -> bool:
        """Delete our messages *uids*. Return whether they were removed; if not, they stay marked as deleted.

        *marked_before*: our messages that earlier calls have marked. Without UIDPLUS (RFC 4315), only EXPUNGE removes
        messages, and it removes every marked message. So EXPUNGE is sent only if all marked messages are ours.
        """
        own = set(uids)
        require_ok(await self._wire.store(_message_set(own), "+FLAGS.SILENT", r"(\Deleted)", by_uid=True))
        if "UIDPLUS" in self.capabilities:
            require_ok(await self._wire.expunge(_message_set(own), by_uid=True))
            return True
        # The command has no CHARSET, because Exchange rejects it.
        require_ok(await self._wire.search("DELETED", charset=None, by_uid=True))
        if parse_search(self._wire.untagged) <= own | marked_before:
            require_ok(await self._wire.expunge())
            return True
        return False

    async def list_junk_folders(self) -> tuple[str, ...]:
        """Return the folders that the server marks as junk."""
        if "SPECIAL-USE" in self.capabilities:
            response = await self._wire.simple_command("LIST", "(SPECIAL-USE)", '"" "*"')
            if response.result == "OK":
                return find_junk_folders(self._wire.untagged)
            # Some servers with SPECIAL-USE do not support this selection, which requires LIST-EXTENDED (RFC 6154 3).
        require_ok(await self._wire.simple_command("LIST", '""', '"*"'))
        return find_junk_folders(self._wire.untagged)

    async def list_folders(self, at_most: int) -> list[ListedFolder]:
        """Return the folders that the account may list, at most *at_most*."""
        require_ok(await self._wire.simple_command("LIST", '""', '"*"'))
        return list(islice(parse_list(self._wire.untagged), at_most))

    async def fetch_namespaces(self) -> Namespaces:
        """Return the namespaces (RFC 2342); empty if the server does not report them."""
        if "NAMESPACE" not in self.capabilities:
            return {}
        response = await self._wire.execute(self._wire.command("NAMESPACE"))
        return parse_namespaces(self._wire.untagged) if response.result == "OK" else {}

    async def fetch_quota(self, folder: str) -> MailboxQuota | None:
        """Return the quota of the mailbox with *folder* (RFC 9208); `None` if the server does not report a quota."""
        if "QUOTA" not in self.capabilities:
            return None
        response = await self._wire.execute(self._wire.command("GETQUOTAROOT", quote_if_needed(folder)))
        return parse_quota(self._wire.untagged) if response.result == "OK" else None

    def close(self) -> None:
        """Send LOGOUT without waiting for the response, and close the socket."""
        self._connection.close()

    async def _fetch(self, message_set: str, items: str, *, by_uid: bool) -> list[FetchedMessage]:
        require_ok(await self._wire.fetch(message_set, items, by_uid=by_uid))
        return [message for response in self._wire.untagged if (message := parse_fetch(response)) is not None]


async def open_session(
    mailbox: Mailbox,
    trace: Trace,
    party: Party,
    *,
    response_timeout: timedelta,
    within: timedelta | None = None,
    wake: Callable[[], None] = lambda: None,
) -> ImapSession:
    """Connect with TLS, and sign in.

    *response_timeout* limits each response; *within* limits connection and sign-in, after the credentials are
    available. *wake* is called if the server announces new mail or the connection is lost. Raise `ProbeFailedError` if
    the server cannot be reached, is not trusted, or refuses the sign-in. Raise `TimeoutError` after *within*; *trace*
    then has the phase that timed out.
    """
    server = mailbox.imap
    if server is None:
        raise ValueError(f"{mailbox.name} has no IMAP server")

    async def connect_with(credential: Password | Bearer) -> ImapSession:
        with hide_peer_text(server):
            async with asyncio.timeout(within.total_seconds() if within else None):
                return ImapSession(
                    await open_connection(
                        server, credential, trace, party, wake=wake, response_timeout=response_timeout
                    )
                )

    return await with_credential(mailbox.login, party, connect_with, within=within)


def _requested_only(requested: AbstractSet[int], messages: list[FetchedMessage]) -> list[FetchedMessage]:
    """Return those of *messages* that were *requested*. Servers also report changed flags of other messages.

    Raise `ProtocolError` if a message that was not requested has a text.
    """
    if any(message.uid not in requested and message.content is not None for message in messages):
        raise ProtocolError("FETCH returned another message than the requested one")
    return [message for message in messages if message.uid in requested]


def _message_set(uids: Iterable[int]) -> str:
    return ",".join(str(uid) for uid in sorted(uids))
