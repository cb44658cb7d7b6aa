"""Health evaluation of routes, agencies and our own side from the latest runs. No clock, no I/O.

Each run is attributed when it ends (`attribution.weigh`). A pending run is attributed again when evidence that it needs
arrives (`pending.Pending`); a final verdict does not change. The queries after each run (`moved`, `rejudged`,
`own_moved`, `looks`) cost as much as has changed, not as much as exists: there are thousands of routes, and thousands
of runs may be pending.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from types import MappingProxyType

from alerts.hours.elapsed import TOLERANCE
from monitor.evaluation.agency import AgencyMail
from monitor.evaluation.attribution import Attribution, RunVerdict, rests_on, weigh
from monitor.evaluation.evidence import ARRIVED, NETWORK, EvidenceCollector, is_prompt, proven_by
from monitor.evaluation.flapping import Flapping, FlappingPolicy
from monitor.evaluation.health import is_news
from monitor.evaluation.health_tracker import GradedRun, HealthTracker, Streaks
from monitor.evaluation.joint.site_status import UNTROUBLED, SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem, FaultSource, MonitoringFaultDetector
from monitor.evaluation.pending import Pending, PendingRun
from monitor.model.difference import exchanged, goes_elsewhere
from monitor.model.health import IN_TROUBLE, Grade, Health, HealthPolicy
from monitor.model.route import Direction, MonitoredRoute
from probes.model.result import Outcome, Phase, ProbeResult, RefusalCause

#: A failure waits for evidence about our own side.
_PROOF_SOON = timedelta(seconds=5)

#: Routes attributed again in one step: when a reference recovers, thousands get their answer at once, which would block
#: the event loop for half a second.
AT_A_TIME = 50

#: Prefix of the names of our own parts; a route is named by itself.
_OURS = "ours/"

#: Agency ("" for a control run), direction and verdict of a run.
CountedAs = tuple[str, Direction, RunVerdict]


class HealthEvaluator:
    """Processes finished runs and evaluates health."""

    def __init__(
        self, routes: Iterable[MonitoredRoute], policy: HealthPolicy, flapping: FlappingPolicy | None = None
    ) -> None:
        """*policy* applies to our own side, *flapping* to recoveries of agencies."""
        self._routes: dict[str, MonitoredRoute] = {}
        self._subjects: dict[str, HealthTracker] = {}
        self._flapping = flapping or FlappingPolicy()
        #: By code; "" holds the control routes. Agencies without routes are absent.
        self._agencies: dict[str, AgencyMail] = {}
        self._witness = EvidenceCollector()
        self._own = MonitoringFaultDetector(self._witness.evidence(), policy)
        #: Flapping of our own parts that were down; and those whose recovery is doubted.
        self._own_flapping: dict[FaultSource, Flapping] = {}
        self._own_unsteady: set[FaultSource] = set()
        #: Latest result of each control route.
        self._controlled: dict[str, ProbeResult | None] = {}
        self._pending = Pending()
        #: Names of routes whose pending runs may have evidence now, in order; and of those that got it since `looks`
        #: was last called. Dicts as ordered sets.
        self._answered: dict[str, None] = {}
        self._proven: dict[str, None] = {}
        #: Agencies whose status may change by time alone, and when.
        self._clocked: list[tuple[datetime, str]] = []
        #: The latest time passed in.
        self._heard: datetime | None = None
        #: Agencies whose status may have changed since the last `moved`, and routes whose health changed.
        self._moved: set[str] = set()
        self._rejudged: set[str] = set()
        self._streaks = Streaks()
        #: Final verdicts since the last `counted`.
        self._counted: Counter[CountedAs] = Counter()
        self.gain(routes)

    @property
    def routes(self) -> Mapping[str, MonitoredRoute]:
        """The evaluated routes by name; follows `gain`, `alter` and `release`."""
        return MappingProxyType(self._routes)

    # -- routes and agencies -------------------------------------------------------------------------------------

    def gain(self, routes: Iterable[MonitoredRoute]) -> None:
        """Add *routes*. The `restore` methods add what is known from before."""
        for route in routes:
            self._routes[route.name] = route
            subject = self._subjects[route.name] = HealthTracker(policy=route.probing.health)
            mail = self._agencies.setdefault(route.agency, AgencyMail(self._flapping, self._own.is_refused))
            mail.judge_by(route, subject)
            self._moved.add(route.agency)
        self._follow()

    def release(self, routes: Iterable[MonitoredRoute]) -> None:
        """Remove *routes* and their state, with each agency that has no route left."""
        for route in routes:
            del self._routes[route.name], self._subjects[route.name]
            self._await_nothing(route.name)
            self._rejudged.discard(route.name)
            self._streaks.forget(route.name)
            self._moved.add(route.agency)
            mail = self._agencies[route.agency]
            mail.release(route.name)
            if not mail.routes:
                del self._agencies[route.agency]
        self._follow()

    def alter(self, routes: Iterable[MonitoredRoute]) -> None:
        """Replace *routes* by their new definitions.

        A route with the same path keeps its streak. On another path nothing is known yet: it keeps its health until it
        is.
        """
        others: set[str] = set()
        for route in routes:
            before, subject = self._routes[route.name], self._subjects[route.name]
            if goes_elsewhere(before, route):
                subject.begin_anew(route.probing.health)
                self._await_nothing(route.name)
                self._streaks.note(route.name, subject)
                others |= exchanged(before, route)
            else:
                # The route's policy limits how long it may wait.
                self._pending.put(route.name, _pending_runs(route, subject))
            subject.policy = route.probing.health
            self._routes[route.name] = route
            self._agencies[route.agency].judge_by(route, subject)
            self._moved.add(route.agency)
        self._follow(others)

    def _await_nothing(self, route_name: str) -> None:
        """Drop the pending runs of a route and their evidence."""
        self._pending.put(route_name, ())
        self._answered.pop(route_name, None)
        self._proven.pop(route_name, None)

    def govern(self, policy: HealthPolicy, flapping: FlappingPolicy) -> None:
        """Replace the policies for our own side and for flapping."""
        self._flapping = flapping
        self._own.govern(policy)
        for mail in self._agencies.values():
            mail.govern(flapping)
        for each in self._own_flapping.values():
            each.policy = flapping

    def _follow(self, others: AbstractSet[str] = frozenset()) -> None:
        """Update our own side after a change of routes; *others*: mailboxes replaced under the same name."""
        controls = {r.name: r for r, _ in self._agencies[""].routes} if "" in self._agencies else {}
        accounts = {m.name for r in self._routes.values() for m in (r.route.sender, r.route.recipient)}
        self._witness.follow(controls.values(), others, accounts)
        evaluated = {name: (route, self._subjects[name]) for name, route in controls.items()}
        self._own.follow(evaluated, accounts, others, routes=self._routes.values())
        self._controlled = {
            name: None if {r.route.sender.name, r.route.recipient.name} & others else self._controlled.get(name)
            for name, r in controls.items()
        }

    # -- state of an earlier process -----------------------------------------------------------------------------

    def restore(self, healths: Mapping[str, tuple[Health, datetime]]) -> None:
        """Restore the health of routes and own parts from before a restart, by name."""
        for name, (health, since) in healths.items():
            if name in self._subjects:
                self._subjects[name].health = health
                self._subjects[name].changed_at = since
            elif name.startswith(_OURS):
                self._own.restore(name.removeprefix(_OURS), health, since)

    def restore_deferrals(self, deferrals: Mapping[str, datetime]) -> None:
        """Restore since when routes are deferred, by name: the deferral time-out continues."""
        for name, since in deferrals.items():
            if name in self._subjects:
                self._subjects[name].deferred_since = since

    def restore_arrivals(self, arrivals: Mapping[str, datetime]) -> None:
        """Restore the start of each route's last delivered run, by name: its accounts were accepted then."""
        for name, at in arrivals.items():
            if name in self._routes:
                self._own.restore_arrival(self._routes[name], at)

    def restore_streaks(self, streaks: Mapping[str, Sequence[GradedRun]], now: datetime) -> None:
        """Restore the latest runs of routes and own parts from before a restart, by name, after their health.

        Runs before a gap in which another run was due say nothing about now and are left out.
        """
        for name, streak in streaks.items():
            if not streak:
                continue
            ago, route = now - streak[-1].started_at, self._routes.get(name)
            if route is not None and ago <= _proof_within(route):
                self._subjects[name].restore(streak)
                self._settle(name, now)
            elif (suspect := self._suspect_of(name)) is not None and ago <= self._spoken_of_within(suspect):
                self._own.restore_streak(name.removeprefix(_OURS), streak, now)

    def _suspect_of(self, name: str) -> FaultSource | None:
        """Return the own part with this name."""
        return self._own.suspect(name.removeprefix(_OURS).partition("#")[0]) if name.startswith(_OURS) else None

    def _spoken_of_within(self, suspect: FaultSource) -> timedelta:
        """Return the interval in which a run refers to it."""
        routes = self._routes.values()
        if suspect.name:
            about = [r for r in routes if suspect.name in {r.route.sender.name, r.route.recipient.name}]
        else:
            about = [r for r in routes if r.direction is Direction.CONTROL]
        return min(map(_proof_within, about), default=timedelta(0))

    def restore_falls(
        self, falls: Mapping[str, Sequence[datetime]], down: AbstractSet[str], unsteady: AbstractSet[str] = frozenset()
    ) -> None:
        """Restore falls of agencies and own parts from before a restart, by dedup key, oldest first.

        *down*: those with an open incident; *unsteady*: those of them whose incident is held open. Newer knowledge
        about own parts is kept.
        """
        for key, times in falls.items():
            how = {"is_down": key in down, "is_unsteady": key in unsteady}
            suspect = self._own.suspect(key.removeprefix(_OURS)) if key.startswith(_OURS) else None
            if key in self._agencies:
                self._agencies[key].restore_falls(times, **how)
            elif suspect is not None and suspect not in self._own_flapping:
                self._own_flapping[suspect] = Flapping(self._flapping)
                self._own_flapping[suspect].restore(times, **how)

    def restore_continuity(self, routes: Iterable[str], since: datetime | None, now: datetime) -> None:
        """Mark the health of *routes* from before a silence as stale, unless they have run since.

        *since*: end of the silence; `None` without one.
        """
        if since is not None:
            self.mark_stale([name for name in routes if now - since <= _proof_within(self._routes[name])], now)

    def mark_stale(self, routes: Iterable[str], at: datetime) -> None:
        """Ignore the health of *routes*, good or bad, until runs after *at* confirm it."""
        for name in routes:
            self._subjects[name].stale_since = at
            self._own.mark_stale(self._routes[name])
            self._moved.add(self._routes[name].agency)

    def is_to_be_confirmed(self, route_name: str) -> bool:
        """Whether the route's agency is unhealthy by stale health, including this route's."""
        if not self._subjects[route_name].is_stale:
            return False
        beside = self._agencies[self._routes[route_name].agency].routes
        return any(subject.health in IN_TROUBLE and subject.is_stale for _, subject in beside)

    def healths(self) -> Mapping[str, tuple[Health, datetime]]:
        """Return all health states that a restart restores."""
        routes = {name: (s.health, s.changed_at) for name, s in self._subjects.items() if s.changed_at is not None}
        return routes | {f"{_OURS}{name}": evaluated for name, evaluated in self._own.healths().items()}

    def rejudged(self) -> dict[str, tuple[Health, datetime]]:
        """Return the health states that changed since the last call."""
        names, self._rejudged = self._rejudged, set()
        subjects = ((name, self._subjects[name]) for name in names)
        routes = {name: (s.health, s.changed_at) for name, s in subjects if s.changed_at is not None}
        return routes | {f"{_OURS}{name}": evaluated for name, evaluated in self._own.rejudged().items()}

    def other_streaks(self) -> dict[str, tuple[GradedRun, ...]]:
        """Return the streaks that a restart restores, if changed since the last call, by name."""
        return self._streaks.others() | {f"{_OURS}{name}": runs for name, runs in self._own.other_streaks().items()}

    def counted(self) -> Mapping[CountedAs, int]:
        """Return the number of final verdicts since the last call."""
        counted, self._counted = self._counted, Counter()
        return counted

    def moved(self) -> set[str]:
        """Return the agencies whose status may have changed since the last call; at first all."""
        moved, self._moved = self._moved, set()
        return moved

    # -- evaluation ----------------------------------------------------------------------------------------------

    def take_in(self, result: ProbeResult, now: datetime) -> Attribution | None:
        """Attribute a finished run, and the pending runs that it gives evidence for; `None` for an unknown route.

        If there are many, `weigh_more` continues.
        """
        route = self._routes.get(result.route)
        if route is None:
            return None
        self._hear(now)
        self._witness.hear(route, result)
        if route.direction is Direction.CONTROL:
            self._controlled[route.name] = result
        subject = self._subjects[route.name]
        verdict = self._weigh(route, subject, result)
        self._count(route, verdict)
        subject.note(result, verdict)
        self._settle(route.name, now)
        refused = self._own.hear(route, result, verdict, now)
        self._moved.update(account.partition("/")[0] for account in refused)
        self._weigh_pending(now)
        return verdict

    def _count(self, route: MonitoredRoute, attribution: Attribution) -> None:
        if attribution.verdict is not None:
            self._counted[route.agency, route.direction, attribution.verdict] += 1

    def came_late(self, route_name: str, token_id: str, transit: timedelta, now: datetime) -> None:
        """Record that a message given up as lost has arrived: the run was slow."""
        subject = self._subjects.get(route_name)
        if subject is None:
            return
        for run in tuple(subject.recent):
            if run.token_id == token_id and _may_still_come(run):
                subject.replace(run, _having_come(run, transit))
        self._weigh_pending(now, route_name)

    def _hear(self, now: datetime) -> None:
        """Update the current time, and detect that the clock was set back."""
        # A run from before the clock was set back may end after it.
        self._witness.rewind(now)
        if self._heard is not None and now < self._heard:
            # The clock was set back.
            self._moved.update(agency for _, agency in self._clocked)
            self._clocked.clear()
            if (back := self._heard - now) > TOLERANCE:
                self._rewind(now, back)
            for subject in self._subjects.values():
                if subject.stale_since is not None:
                    subject.stale_since = min(subject.stale_since, now)
        self._heard = now
        while self._clocked and self._clocked[0][0] <= now:
            self._moved.add(heapq.heappop(self._clocked)[1])

    def _rewind(self, now: datetime, back: timedelta) -> None:
        """Move times in the future back; otherwise they would wait until the clock has caught up."""
        for name, subject in self._subjects.items():
            subject.rewind(now, back)
            pending = _pending_runs(self._routes[name], subject)
            self._pending.put(name, pending)
            if pending:
                # The order of evidence and runs may have changed.
                self._answered[name] = None
        self._own.rewind(now, back)
        self._controlled = {
            name: last
            and replace(last, started_at=min(last.started_at - back, now) if last.started_at > now else last.started_at)
            for name, last in self._controlled.items()
        }
        self._moved.update(self._agencies)

    def _settle(self, route_name: str, now: datetime) -> None:
        route, subject = self._routes[route_name], self._subjects[route_name]
        self._moved.add(route.agency)
        if subject.settle(now):
            self._rejudged.add(route_name)
        self._pending.put(route_name, _pending_runs(route, subject))
        self._streaks.note(route_name, subject)

    def _weigh(self, route: MonitoredRoute, subject: HealthTracker, result: ProbeResult) -> Attribution:
        verdict = weigh(route, result, self._witness.evidence())
        if result.outcome in ARRIVED:
            subject.deferred_since = None
        # Greylisting is no failure, because the sender may come again; other deferrals count as failures.
        if not _is_greylisted(result) or verdict.grade is Grade.NONE:
            return verdict
        subject.deferred_since = subject.deferred_since or result.started_at
        if result.started_at - subject.deferred_since < route.probing.deferral_timeout:
            return Attribution(grade=Grade.NONE)
        return verdict

    @property
    def is_done(self) -> bool:
        """Whether all pending runs with new evidence are attributed; otherwise call `weigh_more`."""
        return not self._answered

    def weigh_more(self, now: datetime) -> None:
        """Attribute some more of the pending runs with new evidence."""
        for name in _first(self._answered):
            self._weigh_again(name, now)

    def _weigh_pending(self, now: datetime, *others: str) -> None:
        """Attribute runs with new evidence, runs whose time is over, and *others*."""
        touched = self._pending.touched(self._witness.changes())
        self._answered |= dict.fromkeys(sorted(touched | self._pending.ended(now) | {*others}))
        self.weigh_more(now)

    def _weigh_again(self, route_name: str, now: datetime) -> None:
        route, subject = self._routes[route_name], self._subjects[route_name]
        for result, verdict in subject.weigh_again(lambda result: self._outcome(route, result, now)):
            self._own.hear(route, result, verdict, now)
            self._count(route, verdict)
            self._proven[route_name] = None
        self._settle(route_name, now)

    def _outcome(self, route: MonitoredRoute, result: ProbeResult, now: datetime) -> Attribution:
        verdict = weigh(route, result, self._witness.evidence())
        if verdict.grade is Grade.PENDING and now - result.started_at > _proof_within(route):
            # No evidence arrived in all that time: that itself is the fault.
            return replace(verdict, grade=Grade.NONE, unproven=True)
        return verdict

    # -- mailboxes to search -------------------------------------------------------------------------------------

    def looks(self, route_name: str, now: datetime) -> Mapping[str, datetime]:
        """Return the routes to run soon after this one's run, and when."""
        looks: dict[str, datetime] = {}
        for evaluated in (route_name, *_first(self._proven)):
            for name in self.looks_wanted(evaluated):
                looks[name] = now + self._routes[name].probing.retry_interval
        for name in self.proofs_wanted():
            looks[name] = self._proof_at(name, now)
        return looks

    def is_suspicious(self, route_name: str) -> bool:
        """Whether this route should run again soon."""
        route, subject = self._routes[route_name], self._subjects[route_name]
        if subject.is_suspicious() or (self._heard is not None and self._own.is_undecided(route, self._heard)):
            return True
        if route.direction is Direction.CONTROL:
            return self._own.is_suspicious()
        # A mute route runs if the type of the agency's trouble depends on it.
        beside = (s for r, s in self._agencies[route.agency].routes if r.direction is route.direction)
        return 0 < subject.silent < subject.policy.failure_threshold and any(s.health is Health.DOWN for s in beside)

    def looks_wanted(self, route_name: str) -> Sequence[str]:
        """Return the routes to run again soon after this one's run.

        The route itself while it is suspicious; the agency's other routes once the first has failed, so that the extent
        is known at once.
        """
        if not self.is_suspicious(route_name):
            return ()
        route = self._routes[route_name]
        if not route.agency or not self._subjects[route_name].has_just_failed():
            return (route_name,)
        beside = self._agencies[route.agency].routes
        is_first = all(subject.is_steady() for other, subject in beside if other.name != route_name)
        return tuple(other.name for other, _ in beside) if is_first else (route_name,)

    def proofs_wanted(self) -> Sequence[str]:
        """Return the control routes to run soon, because a pending run needs evidence that only they can give.

        Each pending run requests once, and again while the failed part has to prove itself. A run that confirms its
        route's health makes no request: its next run gets the evidence. A control route without a result in its last
        run keeps its own pace: what cannot be proven must not be probed every few seconds.
        """
        return [name for name, last in self._controlled.items() if self._is_wanted(self._routes[name], last)]

    def _is_wanted(self, control: MonitoredRoute, last: ProbeResult | None) -> bool:
        newest = {want: at for want in proven_by(control) if (at := self._pending.newest(want)) is not None}
        if last is None:
            return bool(newest)
        if last.outcome not in ARRIVED:
            return False
        prompt = is_prompt(control, last)
        return any(
            (prompt or not want.ability.is_well) and (last.started_at < at or self._witness.owes(want))
            for want, at in newest.items()
        )

    def _proof_at(self, control: str, now: datetime) -> datetime:
        """Return when to run a control route: soon, but not more often than any other repeated run."""
        retry_interval, last = self._routes[control].probing.retry_interval, self._controlled[control]
        soon = now + min(retry_interval, _PROOF_SOON)
        return soon if last is None else max(soon, last.started_at + retry_interval)

    # -- status --------------------------------------------------------------------------------------------------

    def route_health(self, route_name: str) -> Health:
        """Return the health of a route; unknown for a route of another process."""
        subject = self._subjects.get(route_name)
        return Health.UNKNOWN if subject is None else subject.health

    def knows(self, agency: str) -> bool:
        """Whether a route of the agency is evaluated here."""
        return agency in self._agencies

    def counted_as(self, route_name: str, token_id: str) -> RunVerdict | None:
        """Return the verdict of a route's latest run; `None` while pending, or from before a restart."""
        subject = self._subjects.get(route_name)
        latest = None if subject is None else subject.latest
        return latest[2] if latest is not None and latest[0] == token_id else None

    def mail(self, agency: str) -> AgencyMail:
        """Return an agency's mail; empty for an agency of another process."""
        return self._agencies.get(agency) or AgencyMail(self._flapping)

    def standing(self, agency: str, now: datetime, *, is_told: bool) -> SiteStatus:
        """Return an agency's status, and record a fall.

        *is_told*: an incident is open. Only then the recovery is examined and recorded.
        """
        mail = self.mail(agency)
        trouble, unseen = self.trouble(agency, now), mail.unseen()
        if trouble is None and not is_told and not unseen:
            return UNTROUBLED
        up_since = self.is_well(agency, now) if trouble is None and is_told else None
        # The last known health says nothing about now.
        evaluated = mail.directions() if trouble is None else mail.current_directions()
        directions = {**evaluated, **dict.fromkeys(unseen, Health.UNKNOWN)}
        return SiteStatus(
            trouble=trouble,
            up_since=up_since,
            directions=directions,
            failing_routes=frozenset(mail.troubled()),
        )

    def own_standing(self, suspect: FaultSource, now: datetime, *, is_told: bool) -> SiteStatus:
        """Return the status of an own part; as `standing`."""
        if (trouble := self.own_trouble(suspect, now)) is None and not is_told:
            return UNTROUBLED
        return SiteStatus(trouble=trouble, up_since=self.own_up_since(suspect, now) if trouble is None else None)

    def trouble(self, agency: str, now: datetime) -> ActiveProblem | None:
        """Return what is wrong with an agency's mail once the type is clear; `None` if nothing is.

        Records the fall.
        """
        mail = self.mail(agency)
        if (until := mail.spreading_until(now)) is not None:
            heapq.heappush(self._clocked, (until, agency))
            return None
        return mail.trouble(now, self._own.refused_since((route for route, _ in mail.routes), now))

    def is_well(self, agency: str, now: datetime) -> datetime | None:
        """Return since when every direction of an agency works; `None` if not all do.

        A flapping agency is not well yet, nor one whose health from before a start or a pause is not confirmed.
        """
        mail = self.mail(agency)
        if (since := mail.up_since()) is None or not mail.is_current or mail.is_refused():
            return None
        since = max([since, *self._own.accepted_since(route for route, _ in mail.routes)])
        if (until := mail.rose(now)) is not None:
            heapq.heappush(self._clocked, (until, agency))
            return None
        return since

    def suspect(self, name: str) -> FaultSource | None:
        """Return the own part with this name; `None` if the configuration has none."""
        return self._own.suspect(name)

    def own_troubles(self, now: datetime) -> Mapping[FaultSource, ActiveProblem]:
        """Return the current problems of own parts."""
        troubles = ((suspect, self.own_trouble(suspect, now)) for suspect in self._own.suspects())
        return {suspect: trouble for suspect, trouble in troubles if trouble is not None}

    def own_moved(self) -> set[FaultSource]:
        """Return the own parts whose status may have changed since the last call; at first all that were ever evaluated."""
        return self._own.moved() | self._own_unsteady

    def own_faults(self, now: datetime) -> AbstractSet[FaultSource]:
        """Return the own parts in trouble; agency accounts are merged into one without a name."""
        return self._own.faults(now)

    def own_trouble(self, suspect: FaultSource, now: datetime) -> ActiveProblem | None:
        """Return what is wrong with an own part, and record the fall; `None` if nothing is."""
        trouble = self._own.trouble(suspect, now)
        if trouble is None:
            return None
        flapping = self._own_flapping.setdefault(suspect, Flapping(self._flapping))
        flapping.fell(now)
        return replace(trouble, flapping=flapping.is_unsteady)

    def own_up_since(self, suspect: FaultSource, now: datetime) -> datetime | None:
        """Return since when an own part works; `None` if it does not, or flaps."""
        self._own_unsteady.discard(suspect)
        since, flapping = self._own.up_since(suspect, now), self._own_flapping.get(suspect)
        if since is not None and flapping is not None and flapping.rose(now, now) is not None:
            self._own_unsteady.add(suspect)
            return None
        return since


