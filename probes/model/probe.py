"""Interface between a probe kind and its runner: the probe, its route and timeouts, its trace and its errors.

A run is one execution of a probe on a route.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from probes.model.mailbox import Mailbox
from probes.model.result import Failure, Outcome, Party, Phase


class ProtocolError(Exception):
    """The peer violated the protocol, or sent more than the limits allow."""


class StartTlsInjectionError(ProtocolError):
    """Plain text followed the response to STARTTLS; a client would take it for text sent under TLS (CVE-2011-0411)."""


class CommandRejectedError(Exception):
    """The server rejected a command: NO or BAD in IMAP, -ERR in POP3."""

    def __init__(self, result: str, text: str) -> None:
        super().__init__(f"{result} {text}")
        self.result = result
        self.text = text


class ProbeFailedError(Exception):
    """A run failed. `outcome` is the consequence for a mail user; `failure` has the phase, the party and the reason."""

    def __init__(self, outcome: Outcome, failure: Failure) -> None:
        super().__init__(f"{outcome}: {failure.reason}")
        self.outcome = outcome
        self.failure = failure


def clear_tracebacks(error: BaseException) -> None:
    """Clear the tracebacks of the handled *error* and of its causes.

    A traceback refers to frames, and frames refer to the error and often to the broken connection. Such a cycle keeps
    200 kB per run until Python's garbage collector runs, which it does once an hour.
    """
    # Causes and contexts are cleared, too, so that the loop ends: an error that was raised again may be its own
    # context.
    pending = [error]
    while pending:
        current = pending.pop()
        pending += [linked for linked in (current.__cause__, current.__context__) if linked is not None]
        current.__traceback__ = current.__cause__ = current.__context__ = None


class Trace(Protocol):
    """Records the phases of a run, the dialogue with the servers, and the received message."""

    def phase(self, phase: Phase, party: Party) -> AbstractContextManager[None]:
        """Time the enclosed block as a phase. The time of a block that raises an error is not recorded."""

    @property
    def records_dialogue(self) -> bool:
        """Whether lines of the dialogue are recorded. If not, callers need not mask secrets in them."""

    def add_line(self, party: Party, line: str) -> None:
        """Record one line of the dialogue with *party*'s server. The caller has masked secrets in it."""

    def mark_uncertain(self) -> None:
        """Record that the submission ended without a response after the message was sent: it may have been accepted."""

    def limit_duration(self, phase: Phase, at_most: timedelta) -> None:
        """Limit the duration of a finished phase to *at_most*, because the server's clock shows that it was shorter."""

    def record_message(self, content: bytes, rewrites: tuple[str, ...] = ()) -> None:
        """Record the received message, whose headers show its path, and the harmless changes by relays (*rewrites*)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Sender and recipient of a test message; the unit that is probed."""

    #: Unique in the service: "jabatan-contoh/outbound/reference-a".
    name: str
    sender: Mailbox
    #: Mailbox in which the message is awaited.
    recipient: Mailbox
    #: Address to send to; `None`: the address of the recipient mailbox. A public or secondary address whose mail is
    #: forwarded to that mailbox or delivered in it.
    to: str | None = None

    @property
    def address(self) -> str:
        """The envelope recipient (RFC 5321 2.3.11)."""
        return self.to or self.recipient.address


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Timeouts of a run."""

    #: Limit for the whole submission, from the DNS query to the last reply, and for each step of reading a mailbox.
    session: timedelta = timedelta(seconds=30)
    #: A message that has not arrived this long after it was accepted is lost.
    arrival: timedelta = timedelta(minutes=4)

    @property
    def slow_data(self) -> timedelta:
        """Sending counts as slow if the server takes longer than this to respond to the message.

        The default is 15 s. Mail programs give up after a minute (Outlook can be set to 30 s) and report an error, and
        people send again. The test message has only 6 KiB; a server that scans content takes longer for larger ones.
        RFC 5321 4.5.3.2.6 lets clients wait for ten minutes, but 6.1 asks servers not to use that time.
        """
        return self.session / 2

    @property
    def total(self) -> timedelta:
        """Deadline of a whole run, whatever a peer does."""
        return self.session + self.arrival

    @property
    def final_search(self) -> timedelta:
        """Time before the deadline at which a new session starts to search all folders for a missing message."""
        return min(self.session, self.arrival / 2)


class Probe(Protocol):
    """A test of mail on a route."""

    async def run(self, trace: Trace) -> Outcome:
        """Return DELIVERED or JUNK; raise `ProbeFailedError` for anything worse.

        The runner sets the deadline of the whole run, so a probe may wait without one.
        """


@dataclass(frozen=True, slots=True)
class ProbeKind:
    """Description of a probe, exported by a module in `probes.kinds`."""

    name: str
    #: Factory of a probe of one route; `probes.kinds.roundtrip` defines its parameters.
    build: Callable[..., Probe]
