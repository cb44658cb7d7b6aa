"""Interface of a check: a probe kind that sends no message and examines what mail depends on.

A check reports what is about to fail or is misconfigured. It never affects an agency's mail health: only sent and
received messages do.
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
    """Verdict on one finding."""

    #: As it should be.
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    #: Works, and is weaker than it should be or about to fail.
    WARN = "warn"
    #: Broken, or absent where it is required.
    FAIL = "fail"
    #: Could not be examined; no evidence about the agency.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Result for one aspect of one subject."""

    #: The examined aspect: one of `CheckKind.aspects`, such as "spf".
    aspect: str
    #: The examined subject: a domain, a server as "imap.contoh.gov.my:993", an MX host with its address, a block list.
    #: It is a metric label, whose values the agency's configuration and DNS determine.
    subject: str
    verdict: Verdict
    #: One line for people: what was found, and for a problem what is expected. No secrets.
    detail: str = ""
    #: Expiry of a certificate; `None` for other aspects.
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NameServers:
    """Name servers to query."""

    #: IP addresses. Empty: the name servers of this machine (resolv.conf).
    addresses: tuple[str, ...] = ()
    port: int = 53
    #: Timeout of one query, retransmissions included.
    within: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckScope:
    """What a check may examine: the mailboxes and domains of one agency."""

    #: The agency's short code, or "" for the reference mailboxes, which are ours.
    agency: str
    mailboxes: tuple[Mailbox, ...]
    #: The agency's registered mail domains, in lower case.
    domains: tuple[str, ...]
    name_servers: NameServers = field(default_factory=NameServers)
    #: Returns the latest message from this agency that arrived in a mailbox, in full; `None` if none has arrived. Its
    #: DKIM signatures and Received headers are examined.
    sample_message: Callable[[], bytes | None] = field(default=lambda: None, compare=False)
    #: Address of a reference mailbox (ours, outside the agencies): sender in the envelope of SMTP sessions that send no
    #: message. Empty if none is configured.
    our_address: str = ""
    #: Whether a check may ask servers (RCPT) if they accept mail for the agency's mailboxes.
    ask_recipients: bool = True
    #: Egress policy for the hosts that the domains' DNS records name. `None` allows any address: an operator configured
    #: the domains.
    egress: EgressPolicy | None = None


class Check(Protocol):
    """One check of one scope."""

    async def run(self) -> tuple[Finding, ...]:
        """Return every finding, in a stable order.

        An aspect that cannot be examined has the verdict UNKNOWN; an exception is a bug. The caller sets the deadline
        of the whole check.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckKind:
    """Description of a check, exported by a module in `probes.kinds`."""

    name: str
    #: Every `Finding.aspect` that it may return; a closed set, for metrics.
    aspects: tuple[str, ...]
    #: Default interval between two runs.
    interval: timedelta
    #: Deadline of a whole run.
    within: timedelta
    #: Builds a check of a scope; the second argument returns the present time.
    build: Callable[[CheckScope, Callable[[], datetime]], Check]
    #: The check is off by default, because it does what an attacker would do, or opens additional connections.
    opt_in: bool = False
