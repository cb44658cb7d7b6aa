"""Handler of the messages of a mailbox: each is recognised, delivered to its run, counted, or left alone."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import structlog

from probes.arrival.expectation import Arrived, ArrivedElsewhere, Expectation, FolderKind
from probes.mail.disposition import TokenRegistry, TokenState, decide
from probes.mail.observed_message import MailKind, ObservedMessage, may_hide_token, recognise
from probes.mail.token import Token, TokenSigner
from probes.model.mailbox import Mailbox
from probes.model.result import Arrival, Party

T = TypeVar("T")

_log = structlog.get_logger(__name__)

#: Octets: a mail of this size may be ours with every header rewritten; a larger one is not ours.
OURS_AT_MOST = 64 * 1024


#: Added at delivery (RFC 5321 4.4: Return-Path), and absent from a stored copy of sent mail.
_DELIVERY = re.compile(rb"^(?:return-path|delivered-to|envelope-to):", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxMessage:
    """Message in the mailbox."""

    #: The server's identifier, for the log.
    uid: int | str
    header: bytes
    size: int | None
    #: The message is already marked as deleted.
    marked: bool = False
    #: Returns the content, or its beginning when it is large; `None`: the message is gone.
    whole: Callable[[], Awaitable[bytes | None]]


def was_delivered(header: bytes) -> bool:
    """Whether a mail was delivered to the mailbox, by its header."""
    return _DELIVERY.search(header) is not None


class MessageHandler:
    """Processes the messages of one mailbox, whichever protocol reads it."""

    def __init__(
        self,
        *,
        mailbox: Mailbox,
        signer: TokenSigner,
        ledger: TokenRegistry,
        waiting: Mapping[str, Sequence[Expectation]],
        on_arrival: Callable[[Arrival, str | None, datetime], None],
        clock: Callable[[], datetime],
    ) -> None:
        self.mailbox = mailbox
        self._signer = signer
        self._ledger = ledger
        self._waiting = waiting
        self._on_arrival = on_arrival
        self._clock = clock

    async def receive(self, letter: MailboxMessage, folder: FolderKind, *, count: bool) -> bool:
        """Process *letter*; return whether to delete it. *count*: it has not been counted before."""
        now = self._clock()
        observed, content = await self._recognised(letter)
        token = observed.token
        token_id = token.id if token else None
        expectations = self._waiting.get(token_id, ()) if token_id else ()
        disposition = decide(
            observed,
            origin=self._signer.origin(token) if token else None,
            awaited={one.party for one in expectations},
            token_state=self._ledger.token_state(token_id) if token_id else None,
            now=now,
            marked=letter.marked,
        )
        if disposition.hand_over:
            seen = Arrived(folder=folder, at=now)
            if observed.report is not None:
                for expectation in expectations:
                    expectation.see(observed.report)
            else:
                recipients = [one for one in expectations if one.party is Party.RECIPIENT]
                await self._hand_over(letter, content, seen, recipients)
        if disposition.count is not None and count:
            self._on_arrival(disposition.count, token_id, now)
        taken = token_id and self._ledger.token_state(token_id) is TokenState.TAKEN
        if token_id and (taken or disposition.count is Arrival.LATE):
            self._ledger.arrived(token_id)
        return disposition.delete

    async def awaited(self, letter: MailboxMessage) -> Token | None:
        """Return the token in the header of *letter*, if a run still waits for it and the message is its own."""
        observed = self._observe(letter, letter.header)
        token = observed.token
        if token is None or not self._unseen(token):
            return None
        if observed.kind is MailKind.ANSWER:
            observed = self._observe(letter, await letter.whole() or letter.header)
        return token if observed.kind in {MailKind.MESSAGE, MailKind.REWRITTEN} else None

    def take_left_over(self, letter: MailboxMessage) -> bool:
        """Count *letter* if it is a message of ours that arrived after its run; return whether to delete it."""
        observed = self._observe(letter, letter.header)
        token = observed.token
        if token is None or observed.kind is not MailKind.MESSAGE or self._waiting.get(token.id):
            return False
        token_state = self._ledger.token_state(token.id)
        if token_state is None or not was_delivered(letter.header):
            return False
        if token_state is TokenState.ENDED:
            self._on_arrival(Arrival.LATE, token.id, self._clock())
            self._ledger.arrived(token.id)
        return True

    def _observe(self, letter: MailboxMessage, raw: bytes) -> ObservedMessage:
        foreign = ObservedMessage(kind=MailKind.FOREIGN)
        return self._parsed(letter, lambda raw: recognise(raw, self._signer), raw, otherwise=foreign)

    async def make_up_for(
        self, letter: MailboxMessage, token: Token, folder: FolderKind, since: datetime | None
    ) -> bool:
        """Deliver a message in the watched *folder* that the watcher's session did not show.

        Return whether a run still waited for it.
        """
        content = await letter.whole()
        unseen = self._unseen(token)
        if not content or not unseen:
            return False
        for expectation in unseen:
            expectation.see(Arrived(folder=folder, at=self._clock(), since=since))
            expectation.hand(content)
        self._ledger.taken(token.id)
        return True

    async def note_elsewhere(self, letter: MailboxMessage, token: Token, name: str, since: datetime | None) -> bool:
        """Report to the waiting run that its message is in the folder *name*; return whether to delete it."""
        was_sent_here = any(one.party is Party.SENDER for one in self._waiting.get(token.id, ()))
        if was_sent_here and not was_delivered(letter.header):
            # It may be the stored copy of sent mail, which is no evidence of delivery.
            return False
        content = await letter.whole()
        if not content:
            return False
        for expectation in self._unseen(token):
            expectation.elsewhere = ArrivedElsewhere(name=name, content=content, at=self._clock(), since=since)
        return True

    def _unseen(self, token: Token) -> list[Expectation]:
        waiting = self._waiting.get(token.id, ())
        return [one for one in waiting if one.party is Party.RECIPIENT and not one.seen.done()]

    async def _recognised(self, letter: MailboxMessage) -> tuple[ObservedMessage, bytes | None]:
        hides = self._parsed(letter, may_hide_token, letter.header, otherwise=False)
        observed = ObservedMessage(kind=MailKind.FOREIGN) if hides else self._observe(letter, letter.header)
        small = letter.size is not None and letter.size <= OURS_AT_MOST
        if not hides and not (small and self._may_say_more(observed)):
            return observed, None
        whole = await letter.whole()
        return self._observe(letter, whole or letter.header), whole

    def _may_say_more(self, observed: ObservedMessage) -> bool:
        """Whether the text may contain what the header lacks for a waiting run."""
        if observed.token is None:
            return not observed.forged and bool(self._waiting)
        return observed.kind is MailKind.ANSWER and bool(self._unseen(observed.token))

    def _parsed(self, letter: MailboxMessage, parse: Callable[[bytes], T], raw: bytes, *, otherwise: T) -> T:
        try:
            return parse(raw)
        except Exception as error:  # noqa: BLE001 - see below
            # The parser of the standard library may raise undocumented exceptions, and anyone may send such a mail. An
            # exception that ended the watcher would end it again at each new connection.
            _log.warning(
                "message cannot be parsed", mailbox=self.mailbox.name, uid=letter.uid, error=type(error).__name__
            )
            return otherwise

    async def _hand_over(
        self, letter: MailboxMessage, content: bytes | None, seen: Arrived, recipients: Sequence[Expectation]
    ) -> None:
        for expectation in recipients:
            expectation.see(seen)
        if content is None:
            content = await letter.whole()
        for expectation in recipients:
            # There is no content to deliver: another client has meanwhile removed the message.
            expectation.hand(content or b"")
            self._ledger.arrived(expectation.token.id)
