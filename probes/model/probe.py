"""Interface between a probe kind and its runner: the probe, its route and timeouts, its trace and its errors."""

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
    """Plain text followed the response to STARTTLS; after the handshake it would count as sent under TLS."""


class CommandRejectedError(Exception):
    """The server rejected a command: NO or BAD in IMAP, -ERR in POP3."""

    def __init__(self, result: str, text: str) -> None:
        super().__init__(f"{result} {text}")
        self.result = result
        self.text = text


class ProbeFailedError(Exception):
    """A run failed. `outcome` is the result for a mail user, `failure` has place and reason."""

    def __init__(self, outcome: Outcome, failure: Failure) -> None:
        super().__init__(f"{outcome}: {failure.reason}")
        self.outcome = outcome
        self.failure = failure


def clear_tracebacks(error: BaseException) -> None:
    """Clear the tracebacks of the handled *error* and of its causes.

    A traceback refers to frames, and frames refer to the error and often to the broken connection. This cycle has 200
    kB per run, and only Python's garbage collector would free it. The garbage collector runs once an hour.
    """
    # The links are cleared, too, so that the loop ends: an error that was raised again may be linked to itself.
    pending = [error]
    while pending:
        current = pending.pop()
        pending += [linked for linked in (current.__cause__, current.__context__) if linked is not None]
        current.__traceback__ = current.__cause__ = current.__context__ = None


class Trace(Protocol):
    """Records the phases of a run, the dialogue with the servers, and the received message."""

    def phase(self, phase: Phase, party: Party) -> AbstractContextManager[None]:
        """Time the enclosed block as a phase; a block that ends with an error does not count."""

    @property
    def records_dialogue(self) -> bool:
        """Whether lines of the dialogue are recorded. If not, the caller saves the time to mask them."""

    def add_line(self, party: Party, line: str) -> None:
        """Record one line of the dialogue, in which the caller has masked secrets."""

    def mark_uncertain(self) -> None:
        """Record that the submission ended without a response after the message was sent: it may have been accepted."""

    def limit_duration(self, phase: Phase, at_most: timedelta) -> None:
        """Limit the duration of a finished phase to *at_most*."""

    def record_message(self, content: bytes, rewrites: tuple[str, ...] = ()) -> None:
        """Record the received message, whose headers show its path; *rewrites*: changes by relays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Sender and recipient of a test message; the unit that is probed."""

    #: Unique in the service: "jabatan-contoh/outbound/reference-a".
    name: str
    sender: Mailbox
    #: Mailbox in which the message is awaited.
    recipient: Mailbox
    #: Address to send to, if it is not the recipient mailbox's own: a public or secondary address whose mail is
    #: forwarded to that mailbox or delivered in it.
    to: str | None = None

    @property
    def address(self) -> str:
        """The envelope recipient (RFC 5321 2.3.11)."""
        return self.to or self.recipient.address


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Timeouts of a run."""

    #: Limit for the whole submission, from the name to the last reply, and for each step of reading a mailbox.
    session: timedelta = timedelta(seconds=30)
    #: A message that has not arrived this long after it was accepted is lost.
    arrival: timedelta = timedelta(minutes=4)

    @property
    def slow_data(self) -> timedelta:
        """Threshold for a server's response to a message, above which sending is slow.

        By default 15 s. Mail programs give up after a minute (Outlook can be set to 30 s) and report an error, and
        people send again. The test message has only 6 KiB: a server that scans content takes longer for larger ones.
        RFC 5321 4.5.3.2.6 lets clients wait for ten minutes, and 6.1 asks servers not to use that time.
        """
        return self.session / 2

    @property
    def total(self) -> timedelta:
        """Deadline of a whole run, whatever a peer does."""
        return self.session + self.arrival

    @property
    def final_search(self) -> timedelta:
        """Time before the deadline at which a missing message is searched for by a new sign-in, in all folders."""
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
