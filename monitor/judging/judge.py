"""Remember what the latest runs showed, and judge: routes, agencies, and what is our own. No clock, no I/O.

Each run is weighed when it ends (`attribution.weigh`). A run that is pending is weighed again whenever something
new is known of our own side; once it has counted, or come to nothing, it stays so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime, timedelta

from monitor.judging.agency import AgencyMail
from monitor.judging.attribution import Verdict, rests_on, weigh
from monitor.judging.evidence import ARRIVED, Want, Witness, is_prompt, proven_by
from monitor.judging.flapping import FlappingPolicy
from monitor.judging.health import Grade, Health, HealthPolicy, is_news
from monitor.judging.subject import Subject, presume
from monitor.judging.suspect import OwnSide, Suspect, Trouble
from monitor.probing.route import Direction, WatchedRoute
from probes.result import Outcome, Phase, ProbeResult

__all__ = ["Judge", "Suspect", "Trouble"]

#: Somebody's failure waits for a proof that we ourselves work.
_PROOF_SOON = timedelta(seconds=5)

#: What the names of judgements of our own begin with; a route's is its name.
_OURS = "ours/"


class Judge:
    """Takes in the ends of runs; says how things stand."""

    def __init__(
        self, routes: Iterable[WatchedRoute], policy: HealthPolicy, flapping: FlappingPolicy | None = None
    ) -> None:
        """Judge *routes*; *policy* is for what is our own, *flapping* for when an agency is not believed to be well."""
        flapping = flapping or FlappingPolicy()
        self._routes = {route.name: route for route in routes}
        self._subjects = {r.name: Subject(policy=r.probing.health) for r in self._routes.values()}
        self._policy = policy
        by_agency: dict[str, list[tuple[WatchedRoute, Subject]]] = {}
        for route in self._routes.values():
            by_agency.setdefault(route.agency, []).append((route, self._subjects[route.name]))
        #: By code; "" has the control routes, and one without routes is not there.
        self._agencies = {agency: AgencyMail(routes, flapping) for agency, routes in by_agency.items()}
        controls = {r.name: r for r in self._routes.values() if r.direction is Direction.CONTROL}
        self._witness = Witness(list(controls.values()))
        accounts = {m.name for r in self._routes.values() for m in (r.route.sender, r.route.recipient)}
        self._own = OwnSide({name: (route, self._subjects[name]) for name, route in controls.items()}, accounts)
        #: How each control route's last run ended.
        self._controlled: dict[str, ProbeResult | None] = dict.fromkeys(controls)
        #: Names of the routes with a run that waits for a proof.
        self._pending: set[str] = set()
        #: Names of the routes with a run that has got its proof since `looks` was last asked.
        self._proven: set[str] = set()
        #: Agencies that may stand otherwise than when `moved` was last asked, and routes that are judged otherwise.
        self._moved: set[str] = set(self._agencies)
        self._rejudged: set[str] = set()

    # -- remembering ---------------------------------------------------------------------------------------------

    def restore(self, healths: Mapping[str, tuple[Health, datetime]]) -> None:
        """Take up how routes and suspects were judged before a restart, by `subject` name."""
        for name, (health, since) in healths.items():
            if name in self._subjects:
                self._subjects[name].health = health
                self._subjects[name].changed_at = since
            elif name.startswith(_OURS):
                self._own.restore(name.removeprefix(_OURS), health, since, self._policy)

    def restore_deferrals(self, deferrals: Mapping[str, datetime]) -> None:
        """Take up since when routes have been put off by their servers, by name: their budget goes on running."""
        for name, since in deferrals.items():
            if name in self._subjects:
                self._subjects[name].deferred_since = since

    def restore_falls(self, falls: Mapping[str, Sequence[datetime]], down: AbstractSet[str]) -> None:
        """Take up when agencies fell before a restart, by code, oldest first, and which have an incident still."""
        for agency, times in falls.items():
            if agency in self._agencies:
                self._agencies[agency].restore_falls(times, is_down=agency in down)

    def healths(self) -> Mapping[str, tuple[Health, datetime]]:
        """Return all judgements that a restart should take up."""
        routes = {name: (s.health, s.changed_at) for name, s in self._subjects.items() if s.changed_at is not None}
        return routes | {f"{_OURS}{name}": judged for name, judged in self._own.healths().items()}

    def rejudged(self) -> dict[str, tuple[Health, datetime]]:
        """Return the judgements that have changed since this was last asked; among all of `healths` they are few."""
        names, self._rejudged = self._rejudged, set()
        subjects = ((name, self._subjects[name]) for name in names)
        routes = {name: (s.health, s.changed_at) for name, s in subjects if s.changed_at is not None}
        return routes | {f"{_OURS}{name}": judged for name, judged in self._own.rejudged().items()}

    def moved(self) -> set[str]:
        """Return the agencies that may stand otherwise than when this was last asked; at first all."""
        moved, self._moved = self._moved, set()
        return moved

    # -- judging -------------------------------------------------------------------------------------------------

    def take_in(self, result: ProbeResult, now: datetime) -> Verdict | None:
        """Weigh the end of a run, and again all runs that waited for what it proves; `None`: no such route."""
        route = self._routes.get(result.route)
        if route is None:
            return None
        self._witness.rewind(now)
        self._witness.hear(route, result)
        if route.direction is Direction.CONTROL:
            self._controlled[route.name] = result
        subject = self._subjects[route.name]
        verdict = self._weigh(route, subject, result)
        subject.note(result, verdict)
        self._settle(route.name, now)
        self._own.hear(route, result, verdict, now, self._policy)
        if verdict.grade is Grade.PENDING:
            self._pending.add(route.name)
        self._weigh_pending(now)
        return verdict

    def came_late(self, route_name: str, token_id: str, transit: timedelta, now: datetime) -> None:
        """Take in that a message which was given up has come after all: it was not lost, but slow."""
        subject = self._subjects.get(route_name)
        if subject is None:
            return
        for index, (result, verdict) in enumerate(subject.recent):
            if result.token_id == token_id and _may_still_come(result):
                phases = {**result.phases, Phase.TRANSIT: transit}
                slow = replace(result, outcome=Outcome.DELIVERED, failure=None, phases=phases)
                # What was held against the agency stays so, as slowness; what was not is weighed again.
                grade = Grade.SLOW if verdict.grade is Grade.BAD else verdict.grade
                subject.recent[index] = (slow, replace(verdict, grade=grade))
        self._weigh_pending(now)
        self._settle(route_name, now)

    def _settle(self, route_name: str, now: datetime) -> None:
        self._moved.add(self._routes[route_name].agency)
        if self._subjects[route_name].settle(now):
            self._rejudged.add(route_name)

    def _weigh(self, route: WatchedRoute, subject: Subject, result: ProbeResult) -> Verdict:
        verdict = weigh(route, result, self._witness.evidence())
        if result.outcome in ARRIVED:
            subject.deferred_since = None
        if result.outcome is not Outcome.DEFERRED or verdict.grade is Grade.NONE:
            return verdict
        subject.deferred_since = subject.deferred_since or result.started_at
        if result.started_at - subject.deferred_since < route.probing.deferred_budget:
            return Verdict(grade=Grade.NONE)
        return verdict

    def _weigh_pending(self, now: datetime) -> None:
        for name in sorted(self._pending):
            route, subject = self._routes[name], self._subjects[name]
            for result, verdict in subject.weigh_again(lambda r, route=route: self._weigh_again(route, r, now)):  # type: ignore[misc]
                self._own.hear(route, result, verdict, now, self._policy)
                self._proven.add(name)
            self._settle(name, now)
            if not subject.is_pending:
                self._pending.discard(name)

    def _weigh_again(self, route: WatchedRoute, result: ProbeResult, now: datetime) -> Verdict:
        verdict = weigh(route, result, self._witness.evidence())
        if verdict.grade is Grade.PENDING and now - result.started_at > _proof_within(route):
            # Nothing could prove us in all that time: that is what is wrong.
            return replace(verdict, grade=Grade.NONE)
        return verdict

    # -- where to look -------------------------------------------------------------------------------------------

    def looks(self, route_name: str, now: datetime) -> Mapping[str, datetime]:
        """Return the routes to run again soon, and when, after a run of this one has been taken in."""
        proven, self._proven = self._proven, set()
        looks: dict[str, datetime] = {}
        for judged in (route_name, *sorted(proven)):
            for name in self.looks_wanted(judged):
                looks[name] = now + self._routes[name].probing.confirmation
        for name in self.proofs_wanted():
            looks[name] = self._proof_at(name, now)
        return looks

    def is_suspicious(self, route_name: str) -> bool:
        """Whether another look at this route is wanted soon."""
        route, subject = self._routes[route_name], self._subjects[route_name]
        if subject.is_suspicious():
            return True
        if route.direction is Direction.CONTROL:
            return self._own.is_suspicious()
        # It cannot see at present, and whether the agency's mail is down or only some of it hangs on that.
        beside = (s for r, s in self._agencies[route.agency].routes if r.direction is route.direction)
        return 0 < subject.silent < subject.policy.failures_to_down and any(s.health is Health.DOWN for s in beside)

    def looks_wanted(self, route_name: str) -> Sequence[str]:
        """Return the routes to run again soon, after a run of this one.

        Itself while it is suspicious; and the agency's others once the first of them has failed: what is broken is
        told at once then, and not step by step as they come due.
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
        """Return the control routes to run soon, because a run waits for a proof that only they can give.

        Each waiting run asks once, and again while what has failed has to show that it works. A run that says what is
        known of its route does not ask: it gets its proof with the next round. Nor is a control route asked that gave
        none when it was last run, and which is repeated at its own pace: what cannot be proven must not be sent a
        message every few seconds.
        """
        return [name for name, last in self._controlled.items() if self._is_wanted(self._routes[name], last)]

    def _is_wanted(self, control: WatchedRoute, last: ProbeResult | None) -> bool:
        newest = {want: at for want in proven_by(control) if (at := self._newest(want)) is not None}
        if last is None:
            return bool(newest)
        if last.outcome not in ARRIVED:
            return False
        prompt = is_prompt(control, last)
        return any(
            (prompt or not want.ability.is_well) and (last.started_at < at or self._witness.owes(want))
            for want, at in newest.items()
        )

    def _newest(self, want: Want) -> datetime | None:
        """Return when the newest run began that waits for *want* and would change what is known of its route."""
        agencies = self._pending - self._controlled.keys()  # A control run is repeated at its own pace.
        waiting = ((self._routes[name], self._subjects[name]) for name in agencies)
        return max(
            (
                result.started_at
                for route, subject in waiting
                for result, verdict in subject.recent
                if verdict.grade is Grade.PENDING
                and want in rests_on(route, result)
                and is_news(presume(result, verdict), subject.health)
            ),
            default=None,
        )

    def _proof_at(self, control: str, now: datetime) -> datetime:
        """Return when a proof is to be tried: soon, but no more often than anything else is looked at again."""
        confirmation, last = self._routes[control].probing.confirmation, self._controlled[control]
        soon = now + min(confirmation, _PROOF_SOON)
        return soon if last is None else max(soon, last.started_at + confirmation)

    # -- how things stand ----------------------------------------------------------------------------------------

    def route_health(self, route_name: str) -> Health:
        """Return how a route is judged."""
        return self._subjects[route_name].health

    def directions(self, agency: str) -> Mapping[Direction, Health]:
        """Return how an agency's mail is judged in each direction that is probed."""
        mail = self._agencies.get(agency)
        return mail.directions() if mail else {}

    def troubled(self, agency: str) -> Sequence[str]:
        """Return the routes of an agency that are judged to be in trouble, by name."""
        mail = self._agencies.get(agency)
        return mail.troubled() if mail else ()

    def trouble(self, agency: str, now: datetime) -> Trouble | None:
        """Return what is wrong with an agency's mail, once it is clear how much; `None` if nothing is.

        That it was told to be down is remembered: it counts as a fall.
        """
        mail = self._agencies.get(agency)
        if mail is None:
            return None
        if mail.is_spreading(now):
            self._moved.add(agency)  # It is judged by the clock.
            return None
        return mail.trouble(now)

    def is_well(self, agency: str, now: datetime) -> datetime | None:
        """Return since when every direction of an agency is proven to work; `None` if not all are.

        What has gone down and up too often lately is not believed yet.
        """
        mail = self._agencies.get(agency)
        if mail is None or (since := mail.well_since()) is None:
            return None
        if not mail.rose(now):
            self._moved.add(agency)  # It is judged by the clock.
            return None
        return since

    def suspects(self) -> set[Suspect]:
        """Return all of ours that can be suspected in this configuration."""
        return self._own.suspects()

    def own_troubles(self, now: datetime) -> Mapping[Suspect, Trouble]:
        """Return what is wrong with something of ours."""
        return self._own.troubles(self._witness.evidence(), now)

    def own_well(self, now: datetime) -> Mapping[Suspect, datetime]:
        """Return what of ours is proven to work, and since when."""
        return self._own.well(self._witness.evidence(), now)


def _may_still_come(result: ProbeResult) -> bool:
    """Whether a message was given up of which nothing was heard."""
    unanswered = result.uncertain and result.failure is not None and result.failure.phase is Phase.DATA
    return result.outcome is Outcome.LOST or unanswered


def _proof_within(route: WatchedRoute) -> timedelta:
    """Return how long a run may wait for a proof: every control route has been run by then, also an agency's."""
    return route.probing.interval + 2 * route.probing.patience.whole
