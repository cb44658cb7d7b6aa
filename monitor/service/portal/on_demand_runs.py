"""On-demand runs: a run of one route for a user who watches it. It is a run of the service, and counts like any other.

A separate test would need sessions of its own: a mailbox that is read by POP3 permits one at a time, and a server that
limits sessions might refuse ours. A run of the service disturbs nothing, stays within the provider's limits, and is in
the history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Final

from alerts.persistence.clock import Clock
from monitor.audit.lifecycle import Lifecycle
from monitor.model.health import Health
from monitor.model.route import MonitoredRoute
from monitor.probing.on_demand_run import OnDemandRun
from monitor.service.errors import NotFoundError, agency_called
from monitor.service.probing_runtime import ProbingRuntime

#: How long a run can be viewed.
KEPT: Final = timedelta(minutes=15)
#: Of an agency, within a minute and within an hour, so that a button cannot flood its mailboxes.
IN_A_MINUTE: Final = 3
IN_AN_HOUR: Final = 30
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run by the key in its address."""

    key: str
    agency: str
    by: str
    trial: OnDemandRun


class OnDemandRunRejectedError(Exception):
    """Refused for now. The message is a key of the portal's words."""


class OnDemandRuns:
    """On-demand runs, one at a time per agency, whose results are kept for some minutes."""

    def __init__(self, lifecycle: Lifecycle, clock: Clock, runtime: Callable[[], ProbingRuntime]) -> None:
        """*lifecycle* writes the audit entries."""
        self._lifecycle = lifecycle
        self._clock = clock
        self._runtime = runtime
        #: By key, the oldest first.
        self._kept: dict[str, StoredRun] = {}
        #: Agencies with a run that is being started: a second click does nothing.
        self._beginning: set[str] = set()
        #: By agency: start times of the latest runs.
        self._begun: dict[str, list[datetime]] = {}

    def routes(self, agency: str) -> Sequence[MonitoredRoute]:
        """Return the routes of an agency. Raise `NotFoundError`."""
        registry = self._runtime().configuration.registry
        return registry.routes_of(agency_called(agency, registry.agencies))

    def is_proven(self, route: MonitoredRoute) -> bool:
        """Whether the health of a route is up now; false for one that has left."""
        runtime = self._runtime()
        there = {each.name for each in runtime.configuration.registry.routes_of(route.agency)}
        return route.name in there and runtime.evaluator_of(route.agency).route_health(route.name) is Health.UP

    async def begin(self, agency: str, route: str, *, by: str, address: str = "") -> StoredRun:
        """Run a route of an agency.

        Raise `NotFoundError`, `OnDemandRunRejectedError`, and `StoreUnavailable`: without an audit entry nothing is
        run.
        """
        if route not in {each.name for each in self.routes(agency)}:
            raise NotFoundError.said("no_route", agency=agency, route=route[:100])
        runtime = self._runtime()
        code = agency_called(agency, runtime.configuration.registry.agencies)
        if code not in runtime.owned:
            raise NotFoundError.said("watched_elsewhere", agency=code, prober=runtime.share.owner(code))
        now = self._clock.now()
        # A time in the future is from before the clock was set back, and does not count.
        begun = [at for at in self._begun.get(agency, ()) if at <= now < at + _HOUR]
        if agency in self._beginning or self.under_way(agency) is not None:
            raise OnDemandRunRejectedError("under_way")
        if len(begun) >= IN_AN_HOUR or sum(now - at < _MINUTE for at in begun) >= IN_A_MINUTE:
            raise OnDemandRunRejectedError("too_many")
        self._begun[agency] = [*begun, now]
        self._beginning.add(agency)
        try:
            await self._lifecycle.told(by, "route tested", {"agency": agency, "route": route, "address": address})
            trial = self._runtime().prober.run_now(route)
        except KeyError:
            raise NotFoundError.said("route_gone", agency=agency, route=route[:100]) from None
        finally:
            self._beginning.discard(agency)
        kept = StoredRun(key=token_hex(8), agency=agency, by=by, trial=trial)
        self._kept[kept.key] = kept
        return kept

    def find(self, agency: str, key: str) -> StoredRun:
        """Return a run of an agency. Raise `NotFoundError`: it has expired."""
        kept = self._fresh().get(key)
        if kept is None or kept.agency != agency:
            raise NotFoundError.said("trial_gone")
        return kept

    def latest(self, agency: str) -> Sequence[StoredRun]:
        """Return recent runs, newest first."""
        return [each for each in reversed(self._fresh().values()) if each.agency == agency]

    def under_way(self, agency: str) -> StoredRun | None:
        """Return the unfinished run of an agency."""
        return next((each for each in self.latest(agency) if not each.trial.is_over), None)

    def _fresh(self) -> dict[str, StoredRun]:
        """Return the runs that have not expired, finished or not."""
        oldest = self._clock.now() - KEPT
        for key in [key for key, each in self._kept.items() if each.trial.asked_at < oldest]:
            del self._kept[key]
        return self._kept
