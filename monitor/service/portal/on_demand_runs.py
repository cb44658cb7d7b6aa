"""On-demand runs: a user of the portal starts a run of one route (mail from one mailbox to another) and watches it.

The prober makes the run, within the limits of the mail provider, and it counts like any other run. A separate test
would need sessions of its own. But a POP3 mailbox permits only one session at a time, and a server that limits
sessions might then refuse the sessions of the prober.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Final

from alerts.persistence.clock import Clock
from monitor.audit.lifecycle import LifecycleRecorder
from monitor.model.health import Health
from monitor.model.route import MonitoredRoute
from monitor.probing.on_demand_run import OnDemandRun
from monitor.service.errors import NotFoundError, find_agency_code
from monitor.service.probing_runtime import ProbingRuntime

#: Time for which the page of a run exists.
RETENTION: Final = timedelta(minutes=15)
#: Maximum of runs per agency within a minute and within an hour, so that users cannot flood its mailboxes.
MAX_PER_MINUTE: Final = 3
MAX_PER_HOUR: Final = 30
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """An on-demand run, as it is stored for its page."""

    #: Random key in the URL of the page.
    key: str
    agency: str
    #: The user who started the run.
    by: str
    run: OnDemandRun


class OnDemandRunRejectedError(Exception):
    """Error for a run that is not possible now. The message is a key of the portal's texts."""


class OnDemandRuns:
    """On-demand runs, one at a time per agency. They stay in memory for `RETENTION`."""

    def __init__(self, lifecycle: LifecycleRecorder, clock: Clock, runtime: Callable[[], ProbingRuntime]) -> None:
        """*lifecycle* writes the audit entries."""
        self._lifecycle = lifecycle
        self._clock = clock
        self._runtime = runtime
        #: Runs by key, the oldest first.
        self._runs: dict[str, StoredRun] = {}
        #: Agencies whose run is being started: a second click is rejected.
        self._starting: set[str] = set()
        #: By agency: start times of the latest runs.
        self._start_times: dict[str, list[datetime]] = {}

    def routes(self, agency: str) -> Sequence[MonitoredRoute]:
        """Return the routes of an agency. Raise `NotFoundError`."""
        registry = self._runtime().configuration.registry
        return registry.routes_for(find_agency_code(agency, registry.agencies))

    def is_up(self, route: MonitoredRoute) -> bool:
        """Whether the health of a route is up; `False` for a route that was removed from the configuration."""
        runtime = self._runtime()
        current_names = {each.name for each in runtime.configuration.registry.routes_for(route.agency)}
        return route.name in current_names and runtime.evaluator_of(route.agency).route_health(route.name) is Health.UP

    async def begin(self, agency: str, route: str, *, by: str, address: str = "") -> StoredRun:
        """Start a run of a route of an agency. *address*: the client address, for the audit log.

        Raise `NotFoundError` or `OnDemandRunRejectedError`. Raise `StoreUnavailable` if the audit entry cannot be
        written; then no run starts.
        """
        if route not in {each.name for each in self.routes(agency)}:
            raise NotFoundError.from_text("no_route", agency=agency, route=route[:100])
        runtime = self._runtime()
        code = find_agency_code(agency, runtime.configuration.registry.agencies)
        # `owned`: the agencies that this process probes.
        if code not in runtime.owned:
            raise NotFoundError.from_text("watched_elsewhere", agency=code, prober=runtime.shard.owner(code))
        now = self._clock.now()
        # Ignore a time in the future: it was taken before the clock was set back.
        start_times = [at for at in self._start_times.get(agency, ()) if at <= now < at + _HOUR]
        if agency in self._starting or self.unfinished(agency) is not None:
            raise OnDemandRunRejectedError("under_way")
        if len(start_times) >= MAX_PER_HOUR or sum(now - at < _MINUTE for at in start_times) >= MAX_PER_MINUTE:
            raise OnDemandRunRejectedError("too_many")
        self._start_times[agency] = [*start_times, now]
        self._starting.add(agency)
        try:
            await self._lifecycle.record(by, "route tested", {"agency": agency, "route": route, "address": address})
            on_demand_run = self._runtime().prober.run_now(route)
        except KeyError:
            # A reload has removed the route meanwhile.
            raise NotFoundError.from_text("route_gone", agency=agency, route=route[:100]) from None
        finally:
            self._starting.discard(agency)
        stored_run = StoredRun(key=token_hex(8), agency=agency, by=by, run=on_demand_run)
        self._runs[stored_run.key] = stored_run
        return stored_run

    def find(self, agency: str, key: str) -> StoredRun:
        """Return a run of an agency. Raise `NotFoundError` if it has expired."""
        stored_run = self._unexpired().get(key)
        if stored_run is None or stored_run.agency != agency:
            raise NotFoundError.from_text("trial_gone")
        return stored_run

    def latest(self, agency: str) -> Sequence[StoredRun]:
        """Return the runs of an agency that have not expired, newest first."""
        return [each for each in reversed(self._unexpired().values()) if each.agency == agency]

    def unfinished(self, agency: str) -> StoredRun | None:
        """Return the unfinished run of an agency; `None`: there is none."""
        return next((each for each in self.latest(agency) if not each.run.is_finished), None)

    def _unexpired(self) -> dict[str, StoredRun]:
        """Return the runs that have not expired, finished or not."""
        oldest = self._clock.now() - RETENTION
        for key in [key for key, each in self._runs.items() if each.run.requested_at < oldest]:
            del self._runs[key]
        return self._runs
