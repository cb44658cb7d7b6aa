"""Result -> health -> event: the only module that knows both sides.

Level-triggered: after every run the agency's state is compared with what the alerting side was last told, and told
again if it differs. At start that is read from the open incidents, so nothing depends on having seen a change happen.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NoReturn, Protocol

import structlog

from alerts.model.brief import Brief
from alerts.model.event import Event, Resolve, Trigger
from alerts.model.incident import Incident, is_news
from alerts.model.notice import Matter
from alerts.record.clock import Clock
from alerts.record.store import StoreAway
from monitor.bridge.briefs import cause_of
from monitor.judging.attribution import Blame
from monitor.judging.evidence import is_prompt, was_taken_well
from monitor.judging.judge import AT_A_TIME, Judge, Suspect, Trouble
from monitor.judging.matter import can_end, is_proven_less
from monitor.judging.subject import Graded
from monitor.metrics import AGENCY_DIRECTIONS, Metrics
from monitor.model.health import Grade, Health
from monitor.model.route import Direction, WatchedRoute
from monitor.runtime.keeping import keep_doing
from monitor.store.probing.history import History
from probes.model.result import Outcome, ProbeResult

log = structlog.get_logger()

#: Dedup keys of what is our own; an agency's is its short code.
_OURS = "ours/"

#: What could not be told is told again after this.
_RETRY = timedelta(seconds=2)

#: This often it is looked up which incidents are open: a person may have closed one, or declared it a false alarm.
_LOOK_UP = timedelta(minutes=1)

#: So long one direction works again, and the other not, before that is told. A recovery has gone round all routes by then.
_LASTS = timedelta(minutes=10)

#: What the metrics call a fault of ours; the others are called as they are here.
_CAUSES = {str(Blame.OURS): "configuration"}


class Alerting(Protocol):
    """The part of `alerts.engine.dispatcher.Dispatcher` that is needed here."""

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
        open_keys: Callable[[], Awaitable[Collection[str]]] | None = None,
    ) -> None:
        """*routes* are the judge's, as they change; *open_incidents*: what each open incident was told of, by dedup key.

        *open_keys* asks which keys they have now; without it nobody else ends an incident. Those that are open by a
        person's word alone are in neither: nobody was told of what is measured.
        """
        self._judge = judge
        self._routes = routes
        self._briefs = briefs
        #: Those that are told of; the briefs themselves are few that are ever asked for.
        self._agencies = set(briefs.agencies)
        self._history = history
        self._alerting = alerting
        self._metrics = metrics
        self._clock = clock
        self._site = site
        self._told: dict[str, Matter] = {}
        #: By dedup key: what is wrong by now where more was told, and since when that is so.
        self._less: dict[str, tuple[Matter, datetime]] = {}
        #: How much was told of what is ours, by what the metrics call it.
        self._told_of: Counter[tuple[str, str]] = Counter()
        for key, matter in open_incidents.items():
            self._note_told(key, matter)
        self._open_keys = open_keys
        self._looked_up_at = clock.now()
        self._telling = asyncio.Lock()
        #: By dedup key: the incident that a person has ended by hand, while what it was about is measured all the same.
        self.ended_by_hand: dict[str, Incident] = {}
        #: By dedup key: what the alerting side could not take in.
        self._untold: set[str] = set()
        #: Something could not be told.
        self._owes = asyncio.Event()
        #: The alerting side's store was away when something was last told.
        self._is_away = False
        #: Somebody weighs again what waited.
        self._is_weighing = False
        #: How each route's last run ended, and why.
        self._endings: dict[str, tuple[Outcome, str]] = {}
        #: By agency and route: which way it goes, and why its last run failed ("": it did not).
        self._reasons: dict[str, dict[str, tuple[Direction, str]]] = {}
        #: Judgements that could not be written down yet.
        self._unwritten: dict[str, tuple[Health, datetime]] = {}
        self._unwritten_streaks: dict[str, tuple[Graded, ...]] = {}
        #: By dedup key: what may stand otherwise than was last told. Few: most runs change nothing, and there are thousands.
        self._unsettled = {*self._agencies, *open_incidents}
        for agency in self._agencies:
            self._show(agency)
        self._show_faults(clock.now())

    # -- of whom is told -----------------------------------------------------------------------------------------

    def brief(self, briefs: Briefs) -> None:
        """Tell by *briefs* from now on. An incident that is open goes on by its own."""
        self._briefs = briefs

    def gain(self, agencies: AbstractSet[str], open_incidents: Mapping[str, Matter]) -> None:
        """Tell of *agencies* from now on, too, of which there are briefs; *open_incidents*: what was told of them."""
        self._agencies |= agencies
        self._told |= {agency: open_incidents[agency] for agency in agencies if agency in open_incidents}
        self._unsettled |= agencies

    def release(self, agencies: AbstractSet[str]) -> None:
        """Tell of *agencies* no more. What is open of them stays open: nobody here knows when it ends."""
        self._agencies -= agencies
        self._unsettled -= agencies
        for agency in agencies:
            self._told.pop(agency, None)
            self._less.pop(agency, None)
            self.ended_by_hand.pop(agency, None)

    def look_again(self) -> None:
        """Show how agencies stand after routes have come, gone or changed; what is news is told with the next run."""
        self._show_moved(self._clock.now())
        self._endings = {name: ending for name, ending in self._endings.items() if name in self._routes}
        for agency, reasons in self._reasons.items():
            self._reasons[agency] = {name: reason for name, reason in reasons.items() if name in self._routes}

    # -- runs ----------------------------------------------------------------------------------------------------

    async def take(self, result: ProbeResult) -> None:
        """Take in the end of a run.

        How things stand is judged and shown at once, and told; what cannot be told now is told by `keep_telling`. Raise
        what the store raises when the run cannot be written because of a bug; all the rest happens all the same.
        """
        route = self._routes.get(result.route)
        if route is None:
            return  # It left the configuration while its last run was under way.
        now = self._clock.now()
        verdict = self._judge.take_in(result, now)
        self._metrics.probe_finished(
            result,
            agency=route.agency,
            direction=route.direction,
            site=self._site,
            went_well=is_prompt(route, result) and was_taken_well(route, result),
        )
        if result.path is not None:
            self._metrics.path_known(route.agency, route.direction, result.path)
        self._log(result)
        reason = result.failure.reason if result.failure else ""
        self._reasons.setdefault(route.agency, {})[result.route] = (route.direction, reason)
        self._show_moved(now)
        try:
            await self._write_down(result, route, None if verdict is None else verdict.grade)
        finally:
            await self._compare_unless_away(now)
            await self._weigh_the_rest()

    async def _weigh_the_rest(self) -> None:
        """Weigh again what a proof has brought thousands of runs at once, and let others do their work in between."""
        if self._is_weighing:
            return
        self._is_weighing, now = True, None
        try:
            while not self._judge.is_done:
                await asyncio.sleep(0)
                now = self._clock.now()
                self._judge.weigh_more(now)
                self._show_moved(now)
        finally:
            self._is_weighing = False
        if now is not None:
            await self._compare_unless_away(now)

    def _show_moved(self, now: datetime) -> None:
        """Show what stands otherwise, and remember that it is to be told."""
        for (agency, direction, verdict), runs in self._judge.counted().items():
            self._metrics.runs_judged(agency, direction, verdict, runs)
        moved = self._judge.moved() & self._agencies
        self._unsettled |= moved | {f"{_OURS}{suspect}" for suspect in self._judge.own_moved()}
        for agency in moved:
            self._show(agency)
        self._show_faults(now)

    async def keep_telling(self) -> NoReturn:
        """Tell what could not be told, again and again until it is: the next run may be minutes away."""
        await keep_doing("telling the alerting side", self._tell_what_is_owed, timedelta(0))

    async def _tell_what_is_owed(self) -> None:
        await self._owes.wait()
        self._owes.clear()
        await asyncio.sleep(_RETRY.total_seconds())
        await self._compare_all(self._clock.now())

    async def _compare_unless_away(self, now: datetime) -> None:
        if self._is_away:
            # Probing must not wait for a store that may not even refuse.
            self._owes.set()
        else:
            await self._compare_all(now)

    async def _compare_all(self, now: datetime) -> None:
        # Runs end while others are being told of: what was told is compared by one at a time.
        async with self._telling:
            try:
                await self._look_up(now)
                self._unsettled |= set(self._ripe(now))
                # Agencies first.
                for number, key in enumerate(sorted(self._unsettled, key=lambda key: (key.startswith(_OURS), key)), 1):
                    await self._compare(key, now)
                    if number % AT_A_TIME == 0:
                        await asyncio.sleep(0)
            except StoreAway:
                self._is_away = True
                self._owes.set()
            else:
                self._is_away = False

    async def _look_up(self, now: datetime) -> None:
        """Forget what was told of incidents that have ended without us.

        What is wrong is told again then. The alerting side keeps quiet about what a person has ended by hand, for a while,
        and about nothing else: an agency of which one route never worked again would never be told of again.
        """
        if self._open_keys is None or timedelta(0) <= now - self._looked_up_at < _LOOK_UP:
            return
        self._looked_up_at = now
        try:
            ended = self._told.keys() - await self._open_keys()
        except StoreAway:
            raise
        # Our bug must not keep anybody from being told.
        except Exception:
            log.exception("could not look up what is open; trying again")
            return
        for key in ended:
            self._note_told(key, None)
        self._unsettled |= ended

    def _log(self, result: ProbeResult) -> None:
        """Write a line when a route ends otherwise than the time before, and none while it goes on like that."""
        reason = result.failure.reason if result.failure else ""
        before = self._endings.get(result.route, (Outcome.DELIVERED, ""))
        self._endings[result.route] = ending = (result.outcome, reason)
        if ending != before:
            event = "probe failed" if result.failure else "probe arrived"
            log.info(event, route=result.route, outcome=result.outcome, why=reason)

    async def _write_down(self, result: ProbeResult, route: WatchedRoute, grade: Grade | None) -> None:
        # Taken before it is written: runs that end meanwhile write what has changed since, in this order, in the same
        # commit.
        changed, self._unwritten = self._unwritten | self._judge.rejudged(), {}
        streaks, self._unwritten_streaks = self._unwritten_streaks | self._judge.other_streaks(), {}
        try:
            every = route.probing.interval
            await self._history.ended(result, route.agency, changed, streaks=streaks, grade=grade, every=every)
        except Exception:
            # What could not be written is written with the next run.
            self._unwritten = changed | self._unwritten
            self._unwritten_streaks = streaks | self._unwritten_streaks
            raise
        for name, (health, _) in changed.items():
            log.info("health changed", subject=name, health=health)

    async def _compare(self, key: str, now: datetime) -> None:
        # Before, not after: it may move again while it is told of.
        self._unsettled.discard(key)
        try:
            await (self._compare_ours if key.startswith(_OURS) else self._compare_agency)(key, now)
        except BaseException:
            self._unsettled.add(key)
            raise

    async def _compare_agency(self, agency: str, now: datetime) -> None:
        if agency not in self._agencies:
            return  # What is open of one that has left is ended by a person.
        trouble = self._judge.trouble(agency, now)
        if trouble is not None:
            why = cause_of(trouble.matter, self._reasons.get(agency, {}).values())
            await self._tell(agency, trouble, replace(self._briefs.agencies[agency], cause=why), now)
        elif (
            agency in self._told
            and (ended_at := self._judge.is_well(agency, now))
            and can_end(self._told[agency], self._judge.directions(agency))
        ):
            await self._tell_over(agency, ended_at, now)

    async def _compare_ours(self, key: str, now: datetime) -> None:
        suspect = self._judge.suspect(key.removeprefix(_OURS))
        trouble = self._judge.own_trouble(suspect, now) if suspect else None
        if suspect and trouble:
            await self._tell(key, trouble, self._briefs.ours(suspect), now)
        elif key in self._told:
            # A reference or account that has left the configuration cannot trouble us any more.
            ended_at = self._judge.own_well_since(suspect, now) if suspect else now
            if ended_at is not None:
                await self._tell_over(key, ended_at, now)

    async def _tell(self, key: str, trouble: Trouble, brief: Brief, now: datetime) -> None:
        told, less_since = self._told.get(key), None
        if told is not None and not is_news(trouble.matter, told):
            # While a recovery spreads, the matter grows less from run to run; what is left of it once it has lasted is told.
            less_since = self._less_since(key, trouble.matter, told, now)
            if less_since is None or now - less_since < _LASTS:
                return
        event = Trigger(
            dedup_key=key,
            at=now,
            matter=trouble.matter,
            began_at=trouble.since,
            brief=brief,
            unsteady=trouble.unsteady,
            latest_at=trouble.latest,
            less_since=less_since,
        )
        if await self._submit(event):
            self._note_told(key, trouble.matter)

    def _less_since(self, key: str, matter: Matter, told: Matter, now: datetime) -> datetime | None:
        """Return since when it is proven that no more than *matter* is wrong, which is less than was told."""
        if not is_proven_less(matter, told, self._judge.directions(key)):
            self._less.pop(key, None)
            return None
        known, since = self._less.get(key, (matter, now))
        self._less[key] = matter, (since if known is matter else now)
        return self._less[key][1]

    def _ripe(self, now: datetime) -> Collection[str]:
        """Return what has been less for long enough: no run need say anything new for that to be told."""
        return [key for key, (_, since) in self._less.items() if now - since >= _LASTS]

    async def _tell_over(self, key: str, ended_at: datetime, now: datetime) -> None:
        if await self._submit(Resolve(dedup_key=key, at=now, ended_at=ended_at)):
            self._note_told(key, None)

    def _note_told(self, key: str, matter: Matter | None) -> None:
        """Remember what was told; `None`: that it is over."""
        before = self._told.pop(key, None)
        self._less.pop(key, None)
        if matter is not None:
            self._told[key] = matter
        if key.startswith(_OURS):
            blame, _, name = key.removeprefix(_OURS).partition("/")
            self._told_of[_fault(blame, name)] += (matter is not None) - (before is not None)

    async def _submit(self, event: Trigger | Resolve) -> bool:
        try:
            incident = await self._alerting.submit(event)
        except StoreAway:
            raise
        # One event that cannot be taken in (our bug) must not keep the others from being told.
        except Exception:
            if event.dedup_key not in self._untold:
                log.exception("could not tell the alerting side; telling it until it hears", key=event.dedup_key)
            self._untold.add(event.dedup_key)
            self._unsettled.add(event.dedup_key)
            self._owes.set()
            return False
        self._untold.discard(event.dedup_key)
        is_held = isinstance(event, Trigger) and incident is not None and not incident.is_open
        self._note_ended_by_hand(event.dedup_key, incident if is_held else None)
        return True

    def _note_ended_by_hand(self, key: str, incident: Incident | None) -> None:
        """Remember and show what is measured though a person has ended it: whoever looks must not take it for well."""
        self.ended_by_hand.pop(key, None)
        if incident is not None:
            self.ended_by_hand[key] = incident
        if not key.startswith(_OURS):
            self._metrics.ended_by_hand(key, is_so=incident is not None)

    def _show_faults(self, now: datetime) -> None:
        # What was told is so until it is proven to be over: after a start nothing has been seen to fail yet.
        told = {fault for fault, incidents in self._told_of.items() if incidents > 0}
        self._metrics.own_faults(told | {_fault(each.blame, each.name) for each in self._judge.own_faults(now)})

    def _show(self, agency: str) -> None:
        directions = self._judge.directions(agency)
        for direction in map(Direction, AGENCY_DIRECTIONS):
            # One that is probed no more is as good as unknown: what was last known of it says nothing.
            health = directions.get(direction, Health.UNKNOWN)
            up = None if health is Health.UNKNOWN else health is not Health.DOWN
            self._metrics.mail_judged(agency, direction, up=up, degraded=health is Health.DEGRADED)
            if health in {Health.DOWN, Health.DEGRADED} and (cause := self._judge.cause(agency, direction)) is not None:
                self._metrics.cause_known(agency, direction, cause)


def _fault(blame: str, name: str) -> tuple[str, str]:
    """Return what the metrics call a fault of ours: its cause, and the reference mailbox that is meant, or ""."""
    return _CAUSES.get(blame, blame), "" if "/" in name else name
