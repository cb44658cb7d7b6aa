"""Deadlines: by when a route must have run, and by when a delivery must have succeeded. Pure.

A route is a pair of mailboxes that is probed. Deadlines depend on its interval, active hours, maintenance and the
duration of a run. Prometheus has none of these, so the deadlines are exported as timestamps. A deadline depends on the
last run and not on the schedule: if the schedule stops, the deadline does not move and so passes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.model.route import MonitoredRoute, ProbingPolicy
from monitor.planning.schedule import CATCH_UP, HOURS_SPREAD, MAX_JITTER

#: Margin for waiting at a concurrency limit, and for storing the result.
_MARGIN = timedelta(minutes=2)
#: Minimum time until a delivery is overdue, even with short intervals, because single runs may be inconclusive.
_MIN_SUCCESS_SPAN = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Times after which a route is overdue."""

    #: By then a run must have ended, with any outcome.
    run: datetime
    #: By then the message of a run must have been delivered.
    success: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _RouteDeadlines:
    probing: ProbingPolicy
    #: End of the last run with a delivery; before the first, the time when the route was added.
    succeeded_at: datetime
    #: `None`: the route has no active hours any more.
    deadlines: Deadlines | None


@dataclass(slots=True)
class OverdueTracker:
    """Deadlines of every route, by agency."""

    _route_deadlines: dict[str, dict[str, _RouteDeadlines]] = field(default_factory=lambda: defaultdict(dict))

    def add_route(self, route: MonitoredRoute, now: datetime) -> None:
        """Add a route that has not run yet."""
        self._route_deadlines[route.agency][route.name] = _route_deadlines(route.probing, now, now)

    def change_route(self, route: MonitoredRoute, now: datetime) -> None:
        """Replace a route. If its policy changed, the deadlines start again: a change must not make a route overdue."""
        before = self._route_deadlines[route.agency].get(route.name)
        if before is not None and before.probing != route.probing:
            self.add_route(route, now)

    def record_end(self, route: MonitoredRoute, now: datetime, *, has_succeeded: bool) -> None:
        """Record the end of a run."""
        if (before := self._route_deadlines[route.agency].get(route.name)) is not None:
            self._route_deadlines[route.agency][route.name] = _route_deadlines(
                before.probing, now, now if has_succeeded else before.succeeded_at
            )

    def remove_route(self, route: MonitoredRoute) -> None:
        """Remove a route."""
        self._route_deadlines[route.agency].pop(route.name, None)

    def deadlines(self, agency: str) -> Deadlines | None:
        """Return the earliest deadlines among an agency's routes; `None` without any."""
        all_deadlines = [
            route_deadlines.deadlines
            for route_deadlines in self._route_deadlines[agency].values()
            if route_deadlines.deadlines is not None
        ]
        if not all_deadlines:
            return None
        return Deadlines(
            run=min(each.run for each in all_deadlines), success=min(each.success for each in all_deadlines)
        )


def _route_deadlines(probing: ProbingPolicy, ran_at: datetime, last_success_at: datetime) -> _RouteDeadlines:
    run_by, success_by = run_deadline(probing, ran_at), success_deadline(probing, last_success_at)
    deadlines = None if run_by is None or success_by is None else Deadlines(run=run_by, success=success_by)
    return _RouteDeadlines(probing=probing, succeeded_at=last_success_at, deadlines=deadlines)


def run_deadline(probing: ProbingPolicy, since: datetime) -> datetime | None:
    """Return by when the next run must end after one that ended at *since*; `None` if no run follows.

    One run may be skipped under load. The run after it comes at its regular time, or within `CATCH_UP`.
    """
    return _deadline(probing, since, timedelta(0))


def success_deadline(probing: ProbingPolicy, since: datetime) -> datetime | None:
    """Return by when a delivery must follow one at *since*; `None` if no run follows."""
    return _deadline(probing, since, _MIN_SUCCESS_SPAN)


def _deadline(probing: ProbingPolicy, since: datetime, min_span: timedelta) -> datetime | None:
    interval = probing.interval
    deadline = since + max(min_span, interval + min(interval, CATCH_UP) + 2 * MAX_JITTER)
    active_at = probing.hours.next_active_at(deadline)
    if active_at is None:
        return None
    if active_at > deadline:
        # Active hours begin for many routes at once, so the first run may be skipped under load.
        deadline = active_at + max(min_span, HOURS_SPREAD + min(interval, CATCH_UP))
    # A run that is due outside of the active hours is moved up to `HOURS_SPREAD` after their beginning. Before the run
    # itself, opening the recipient's mailbox may take up to the session time-out.
    return deadline + HOURS_SPREAD + probing.timeouts.session + probing.timeouts.total + _MARGIN
