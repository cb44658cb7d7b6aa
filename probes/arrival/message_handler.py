"""Handler of the messages in a mailbox: each is classified, then delivered to its run, counted, or ignored.

A message belongs to the run (one execution of a probe) whose signed token it contains.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import structlog

from probes.arrival.expectation import Arrived, ArrivedElsewhere, Expectation, FolderKind
from probes.mail.disposition import TokenRegistry, TokenState, decide
from probes.mail.observed_message import MailKind, ObservedMessage, classify, may_hide_token
from probes.mail.token import Token, TokenSigner
from probes.model.mailbox import Mailbox
from probes.model.result import Arrival, Party

T = TypeVar("T")

_log = structlog.get_logger(__name__)

#: Octets. A larger message is not a probe message, even if relays have rewritten every header.
MAX_OWN_SIZE = 64 * 1024

#: Headers that servers add at delivery (RFC 5321 4.4: Return-Path). A stored copy of sent mail lacks them.
_DELIVERY_HEADERS = re.compile(rb"^(?:return-path|delivered-to|envelope-to):", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxMessage:
    """Message in the mailbox; its content is fetched only if it is needed."""

    #: The server's identifier, for the log.
    uid: int | str
    header: bytes
    #: Octets of the whole message; `None` if the server did not report them.
    size: int | None
    #: A client has already marked the message as deleted.
    is_marked_deleted: bool = False
    #: Returns the whole message, or its beginning if it is large; `None`: the message no longer exists.
    fetch_content: Callable[[], Awaitable[bytes | None]]


def was_delivered(header: bytes) -> bool:
    """Return whether the *header* shows that the message was delivered to the mailbox, not stored in it by a client."""
    return _DELIVERY_HEADERS.search(header) is not None


class MessageHandler:
    """Processes the messages of one mailbox, whichever protocol reads it."""

    def __init__(
        self,
        *,
        mailbox: Mailbox,
        signer: TokenSigner,
        registry: TokenRegistry,
        waiting: Mapping[str, Sequence[Expectation]],
        on_arrival: Callable[[Arrival, str | None, datetime], None],
        clock: Callable[[], datetime],
    ) -> None:
        """Use *waiting*, the expectations by token id, which the watcher changes.

        *on_arrival* is called for each message that counts, with its kind, token id and the present time.
        """
        self.mailbox = mailbox
        self._signer = signer
        self._registry = registry
        self._waiting = waiting
        self._on_arrival = on_arrival
        self._clock = clock

    async def process(self, message: MailboxMessage, folder: FolderKind, *, may_count: bool) -> bool:
        """Process *message*; return whether to delete it. *may_count*: the message was not counted before."""
        now = self._clock()
        observed, content = await self._read_message(message)
        token = observed.token
        token_id = token.id if token else None
        expectations = self._waiting.get(token_id, ()) if token_id else ()
        disposition = decide(
            observed,
            origin=self._signer.origin(token) if token else None,
            awaited={expectation.party for expectation in expectations},
            token_state=self._registry.token_state(token_id) if token_id else None,
            now=now,
            is_marked_deleted=message.is_marked_deleted,
        )
        if disposition.deliver:
            arrival = Arrived(folder=folder, arrived_at=now)
            if observed.report is not None:
                for expectation in expectations:
                    expectation.set_arrival(observed.report)
            else:
                await self._deliver(
                    message, content, arrival, [each for each in expectations if each.party is Party.RECIPIENT]
                )
        if disposition.count is not None and may_count:
            self._on_arrival(disposition.count, token_id, now)
        was_delivered_by_search = token_id and self._registry.token_state(token_id) is TokenState.FOUND_BY_SEARCH
        # From now on, another copy counts as a duplicate.
        if token_id and (was_delivered_by_search or disposition.count is Arrival.LATE):
            self._registry.mark_arrived(token_id)
        return disposition.delete

    async def find_awaited_token(self, message: MailboxMessage) -> Token | None:
        """Return the token of *message* if it is the message that a run still waits for; otherwise `None`."""
        observed = self._classify(message, message.header)
        token = observed.token
        if token is None or not self._unmet_expectations(token):
            return None
        if observed.kind is MailKind.ANSWER:
            # What looks like an answer that quotes the message may be the message itself, with rewritten headers. The
            # body shows that.
            observed = self._classify(message, await message.fetch_content() or message.header)
        return token if observed.kind in {MailKind.MESSAGE, MailKind.REWRITTEN} else None

    def count_leftover(self, message: MailboxMessage) -> bool:
        """Return whether to delete *message*: a delivered probe message for which no run waits.

        Count it if it arrived after its run ended.
        """
        observed = self._classify(message, message.header)
        token = observed.token
        if token is None or observed.kind is not MailKind.MESSAGE or self._waiting.get(token.id):
            return False
        token_state = self._registry.token_state(token.id)
        if token_state is None or not was_delivered(message.header):
            return False
        if token_state is TokenState.ENDED:
            self._on_arrival(Arrival.LATE, token.id, self._clock())
            self._registry.mark_arrived(token.id)
        return True

    def _classify(self, message: MailboxMessage, raw: bytes) -> ObservedMessage:
        foreign = ObservedMessage(kind=MailKind.FOREIGN)
        return self._parse_safely(message, lambda raw: classify(raw, self._signer), raw, default=foreign)

    async def deliver_missed(
        self, message: MailboxMessage, token: Token, folder: FolderKind, server_time: datetime | None
    ) -> bool:
        """Deliver a message in the watched *folder* that the watcher's session did not show.

        Return whether a run still waited for it.
        """
        content = await message.fetch_content()
        expectations = self._unmet_expectations(token)
        if not content or not expectations:
            return False
        for expectation in expectations:
            expectation.set_arrival(Arrived(folder=folder, arrived_at=self._clock(), server_time=server_time))
            expectation.set_content(content)
        self._registry.mark_found_by_search(token.id)
        return True

    async def report_elsewhere(
        self, message: MailboxMessage, token: Token, folder_name: str, server_time: datetime | None
    ) -> bool:
        """Report to the waiting run that its message is in the folder *folder_name*; return whether to delete it."""
        was_sent_here = any(each.party is Party.SENDER for each in self._waiting.get(token.id, ()))
        if was_sent_here and not was_delivered(message.header):
            # The message may be the stored copy of sent mail, which is no evidence of delivery.
            return False
        content = await message.fetch_content()
        if not content:
            return False
        for expectation in self._unmet_expectations(token):
            expectation.found_elsewhere = ArrivedElsewhere(
                folder_name=folder_name, content=content, arrived_at=self._clock(), server_time=server_time
            )
        return True

    def _unmet_expectations(self, token: Token) -> list[Expectation]:
        expectations = self._waiting.get(token.id, ())
        return [
            expectation
            for expectation in expectations
            if expectation.party is Party.RECIPIENT and not expectation.arrival.done()
        ]

    async def _read_message(self, message: MailboxMessage) -> tuple[ObservedMessage, bytes | None]:
        """Return the classified message, and its content if the content was fetched."""
        # A delivery report quotes the message in its body, so the token may be only there.
        may_hide = self._parse_safely(message, may_hide_token, message.header, default=False)
        observed = ObservedMessage(kind=MailKind.FOREIGN) if may_hide else self._classify(message, message.header)
        is_small = message.size is not None and message.size <= MAX_OWN_SIZE
        if not may_hide and not (is_small and self._needs_body(observed)):
            return observed, None
        content = await message.fetch_content()
        return self._classify(message, content or message.header), content

    def _needs_body(self, observed: ObservedMessage) -> bool:
        """Return whether the body must be read: it may have the token of a waiting run, or show a rewritten message."""
        if observed.token is None:
            return not observed.is_forged and bool(self._waiting)
        return observed.kind is MailKind.ANSWER and bool(self._unmet_expectations(observed.token))

    def _parse_safely(self, message: MailboxMessage, parse: Callable[[bytes], T], raw: bytes, *, default: T) -> T:
        try:
            return parse(raw)
        except Exception as error:  # noqa: BLE001 - see below
            # Anyone may send a message for which the standard library's parser raises an undocumented exception. If the
            # exception ended the watcher, it would do so again after each reconnection.
            _log.warning(
                "message cannot be parsed", mailbox=self.mailbox.name, uid=message.uid, error=type(error).__name__
            )
            return default

    async def _deliver(
        self, message: MailboxMessage, content: bytes | None, arrival: Arrived, expectations: Sequence[Expectation]
    ) -> None:
        for expectation in expectations:
            expectation.set_arrival(arrival)
        if content is None:
            content = await message.fetch_content()
        for expectation in expectations:
            # The content is empty if another client has meanwhile deleted the message.
            expectation.set_content(content or b"")
            self._registry.mark_arrived(expectation.token.id)
