"""Day of failing and recovering mail, and an officer's notifications: real evaluation and escalation only.

`python -m tests.unit.monitor.flapping_day` prints the table of docs/explanation/notification-limits.md.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from alerts.decide.escalation import StartStep, escalate
from alerts.decide.state_change import Notify, consequences
from alerts.model.delivery import AttemptState, Notification, NotificationState
from alerts.model.event import Acknowledge, Resolve, Trigger
from alerts.model.incident import Incident, apply, is_significant_change, open_incident
from monitor.evaluation.flapping import Flapping, FlappingPolicy
from monitor.evaluation.monitoring_faults import ActiveProblem
from tests.unit.alerts.people import SNAPSHOT, attempt, tried, written
from tests.unit.monitor.world import MINUTE, REFUSED, T0, Fault, World, agency_routes, controls, slow

DAY = timedelta(days=1)
HOUR = 60 * MINUTE
#: Time after which the officer acknowledges an open incident: the SMS and the first call have arrived.
ACKNOWLEDGED_AFTER = 10 * MINUTE

#: Fault of the agency's mail at a minute of the day.
Pattern = Callable[[float], Fault | None]


class OldestFallFlapping(Flapping):
    """Earlier rule: a recovery is confirmed when the oldest fall leaves the window."""

    def record_fall(self, now: datetime) -> None:
        self.is_flapping = False
        super().record_fall(now)

    def record_recovery(self, since: datetime, now: datetime) -> datetime | None:
        self.is_down, self.is_flapping = False, self._has_fallen_too_often(now)
        return self._falls[0] + self.policy.window if self.is_flapping else None


def every(period: float, down: float, fault: Fault = REFUSED) -> Pattern:
    """Return an outage at the beginning of each period, in minutes."""
    return lambda minute: fault if minute % period < down else None


def within(*spans: tuple[float, float]) -> Pattern:
    """Return outages in these spans of the day, in minutes."""
    return lambda minute: REFUSED if any(begins <= minute < ends for begins, ends in spans) else None


def at_random(one_in: int) -> Pattern:
    """Return a failure of one run in *one_in*."""
    dice = random.Random(10)
    return lambda _: REFUSED if dice.randrange(one_in) == 0 else None


def at_random_intervals(up: float, down: float) -> Pattern:
    """Return random spans of success and failure with these mean minutes."""
    dice, spans, at = random.Random(10), list[tuple[float, float]](), 0.0
    while at < DAY / MINUTE:
        begins = at + dice.expovariate(1 / up)
        spans.append((begins, at := begins + dice.expovariate(1 / down)))
    return within(*spans)


#: Ten patterns of failure, as the table names them.
PATTERNS: Mapping[str, Callable[[], Pattern]] = {
    "one run in ten fails": lambda: at_random(10),
    "one run in three fails": lambda: at_random(3),
    "one outage of 2 h": lambda: within((60, 180)),
    "three outages of 5 min in an hour, then quiet": lambda: within((60, 65), (80, 85), (100, 105)),
    "5 min in every 25": lambda: every(25, 5),
    "15 min in every 30": lambda: every(30, 15),
    "10 min in every 40": lambda: every(40, 10),
    "5 min in every 70": lambda: every(70, 5),
    "slow for 15 min in every 25": lambda: every(25, 15, slow()),
    "6 min, some 20 min apart, at random": lambda: at_random_intervals(20, 6),
}


@dataclass
class Officer:
    """Officer notified as the engine decides; each SMS and call arrives at once."""

    incidents: list[Incident] = field(default_factory=list)
    notifications: dict[int, list[Notification]] = field(default_factory=dict)

    @property
    def has_open_incident(self) -> bool:
        return bool(self.incidents) and self.incidents[-1].is_open

    def update(self, trouble: ActiveProblem | None, up_since: datetime | None, now: datetime) -> None:
        """Open, worsen or resolve the incident, as `monitor.bridge.pipeline` does, and send what follows."""
        if trouble is not None:
            event = Trigger(
                dedup_key="JCM",
                at=now,
                type=trouble.type,
                began_at=trouble.since,
                policy=SNAPSHOT,
                flapping=trouble.flapping,
                latest_part_began_at=trouble.latest,
            )
            if not self.has_open_incident:
                number = len(self.incidents) + 1
                self.incidents.append(open_incident(event, incident_id=number, number=f"JCM-{number:02}"))
            elif is_significant_change(trouble.type, self.incidents[-1].type):
                self.incidents[-1] = apply(self.incidents[-1], event)
        elif up_since is not None and self.has_open_incident:
            self.incidents[-1] = apply(self.incidents[-1], Resolve(dedup_key="JCM", at=now, ended_at=up_since))
        if self.incidents:
            self.incidents[-1] = self._follow(self.incidents[-1], now)

    def _follow(self, incident: Incident, now: datetime) -> Incident:
        notifications = self.notifications.setdefault(incident.id, [])
        while isinstance(step := escalate(incident, notifications, now), StartStep):
            incident = replace(incident, position=step.position)
            notifications += (_delivered(written(draft)) for draft in step.drafts if draft.person == "siti")
        if incident.acknowledged_at is None and now >= incident.opened_at + ACKNOWLEDGED_AFTER:
            incident = apply(incident, Acknowledge(incident_id=incident.id, at=now, by="Siti Contoh"))
        said = {notice.key for notice in notifications}
        for conclusion in [*consequences(incident, notifications, now)]:
            if isinstance(conclusion, Notify) and conclusion.draft.key not in said:
                notifications.append(_delivered(written(conclusion.draft)))
        return incident

    @property
    def message_count(self) -> int:
        """Number of SMS and calls."""
        return sum(map(len, self.notifications.values()))


def _delivered(notice: Notification) -> Notification:
    return replace(tried(notice, attempt(AttemptState.DELIVERED)), state=NotificationState.DELIVERED)


def simulate_day(pattern: Pattern, policy: FlappingPolicy, kind: type[Flapping] = Flapping) -> Officer:
    """Probe an agency for a day, as the prober plans it; return the notified officer."""
    world = World([*agency_routes("JCM", references=("a",)), *controls()])
    world.evaluator._agencies["JCM"]._flapping = kind(policy)
    due = {r.name: T0 + index * MINUTE for index, r in enumerate(world.routes)}
    routes, officer = {r.name: r for r in world.routes}, Officer()
    while (now := min(due.values())) < T0 + DAY:
        name = min(due, key=lambda n: due[n])
        fault = pattern((now - T0) / MINUTE)
        world.faults = {} if fault is None else {"JCM/utama": fault}
        result = world.result(routes[name], now)
        ended = now + min(result.duration, timedelta(seconds=5))
        world.evaluator.record_run(result, ended)
        due[name] = now + routes[name].probing.interval
        for other, at in world.evaluator.routes_to_run_soon(name, ended).items():
            due[other] = min(due[other], max(at, ended))
        if "JCM" in world.evaluator.take_changed_agencies() or officer.has_open_incident:
            trouble = world.evaluator.trouble("JCM", ended)
            well = world.evaluator.up_since("JCM", ended) if trouble is None and officer.has_open_incident else None
            officer.update(trouble, well, ended)
    return officer


#: Flapping rules by column of the table: the earlier rule, the present one with its window, and the present one.
COLUMNS: Mapping[str, tuple[FlappingPolicy, type[Flapping]]] = {
    "before": (FlappingPolicy(window=HOUR), OldestFallFlapping),
    "3 in 1 h, until quiet": (FlappingPolicy(window=HOUR), Flapping),
    "3 in 2 h, until quiet": (FlappingPolicy(), Flapping),
}


def row(name: str) -> str:
    """Return the table row of a pattern: incidents, and SMS and calls."""
    days = (simulate_day(PATTERNS[name](), policy, kind) for policy, kind in COLUMNS.values())
    return " | ".join((f"| {name}", *(f"{len(day.incidents)}, {day.message_count}" for day in days))) + " |"


if __name__ == "__main__":
    for name in PATTERNS:
        print(row(name))  # noqa: T201 - that is what it is for
