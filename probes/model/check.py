"""The contract of a check: a kind of probe that sends no message and looks at what mail rests on.

A check tells staff what is about to break or is set up badly. It never moves an agency's mail health: only a message
that went and came does that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from probes.model.egress import EgressPolicy
from probes.model.mailbox import Mailbox


class Verdict(StrEnum):
    """What a check found of one thing."""

    #: As it should be.
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    #: Works, and is weaker than it should be or about to fail.
    WARN = "warn"
    #: Broken, or absent where it is required.
    FAIL = "fail"
    #: Could not be examined. Says nothing about the agency.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check looked at."""

    #: What was looked at: one of `CheckKind.aspects`, such as "spf".
    aspect: str
    #: Whose: a domain, a server as "imap.contoh.gov.my:993", an MX host with its address, a block list. Bounded by the
    #: configuration and the DNS of the agency; a metric label.
    subject: str
    verdict: Verdict
    #: One line for people: what was found, and when it is not well, what is expected. No secrets.
    detail: str = ""
    #: When it stops being valid (a certificate).
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NameServers:
    """Whom to ask for names. Empty: those of this machine (resolv.conf)."""

    addresses: tuple[str, ...] = ()
    port: int = 53
    #: For one question, with its repetitions.
    within: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckScope:
    """What a check may look at: everything of one agency."""

    #: The agency's short code, or "" for our own reference mailboxes.
    agency: str
    mailboxes: tuple[Mailbox, ...]
    #: Registered mail domains, in lower case.
    domains: tuple[str, ...]
    name_servers: NameServers = field(default_factory=NameServers)
    #: Returns the latest message from this agency that arrived elsewhere, whole; `None` when there is none yet.
    sample_message: Callable[[], bytes | None] = field(default=lambda: None, compare=False)
    #: An address of ours, for the envelope of what is asked of servers and never sent.
    our_address: str = ""
    #: Whether a server may be asked (RCPT) if it would take a message to a mailbox here.
    ask_recipients: bool = True
    #: Where the hosts may be that the DNS of its domains names; `None`: whoever named the domains is trusted with our network.
    bounds: EgressPolicy | None = None


class Check(Protocol):
    """One check of one agency's premises."""

    async def run(self) -> tuple[Finding, ...]:
        """Look, and return every finding, in a stable order.

        What cannot be looked at is a finding UNKNOWN, not an exception; an exception is a bug of ours. The caller sets
        the deadline of the whole check.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckKind:
    """What a module in `probes.kinds` offers when it is a check."""

    name: str
    #: Every `Finding.aspect` that it may return; a closed set, for metrics.
    aspects: tuple[str, ...]
    #: How often it runs when nothing else is configured.
    interval: timedelta
    #: Deadline of a whole run.
    within: timedelta
    #: Builds a check of some premises; `now` is the wall clock.
    build: Callable[[CheckScope, Callable[[], datetime]], Check]
    #: Runs only where it is asked for: it does what an intruder would do, or opens connections that are not its own.
    opt_in: bool = False
