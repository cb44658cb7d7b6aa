"""What is known of our own side: when our network and each reference mailbox were last seen to work. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from monitor.route import Direction, WatchedRoute
from probes.result import Outcome, Party, Phase, ProbeResult

#: Phases in which a failure may be our network's as well as the server's.
REACHING = frozenset({Phase.DNS, Phase.CONNECT, Phase.TLS})

#: The message came to its mailbox.
ARRIVED = frozenset({Outcome.DELIVERED, Outcome.JUNK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """When something was last seen to work, and to fail (start of that run)."""

    worked_at: datetime | None = None
    failed_at: datetime | None = None

    def stands_for(self, moment: datetime) -> bool | None:
        """Return whether it worked at or after *moment*; `None` when it was not tried since."""
        if self.worked_at is not None and self.worked_at >= moment:
            return True
        if self.failed_at is not None and self.failed_at >= moment:
            return False
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of our own side, by the name of the reference mailbox."""

    #: Its servers could be reached: proves our network as well.
    reach: Mapping[str, Proof] = field(default_factory=dict)
    #: A message that it sent arrived somewhere.
    sends: Mapping[str, Proof] = field(default_factory=dict)
    #: A message to it arrived.
    receives: Mapping[str, Proof] = field(default_factory=dict)

    def network_stands(self, moment: datetime) -> bool | None:
        """Return whether our network worked at or after *moment*: one reference reached is enough."""
        found = [proof.stands_for(moment) for proof in self.reach.values()]
        if any(found):
            return True
        return False if found and all(f is False for f in found) else None


class Witness:
    """Collects evidence from every run that touches a reference mailbox."""

    def __init__(self, references: Iterable[str]) -> None:
        names = list(references)
        self._reach = dict.fromkeys(names, Proof())
        self._sends = dict.fromkeys(names, Proof())
        self._receives = dict.fromkeys(names, Proof())

    def evidence(self) -> Evidence:
        """Return what is known now."""
        return Evidence(reach=self._reach, sends=self._sends, receives=self._receives)

    def hear(self, route: WatchedRoute, result: ProbeResult) -> None:
        """Take what a run proves of the references at its ends.

        A proof is dated by the *start* of its run: so a run is never excused or blamed by what happened before it.
        """
        at = result.started_at
        sender, recipient = route.route.sender.name, route.route.recipient.name
        if Phase.AUTH in result.phases:
            _works(self._reach, sender, at)
        if result.outcome in ARRIVED or result.outcome is Outcome.CORRUPTED:
            _works(self._reach, recipient, at)
        if result.outcome in ARRIVED:
            _works(self._sends, sender, at)
            _works(self._receives, recipient, at)
        elif result.failure is not None:
            self._hear_failure(route, result)

    def _hear_failure(self, route: WatchedRoute, result: ProbeResult) -> None:
        failure, at = result.failure, result.started_at
        if failure is None:
            return
        sender, recipient = route.route.sender.name, route.route.recipient.name
        place = sender if failure.party is Party.SENDER else recipient
        if failure.phase in REACHING:
            _fails(self._reach, place, at)
        if route.direction is Direction.CONTROL:
            _fails(self._sends, sender, at)
            _fails(self._receives, recipient, at)


def _works(proofs: dict[str, Proof], name: str, at: datetime) -> None:
    known = proofs.get(name)
    if known is not None and (known.worked_at is None or known.worked_at < at):
        proofs[name] = replace(known, worked_at=at)


def _fails(proofs: dict[str, Proof], name: str, at: datetime) -> None:
    known = proofs.get(name)
    if known is not None and (known.failed_at is None or known.failed_at < at):
        proofs[name] = replace(known, failed_at=at)
