"""'Test now': a run of one route for somebody who looks on. It is a run of the service itself, and counts as any.

A trip of its own would need sessions of its own: a mailbox that is read by POP3 has one at a time, and a server that counts
sessions may refuse ours for it. So it disturbs nothing, keeps within what the mail provider allows, and is in the history.
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

#: How long one can be looked at.
KEPT: Final = timedelta(minutes=15)
#: Of an agency, within a minute and within an hour: its mailboxes are not to be flooded by a button.
IN_A_MINUTE: Final = 3
IN_AN_HOUR: Final = 30
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A trial by the key of its address."""

    key: str
    agency: str
    by: str
    trial: OnDemandRun


class OnDemandRunRejectedError(Exception):
    """Not now. The message is a key of the portal's words."""


class OnDemandRuns:
    """Lets somebody test a route, one at a time of an agency, and keeps for some minutes what was seen."""

    def __init__(self, lifecycle: Lifecycle, clock: Clock, watch: Callable[[], ProbingRuntime]) -> None:
        """*lifecycle* writes down who has tested what."""
        self._lifecycle = lifecycle
        self._clock = clock
        self._watch = watch
        #: By key, the oldest first.
        self._kept: dict[str, StoredRun] = {}
        #: Agencies of which one is being begun: whoever presses twice presses once.
        self._beginning: set[str] = set()
        #: By agency: when the latest were begun.
        self._begun: dict[str, list[datetime]] = {}

    def routes(self, agency: str) -> Sequence[MonitoredRoute]:
        """Return the routes of an agency. Raise `NotFoundError`."""
        registry = self._watch().configuration.registry
        return registry.routes_of(agency_called(agency, registry.agencies))

    def is_proven(self, route: MonitoredRoute) -> bool:
        """Whether a route is held to be well now. One that has left is not."""
        watch = self._watch()
        there = {each.name for each in watch.configuration.registry.routes_of(route.agency)}
        return route.name in there and watch.judge_of(route.agency).route_health(route.name) is Health.UP

    async def begin(self, agency: str, route: str, *, by: str, address: str = "") -> StoredRun:
        """Test a route of an agency. Raise `NotFoundError`, `OnDemandRunRejectedError`, and `StoreUnavailable`: what is not written is not done."""
        if route not in {each.name for each in self.routes(agency)}:
            raise NotFoundError.said("no_route", agency=agency, route=route[:100])
        watch = self._watch()
        code = agency_called(agency, watch.configuration.registry.agencies)
        if code not in watch.owned:
            raise NotFoundError.said("watched_elsewhere", agency=code, prober=watch.share.owner(code))
        now = self._clock.now()
        # What is in the future was begun before the clock was put back, and nobody waits for that to come again.
        begun = [at for at in self._begun.get(agency, ()) if at <= now < at + _HOUR]
        if agency in self._beginning or self.under_way(agency) is not None:
            raise OnDemandRunRejectedError("under_way")
        if len(begun) >= IN_AN_HOUR or sum(now - at < _MINUTE for at in begun) >= IN_A_MINUTE:
            raise OnDemandRunRejectedError("too_many")
        self._begun[agency] = [*begun, now]
        self._beginning.add(agency)
        try:
            await self._lifecycle.told(by, "route tested", {"agency": agency, "route": route, "address": address})
            trial = self._watch().prober.run_now(route)
        except KeyError:
            raise NotFoundError.said("route_gone", agency=agency, route=route[:100]) from None
        finally:
            self._beginning.discard(agency)
        kept = StoredRun(key=token_hex(8), agency=agency, by=by, trial=trial)
        self._kept[kept.key] = kept
        return kept

    def find(self, agency: str, key: str) -> StoredRun:
        """Return a trial of an agency. Raise `NotFoundError`: it was too long ago."""
        kept = self._fresh().get(key)
        if kept is None or kept.agency != agency:
            raise NotFoundError.said("trial_gone")
        return kept

    def latest(self, agency: str) -> Sequence[StoredRun]:
        """Return what was tested lately, newest first."""
        return [each for each in reversed(self._fresh().values()) if each.agency == agency]

    def under_way(self, agency: str) -> StoredRun | None:
        """Return the trial of an agency that is not over."""
        return next((each for each in self.latest(agency) if not each.trial.is_over), None)

    def _fresh(self) -> dict[str, StoredRun]:
        """Return those that are kept, without those of which the time is over, whatever has become of them."""
        oldest = self._clock.now() - KEPT
        for key in [key for key, each in self._kept.items() if each.trial.asked_at < oldest]:
            del self._kept[key]
        return self._kept
