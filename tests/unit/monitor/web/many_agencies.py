"""Many agencies in a scenario: all up, an outage, a mass outage, or a monitoring fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

from alerts.decide.silence import Silence
from alerts.model.incident import IncidentState
from monitor.evaluation.attribution import RunVerdict
from monitor.model.day import DayTimeline
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.model.window import WindowOccurrence
from monitor.views.overview import AgencyView, CheckView, IncidentView, NotificationView, RouteView, view_incident
from monitor.views.self_health import Component, ComponentProblem, ProblemCode
from probes.model.check import Verdict
from probes.model.reply import Reason
from probes.model.result import Failure, Outcome, Party, Phase
from tests.unit.alerts.people import T0, incident
from tests.unit.monitor.web.fake_service import Service, finding

_DIRECTIONS = (Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL)


class Scenario(StrEnum):
    """State of the agencies and of Pantau."""

    ALL_UP = "all_up"
    #: A few agencies are down, slow, in maintenance, silenced.
    OUTAGE = "outage"
    #: A third of the agencies is down.
    MASS_OUTAGE = "mass_outage"
    #: A reference mailbox is broken, so some agencies are not observed.
    MONITORING_FAULT = "monitoring_fault"
    #: The database is unavailable, and there is an outage.
    STORE_UNAVAILABLE = "store_unavailable"
    #: Pantau has just started.
    START = "start"


@dataclass
class ManyAgencies(Service):
    """Fake service with many agencies in a scenario."""

    size: int = 3
    scenario: Scenario = Scenario.ALL_UP
    #: Views that replace the scenario's, by code.
    overrides: dict[str, AgencyView] = field(default_factory=dict)

    def __post_init__(self) -> None:
        days = {9: "b75w1365", 10: "s3w1437", 11: "d90w1350", 12: "h1440", 13: "-1440", 20: "r20w1420", 40: "w300b90"}
        always = "b75w1365" if self.scenario is Scenario.MASS_OUTAGE else "w1440"
        self.timelines = {T0.date() - timedelta(days=ago): DayTimeline(days.get(ago, always)) for ago in range(1, 90)}
        if self.scenario is Scenario.STORE_UNAVAILABLE:
            unavailable = ComponentProblem(
                code=ProblemCode.STORE_UNAVAILABLE, health=Health.DOWN, reason="database is locked", since=T0
            )
            self.problems_by_component = {Component.STORE: {"health": Health.DOWN, "problems": (unavailable,)}}
            self.recorded_at = T0
        if self.scenario is Scenario.MONITORING_FAULT:
            broken = ComponentProblem(code=ProblemCode.REFERENCE, health=Health.DOWN, target="rujukan-a", since=T0)
            down = ComponentProblem(code=ProblemCode.GATEWAY_DOWN, health=Health.DEGRADED, target="sms: sms-contoh")
            self.problems_by_component = {
                Component.REFERENCE: {"health": Health.DOWN, "problems": (broken,)},
                Component.GATEWAY: {"health": Health.DEGRADED, "problems": (down,)},
            }
        if self.scenario is Scenario.START:
            self.problems_by_component = {part: {"health": Health.UNKNOWN} for part in Component}
            self.was_read = False

    async def agencies(self) -> Sequence[AgencyView]:
        codes = [f"A{number:03}" for number in range(self.size)]
        return [self.overrides.get(code) or self._agency_in_scenario(number, code) for number, code in enumerate(codes)]

    def _agency_in_scenario(self, number: int, code: str) -> AgencyView:
        view = agency(code)
        if self.scenario is Scenario.START:
            return replace(view, health=dict.fromkeys(_DIRECTIONS, Health.UNKNOWN))
        if self.scenario is Scenario.ALL_UP:
            return view
        if self.scenario is Scenario.MONITORING_FAULT:
            if number % 4 != 1:
                return view
            lost = replace(_failed(view.routes[1]), verdict=RunVerdict.MONITORING_FAULT)
            return replace(view, unobserved=[Direction.INBOUND], routes=[view.routes[0], lost, view.routes[2]])
        few = 3 if self.scenario is Scenario.MASS_OUTAGE else max(3, self.size // 20)
        if number % few == 1:
            return down(view, number)
        match number % 50:
            case 2:
                health = {**view.health, Direction.INBOUND: Health.DEGRADED}
                return replace(view, health=health, since=T0 - timedelta(minutes=number))
            case 3:
                work = WindowOccurrence(T0 - timedelta(hours=1), T0 + timedelta(hours=2), "Naik taraf pelayan")
                return replace(view, maintenance=work)
            case 5:
                ends = T0 + timedelta(hours=2)
                return replace(
                    view,
                    silence=Silence(
                        id=1, target=code, starts_at=T0, ends_at=ends, reason="Kerja rangkaian", by="Siti Contoh"
                    ),
                )
            case 6:
                return replace(view, health={**view.health, Direction.INBOUND: Health.UNKNOWN})
        return view

    async def incidents(self) -> Sequence[IncidentView]:
        if self.scenario is Scenario.START:
            return []
        shown = [each for each in await self.agencies() if each.incident]
        found = [
            replace(
                view_incident(incident()),
                id=10 + int(each.agency[1:]),
                number=each.incident or "",
                agency=each.agency,
                subject=each.name,
                began_at=each.since or T0,
            )
            for each in shown
        ]
        over = replace(view_incident(incident()), number="A000-00", id=1, state=IncidentState.RESOLVED, resolved_at=T0)
        return [*found, over]

    async def latest_notifications(self) -> Sequence[NotificationView]:
        if self.scenario in {Scenario.ALL_UP, Scenario.START}:
            return []
        notices = await super().latest_notifications()
        return [replace(notices[0], id=number) for number in range(1, 9)]


def agency(code: str) -> AgencyView:
    """Return an agency that is up; if its code ends with 7, its certificate expires soon."""
    warnings = [finding(f"mel.{code.lower()}.gov.my:993", Verdict.WARN, "expires in 9 days", "certificate")]
    found = CheckView(kind="certificate", verdict=Verdict.WARN, last_run_at=T0, findings=warnings)
    return AgencyView(
        agency=code,
        name=f"Jabatan Contoh {code} Malaysia",
        domain=f"{code.lower()}.jabatan-contoh.gov.my",
        health=dict.fromkeys(_DIRECTIONS, Health.UP),
        routes=[
            RouteView(
                name=f"{code}/{direction}/a",
                direction=direction,
                health=Health.UP,
                last_run_at=T0,
                outcome=Outcome.DELIVERED,
                data_seconds=0.4,
                transit_seconds=1.7,
            )
            for direction in _DIRECTIONS
        ],
        checks=[found] if code.endswith("7") else [],
    )


def _failed(route: RouteView) -> RouteView:
    failure = Failure(
        phase=Phase.SUBMIT,
        party=Party.SENDER,
        code=554,
        reason=Reason.SENDER_REFUSED,
        detail="5.7.1 Service unavailable; client host blocked",
    )
    why = "submit (sender) 554: sender refused: 5.7.1 Service unavailable; client host blocked"
    return replace(route, outcome=Outcome.REJECTED, reason=why, failure=failure, transit_seconds=None)


def down(view: AgencyView, number: int) -> AgencyView:
    """Return an agency that cannot send."""
    first = replace(_failed(view.routes[0]), health=Health.DOWN, verdict=RunVerdict.FAILED)
    return replace(
        view,
        health={**view.health, Direction.OUTBOUND: Health.DOWN},
        routes=[first, *view.routes[1:]],
        incident=f"{view.agency}-01",
        since=T0 - timedelta(minutes=10 + number),
    )
