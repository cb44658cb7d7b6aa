"""The contract between a probe kind and the code that runs it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from probes.model.mailbox import Mailbox
from probes.model.result import Failure, Outcome, Party, Phase


class ProtocolError(Exception):
    """The peer says what its protocol does not know, or more than anybody needs."""


class StartTlsInjectionError(ProtocolError):
    """Something was said in clear after TLS was granted: read after the handshake, it would pass for the server's word."""


class CommandRejectedError(Exception):
    """The server said no: NO or BAD in IMAP, -ERR in POP3."""

    def __init__(self, result: str, text: str) -> None:
        super().__init__(f"{result} {text}")
        self.result = result
        self.text = text


class ProbeFailedError(Exception):
    """The mail service did not do what a user relies on."""

    def __init__(self, outcome: Outcome, failure: Failure) -> None:
        super().__init__(f"{outcome}: {failure.reason}")
        self.outcome = outcome
        self.failure = failure


def let_go(error: BaseException) -> None:
    """Let go of what *error*, which has been dealt with, and those before it went through.

    A traceback holds frames, and these the error, often with the connection that broke: garbage of 200 kB a run that only
    Python's collector would free, which comes by once in an hour.
    """
    # An error that was raised again is its own context, by way of others.
    waiting = [error]
    while waiting:
        each = waiting.pop()
        waiting += [one for one in (each.__cause__, each.__context__) if one is not None]
        each.__traceback__ = each.__cause__ = each.__context__ = None


class Trace(Protocol):
    """Notes when each phase starts and ends, and what was said."""

    def phase(self, phase: Phase, party: Party) -> AbstractContextManager[None]:
        """Time the enclosed stretch; it counts only if it ends without an error."""

    @property
    def listens(self) -> bool:
        """Whether anybody reads the dialogue; masking it takes a while."""

    def said(self, party: Party, line: str) -> None:
        """Keep one line of the dialogue. The caller has already masked secrets."""

    def doubt(self) -> None:
        """Note that the submission ended without an answer after the message was sent: it may have been taken."""

    def took(self, phase: Phase, at_most: timedelta) -> None:
        """Note that a finished phase is known to have taken no longer than this."""

    def arrived(self, content: bytes, rewrites: tuple[str, ...] = ()) -> None:
        """Keep the message as it lay in the mailbox: its headers tell which way it went; *rewrites*: what was done to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Sender and recipient of a probe message."""

    #: Unique in the service: "jabatan-contoh/outbound/reference-a".
    name: str
    sender: Mailbox
    #: Where the message is looked for.
    recipient: Mailbox
    #: Whom the message is sent to, when that is not the recipient mailbox's own address: a public or secondary
    #: address whose mail is forwarded to, or lies in, that mailbox.
    to: str | None = None

    @property
    def address(self) -> str:
        """The envelope recipient (RFC 5321 2.3.11)."""
        return self.to or self.recipient.address


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a run waits for what."""

    #: A connection that does nothing for this long is given up (connect to the end of submission).
    session: timedelta = timedelta(seconds=30)
    #: A message that has not arrived this long after it was accepted is lost.
    arrival: timedelta = timedelta(minutes=4)

    @property
    def slow_data(self) -> timedelta:
        """A server that takes longer than this to answer for a message is slow at sending.

        By default 15 s. Mail programs give up after a minute (Outlook can be set to 30 s), report an error, and people
        send again. The probe's message has 6 KiB: one with attachments takes a server longer that looks at it meanwhile.
        RFC 5321 4.5.3.2.6 lets clients wait for ten minutes, and 6.1 asks servers not to make use of it.
        """
        return self.session / 2

    @property
    def whole(self) -> timedelta:
        """The deadline of a run: whatever a peer does, it has ended by then."""
        return self.session + self.arrival

    @property
    def last_look(self) -> timedelta:
        """How long before it is lost a message is looked for once more, by a new sign-in and in all folders."""
        return min(self.session, self.arrival / 2)


class Probe(Protocol):
    """One way to prove that mail works on a route."""

    async def run(self, trace: Trace) -> Outcome:
        """Return DELIVERED or JUNK; raise `ProbeFailedError` for anything worse.

        The runner sets the deadline of the whole run, so a probe may wait without one.
        """


@dataclass(frozen=True, slots=True)
class ProbeKind:
    """What a module in `probes.kinds` offers: its name and how to build it."""

    name: str
    build: Callable[..., Probe]
