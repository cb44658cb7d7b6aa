"""Result -> health -> event: the only module that knows both sides.

Level-triggered: after every run the agency's state is compared with what the alerting side was last told, and told
again if it differs. At start that is read from the open incidents, so nothing depends on having seen a change happen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from alerts.brief import Brief
from alerts.clock import Clock
from alerts.event import Event, Resolve, Trigger
from alerts.incident import Incident
from alerts.notice import Matter
from monitor.attribution import Blame
from monitor.health import Health
from monitor.judge import Judge, Suspect, Trouble
from monitor.metrics import AGENCY_DIRECTIONS, OWN_FAULTS, Metrics
from monitor.route import WatchedRoute
from monitor.store.history import History
from probes.result import ProbeResult

log = structlog.get_logger()

#: Dedup keys of what is our own; an agency's is its short code.
_OURS = "ours/"


class Alerting(Protocol):
    """The part of `alerts.dispatcher.Dispatcher` that is needed here."""

    async def submit(self, event: Event) -> Incident | None:
        """Take an event in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefs:
    """Whom to tell about what, as configured now."""

    agencies: Mapping[str, Brief]
    #: The brief for something of ours.
    ours: Callable[[Suspect], Brief]


class Pipeline:
    """Takes each end of a run through to the alerting side."""

    def __init__(
        self,
        *,
        judge: Judge,
        routes: Mapping[str, WatchedRoute],
        briefs: Briefs,
        history: History,
        alerting: Alerting,
        metrics: Metrics,
        clock: Clock,
        site: str,
        open_incidents: Mapping[str, Matter],
    ) -> None:
        """*open_incidents*: the matter of each open incident, by dedup key."""
        self._judge = judge
        self._routes = routes
        self._briefs = briefs
        self._history = history
        self._alerting = alerting
        self._metrics = metrics
        self._clock = clock
        self._site = site
        self._told = dict(open_incidents)
        self._stored = dict(judge.healths())
        for agency in briefs.agencies:
            self._show(agency)

    async def take(self, result: ProbeResult) -> None:
        """Take in the end of a run."""
        route = self._routes.get(result.route)
        if route is None:
            return  # It left the configuration while its last run was under way.
        now = self._clock.now()
        verdict = self._judge.take_in(result, now)
        self._metrics.probe_finished(result, agency=route.agency, direction=route.direction, site=self._site)
        await self._history.ended(result, route.agency, self._newly_judged())
        if result.failure is not None:
            log.info(
                "probe failed",
                route=route.name,
                outcome=result.outcome,
                why=result.failure.reason,
                blame=verdict.blame if verdict else None,
            )
        for agency in self._briefs.agencies:
            await self._compare_agency(agency, now)
        await self._compare_ours(now)

    def _newly_judged(self) -> Mapping[str, tuple[Health, datetime]]:
        healths = self._judge.healths()
        changed = {name: judged for name, judged in healths.items() if self._stored.get(name) != judged}
        for name, (health, _) in changed.items():
            log.info("health changed", subject=name, health=health)
        self._stored = dict(healths)
        return changed

    async def _compare_agency(self, agency: str, now: datetime) -> None:
        self._show(agency)
        trouble = self._judge.trouble(agency, now)
        if trouble is not None:
            await self._tell(agency, trouble, self._briefs.agencies[agency], now)
        elif agency in self._told and (ended_at := self._judge.is_well(agency)):
            await self._tell_over(agency, ended_at, now)

    async def _compare_ours(self, now: datetime) -> None:
        troubles = self._judge.own_troubles()
        for suspect, trouble in troubles.items():
            await self._tell(f"{_OURS}{suspect}", trouble, self._briefs.ours(suspect), now)
        for suspect, ended_at in self._judge.own_well().items():
            if f"{_OURS}{suspect}" in self._told:
                await self._tell_over(f"{_OURS}{suspect}", ended_at, now)
        present = {suspect.blame for suspect in troubles}
        for blame in (Blame.NETWORK, Blame.REFERENCE, Blame.CREDENTIALS):
            if blame in OWN_FAULTS:
                self._metrics.own_fault(blame, present=blame in present)

    async def _tell(self, key: str, trouble: Trouble, brief: Brief, now: datetime) -> None:
        if self._told.get(key) is trouble.matter:
            return
        event = Trigger(dedup_key=key, at=now, matter=trouble.matter, began_at=trouble.since, brief=brief)
        await self._alerting.submit(event)
        self._told[key] = trouble.matter

    async def _tell_over(self, key: str, ended_at: datetime, now: datetime) -> None:
        await self._alerting.submit(Resolve(dedup_key=key, at=now, ended_at=ended_at))
        del self._told[key]

    def _show(self, agency: str) -> None:
        for direction, health in self._judge.directions(agency).items():
            if direction in AGENCY_DIRECTIONS:
                up = None if health is Health.UNKNOWN else health is not Health.DOWN
                self._metrics.mail_judged(agency, direction, up=up, degraded=health is Health.DEGRADED)