def _first(names: dict[str, None]) -> Sequence[str]:
    """Remove and return the first few *names*."""
    first = [*islice(names, AT_A_TIME)]
    for name in first:
        del names[name]
    return first


def _pending_runs(route: MonitoredRoute, subject: HealthTracker) -> Sequence[PendingRun]:
    """Return the pending runs of a route. A control run requests no evidence: it has its own pace."""
    return [
        PendingRun(
            started_at=run.started_at,
            wants=(NETWORK,) if route.direction is Direction.CONTROL else rests_on(route, run.result),
            until=run.started_at + _proof_within(route),
            asks=route.direction is not Direction.CONTROL and is_news(run.presumed(), subject.health),
        )
        for run in subject.recent
        if run.grade is Grade.PENDING and run.result is not None
    ]


def _is_greylisted(result: ProbeResult) -> bool:
    failure = result.failure if result.outcome is Outcome.DEFERRED else None
    return failure is not None and failure.cause is RefusalCause.GREYLISTING


def _may_still_come(run: GradedRun) -> bool:
    """Whether a message was given up without any trace."""
    if run.outcome is Outcome.LOST:
        return True
    result = run.result
    return result is not None and result.uncertain and result.failure is not None and result.failure.phase is Phase.DATA


def _having_come(run: GradedRun, transit: timedelta) -> GradedRun:
    """Return *run* after its message has arrived, also one from before a restart."""
    result = run.result
    if result is not None:
        phases = {**result.phases, Phase.TRANSIT: transit}
        result = replace(result, outcome=Outcome.DELIVERED, failure=None, phases=phases)
    # A run that counted stays counted, as slow; another is attributed again.
    grade = Grade.SLOW if run.grade is Grade.BAD else run.grade
    return replace(run, outcome=Outcome.DELIVERED, grade=grade, result=result)


def _proof_within(route: MonitoredRoute) -> timedelta:
    """Return how long a run may wait for evidence: until every control route has run, including an agency's."""
    return route.probing.interval + 2 * route.probing.patience.whole
