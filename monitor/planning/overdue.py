"""Decide by when a route must have been run, and by when its mail must have been proven. Pure: the caller passes the time.

What is overdue depends on the interval, on hours and maintenance, and on how long a run may take. Prometheus knows none of
these, so it is told the moment. It follows from the last run alone and not from what is planned: where nothing is run any more, it
stays where it is, and passes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.model.route import MonitoredRoute, ProbingPolicy
from monitor.planning.schedule import CATCH_UP, JITTER_AT_MOST, SOON

#: A run waits for its turn at a server, and its end is written down.
_SPARE = timedelta(minutes=2)
#: So long nothing need be proved where mail is probed often: single runs come to nothing.
_UNPROVEN = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Unless it happens before, it is overdue from then on."""

    #: That a run ends, however it does.
    run: datetime
    #: That one is delivered.
    proof: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    probing: ProbingPolicy
    #: When a message was last delivered; before the first, since when it is waited for.
    proven_at: datetime
    #: `None`: outside of all hours, for good.
    overdue: Deadlines | None


@dataclass(slots=True)
class OverdueTracker:
    """What is waited for of every route, by agency."""

    _seen: dict[str, dict[str, _Seen]] = field(default_factory=lambda: defaultdict(dict))

    def begin(self, route: MonitoredRoute, now: datetime) -> None:
        """Wait for a route's first run."""
        self._seen[route.agency][route.name] = _seen(route.probing, now, now)

    def change(self, route: MonitoredRoute, now: datetime) -> None:
        """Wait for a route as it is probed from now on. By its new times it may be late already: it has time anew."""
        seen = self._seen[route.agency].get(route.name)
        if seen is not None and seen.probing != route.probing:
            self.begin(route, now)

    def ended(self, route: MonitoredRoute, now: datetime, *, proven: bool) -> None:
        """Wait for the next run."""
        if (seen := self._seen[route.agency].get(route.name)) is not None:
            self._seen[route.agency][route.name] = _seen(seen.probing, now, now if proven else seen.proven_at)

    def forget(self, route: MonitoredRoute) -> None:
        """Wait no more."""
        self._seen[route.agency].pop(route.name, None)

    def of(self, agency: str) -> Deadlines | None:
        """Return what is overdue first of an agency's routes; `None`: nothing is waited for."""
        found = [seen.overdue for seen in self._seen[agency].values() if seen.overdue is not None]
        if not found:
            return None
        return Deadlines(run=min(each.run for each in found), proof=min(each.proof for each in found))


def _seen(probing: ProbingPolicy, ran_at: datetime, proven_at: datetime) -> _Seen:
    run, proof = run_by(probing, ran_at), proof_by(probing, proven_at)
    overdue = None if run is None or proof is None else Deadlines(run=run, proof=proof)
    return _Seen(probing=probing, proven_at=proven_at, overdue=overdue)


def run_by(probing: ProbingPolicy, since: datetime) -> datetime | None:
    """Return when the run after one that ended at *since* has ended at the latest; `None`: there will be none.

    One time may be let go (the process stood still, the machine was busy), and then it comes at the next, or soon.
    """
    return _by(probing, since, timedelta(0))


def proof_by(probing: ProbingPolicy, since: datetime) -> datetime | None:
    """Return by when a message must have been delivered after one that was at *since*."""
    return _by(probing, since, _UNPROVEN)


def _by(probing: ProbingPolicy, since: datetime, at_least: timedelta) -> datetime | None:
    interval = probing.interval
    at = since + max(at_least, interval + min(interval, CATCH_UP) + 2 * JITTER_AT_MOST)
    opens = probing.hours.opens(at)
    if opens is None:
        return None
    if opens > at:
        # Hours begin for many at once: one time may be let go here, too.
        at = opens + max(at_least, SOON + min(interval, CATCH_UP))
    # Before it begins it may wait for as long as a session does until the mailbox can be read.
    return at + SOON + probing.patience.session + probing.patience.whole + _SPARE
