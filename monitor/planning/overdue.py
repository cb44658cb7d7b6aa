"""Deadlines: by when a route must have run, and by when a delivery must have succeeded. Pure.

Deadlines depend on the interval, active hours, maintenance and the duration of a run. Prometheus has none of these, so
it gets timestamps. They follow from the last run alone, not from the schedule: where nothing runs any more, the
deadline stays and passes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.model.route import MonitoredRoute, ProbingPolicy
from monitor.planning.schedule import CATCH_UP, HOURS_SPREAD, JITTER_AT_MOST

#: For waiting at a concurrency limit, and for storing the result.
_MARGIN = timedelta(minutes=2)
#: With short intervals no delivery is required for so long: single runs are inconclusive.
_MIN_SUCCESS_SPAN = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Times from which a route is overdue."""

    #: A run ends, with any outcome.
    run: datetime
    #: A run is delivered.
    proof: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _RouteDeadlines:
    probing: ProbingPolicy
    #: Time of the last delivery; before the first, the start of the route.
    proven_at: datetime
    #: `None`: no active hours remain.
    overdue: Deadlines | None


@dataclass(slots=True)
class OverdueTracker:
    """Deadlines of every route, by agency."""

    _route_deadlines: dict[str, dict[str, _RouteDeadlines]] = field(default_factory=lambda: defaultdict(dict))

    def begin(self, route: MonitoredRoute, now: datetime) -> None:
        """Add a route that has not run yet."""
        self._route_deadlines[route.agency][route.name] = _route_deadlines(route.probing, now, now)

    def change(self, route: MonitoredRoute, now: datetime) -> None:
        """Restart the deadlines of a route whose policy changed, so that a shorter interval does not make it overdue at once."""
        seen = self._route_deadlines[route.agency].get(route.name)
        if seen is not None and seen.probing != route.probing:
            self.begin(route, now)

    def ended(self, route: MonitoredRoute, now: datetime, *, proven: bool) -> None:
        """Record the end of a run."""
        if (seen := self._route_deadlines[route.agency].get(route.name)) is not None:
            self._route_deadlines[route.agency][route.name] = _route_deadlines(
                seen.probing, now, now if proven else seen.proven_at
            )

    def forget(self, route: MonitoredRoute) -> None:
        """Remove a route."""
        self._route_deadlines[route.agency].pop(route.name, None)

    def of(self, agency: str) -> Deadlines | None:
        """Return the earliest deadlines among an agency's routes; `None` without any."""
        found = [seen.overdue for seen in self._route_deadlines[agency].values() if seen.overdue is not None]
        if not found:
            return None
        return Deadlines(run=min(each.run for each in found), proof=min(each.proof for each in found))


def _route_deadlines(probing: ProbingPolicy, ran_at: datetime, proven_at: datetime) -> _RouteDeadlines:
    run, proof = run_by(probing, ran_at), proof_by(probing, proven_at)
    overdue = None if run is None or proof is None else Deadlines(run=run, proof=proof)
    return _RouteDeadlines(probing=probing, proven_at=proven_at, overdue=overdue)


def run_by(probing: ProbingPolicy, since: datetime) -> datetime | None:
    """Return when the run after one that ended at *since* ends at the latest; `None` if no run follows.

    One run may be skipped under load; the next then comes at its own time, or within `CATCH_UP`.
    """
    return _by(probing, since, timedelta(0))


def proof_by(probing: ProbingPolicy, since: datetime) -> datetime | None:
    """Return by when a delivery must follow one at *since*; `None` if no run follows."""
    return _by(probing, since, _MIN_SUCCESS_SPAN)


def _by(probing: ProbingPolicy, since: datetime, at_least: timedelta) -> datetime | None:
    interval = probing.interval
    at = since + max(at_least, interval + min(interval, CATCH_UP) + 2 * JITTER_AT_MOST)
    opens = probing.hours.opens(at)
    if opens is None:
        return None
    if opens > at:
        # Active hours begin for many routes at once, so one run may be skipped here too.
        at = opens + max(at_least, HOURS_SPREAD + min(interval, CATCH_UP))
    # A run may wait for its mailbox as long as a session.
    return at + HOURS_SPREAD + probing.patience.session + probing.patience.whole + _MARGIN
