"""Interface between a probe kind and its runner."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from probes.model.mailbox import Mailbox
from probes.model.result import Failure, Outcome, Party, Phase


class ProtocolError(Exception):
    """The peer violated the protocol, or sent more than is accepted."""


class StartTlsInjectionError(ProtocolError):
    """Plain text followed the permission to begin TLS; after the handshake it would count as the server's response."""


class CommandRejectedError(Exception):
    """The server rejected a command: NO or BAD in IMAP, -ERR in POP3."""

    def __init__(self, result: str, text: str) -> None:
        super().__init__(f"{result} {text}")
        self.result = result
        self.text = text


class ProbeFailedError(Exception):
    """A mail service failed at something that users rely on."""

    def __init__(self, outcome: Outcome, failure: Failure) -> None:
        super().__init__(f"{outcome}: {failure.reason}")
        self.outcome = outcome
        self.failure = failure


def let_go(error: BaseException) -> None:
    """Clear the tracebacks of the handled *error* and of its causes.

    A traceback holds frames, and these the error, often with the broken connection: 200 kB of garbage a run that only
    Python's collector would free, which runs once an hour.
    """
    # An error that was raised again is in its own chain of contexts.
    waiting = [error]
    while waiting:
        each = waiting.pop()
        waiting += [one for one in (each.__cause__, each.__context__) if one is not None]
        each.__traceback__ = each.__cause__ = each.__context__ = None


class Trace(Protocol):
    """Records start and end of each phase, and the dialogue."""

    def phase(self, phase: Phase, party: Party) -> AbstractContextManager[None]:
        """Time the enclosed block as a phase; it counts only if it ends without an error."""

    @property
    def listens(self) -> bool:
        """Whether the dialogue is recorded; masking it takes time."""

    def said(self, party: Party, line: str) -> None:
        """Record one line of the dialogue. The caller has already masked secrets."""

    def doubt(self) -> None:
        """Record that the submission ended without a response after the message was sent: it may have been accepted."""

    def took(self, phase: Phase, at_most: timedelta) -> None:
        """Limit the duration of a finished phase to *at_most*."""

    def arrived(self, content: bytes, rewrites: tuple[str, ...] = ()) -> None:
        """Record the received message, whose headers show its path; *rewrites*: changes by relays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Sender and recipient of a test message."""

    #: Unique in the service: "jabatan-contoh/outbound/reference-a".
    name: str
    sender: Mailbox
    #: Mailbox in which the message is awaited.
    recipient: Mailbox
    #: Address of the message, if not the recipient mailbox's own: a public or secondary address whose mail is forwarded
    #: to, or delivered in, that mailbox.
    to: str | None = None

    @property
    def address(self) -> str:
        """The envelope recipient (RFC 5321 2.3.11)."""
        return self.to or self.recipient.address


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Timeouts of a run."""

    #: Longest idle time of a connection (from connect to the end of submission).
    session: timedelta = timedelta(seconds=30)
    #: A message that has not arrived this long after it was accepted is lost.
    arrival: timedelta = timedelta(minutes=4)

    @property
    def slow_data(self) -> timedelta:
        """Threshold for a server's response to a message, above which sending is slow.

        By default 15 s. Mail programs give up after a minute (Outlook can be set to 30 s), report an error, and people
        send again. The test message has 6 KiB: a server that scans content takes longer for one with attachments. RFC
        5321 4.5.3.2.6 lets clients wait for ten minutes, and 6.1 asks servers not to use it.
        """
        return self.session / 2

    @property
    def whole(self) -> timedelta:
        """Deadline of a run, whatever a peer does."""
        return self.session + self.arrival

    @property
    def last_look(self) -> timedelta:
        """How long before its deadline a message is searched for by a new sign-in, in all folders."""
        return min(self.session, self.arrival / 2)


class Probe(Protocol):
    """A test of mail on a route."""

    async def run(self, trace: Trace) -> Outcome:
        """Return DELIVERED or JUNK; raise `ProbeFailedError` for anything worse.

        The runner sets the deadline of the whole run, so a probe may wait without one.
        """


@dataclass(frozen=True, slots=True)
class ProbeKind:
    """Description of a probe, exported by a module in `probes.kinds`: its name and its factory."""

    name: str
    build: Callable[..., Probe]
