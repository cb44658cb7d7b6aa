"""What people are told of Pantau itself, as a table: what is known of it, and how each part stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from alerts.model.channel import Channel
from alerts.model.notification import IncidentType
from monitor.evaluation.attribution import FaultDomain
from monitor.evaluation.liveness import LivenessFailure
from monitor.evaluation.monitoring_faults import ActiveProblem, FaultSource
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.views.overview import view_route
from monitor.views.self_health import (
    Component,
    Control,
    GatewayStatus,
    PartView,
    ProblemCode,
    SelfHealthInputs,
    self_health,
    view_reference,
    worst,
)
from probes.model.result import Outcome, Phase
from tests.unit.monitor.trial import T0, arrived, controls, failed

[CONTROL, _] = controls()
PASSED = Control(route=CONTROL.name, health=Health.UP, last=arrived(CONTROL, T0))
REFUSED = replace(PASSED, last=failed(CONTROL, T0, Outcome.REJECTED, Phase.SUBMIT))
SMS, SMS_TWO = (GatewayStatus(channel=Channel.SMS, gateway=name, up=True) for name in ("satu", "dua"))
WELL = SelfHealthInputs(has_started=True, empty_rotas=())
TROUBLE = ActiveProblem(type=IncidentType.MONITORING_FAULT, since=T0)


def parts(signs: SelfHealthInputs = WELL, **facts: Any) -> Mapping[Component, PartView]:
    known: dict[str, Any] = {"controls": [PASSED], "routes": 9, "faults": {}, "gateways": [SMS]} | facts
    return {view.component: view for view in self_health(signs, **known)}


def test_all_is_well_only_when_all_of_it_is_proven() -> None:
    assert {view.health for view in parts().values()} == {Health.UP}
    fresh = parts(
        SelfHealthInputs(),
        controls=[replace(PASSED, health=Health.UNKNOWN, last=None)],
        gateways=[replace(SMS, up=None)],
    )
    assert {component for component, view in fresh.items() if view.health is Health.UNKNOWN} == {
        *(Component.PROBING, Component.REFERENCE, Component.ENGINE, Component.GATEWAY, Component.DUTY)
    }
    assert worst(list(fresh.values())) is Health.UNKNOWN
    assert parts(controls=[], gateways=[])[Component.REFERENCE].health is Health.UNKNOWN


@pytest.mark.parametrize(
    ("component", "code", "target", "signs", "facts"),
    [
        (Component.PROBING, ProblemCode.NO_PROBE_YET, "", WELL, {"controls": [replace(PASSED, last=None)]}),
        (
            Component.REFERENCE,
            ProblemCode.REFERENCE_UNKNOWN,
            "",
            WELL,
            {"controls": [replace(PASSED, health=Health.UNKNOWN)]},
        ),
        (Component.ENGINE, ProblemCode.ENGINE_STARTING, "", replace(WELL, has_started=False), {}),
        (Component.GATEWAY, ProblemCode.GATEWAY_UNUSED, "sms: satu", WELL, {"gateways": [replace(SMS, up=None)]}),
        (Component.GATEWAY, ProblemCode.GATEWAY_UNUSED, "", WELL, {"gateways": []}),
        (Component.DUTY, ProblemCode.ROTAS_LOADING, "", replace(WELL, empty_rotas=None), {}),
    ],
)
def test_own_health_unproven_part_names_what_it_waits_for(
    component: Component, code: ProblemCode, target: str, signs: SelfHealthInputs, facts: Mapping[str, Any]
) -> None:
    found = parts(signs, **facts)
    assert {view.component for view in found.values() if view.health is not Health.UP} == {component}
    assert [(each.code, each.target, each.health) for each in found[component].problems] == [
        (code, target, Health.UNKNOWN)
    ]


def test_own_health_unused_second_gateway_of_a_proven_channel_is_up() -> None:
    assert parts(gateways=[SMS, replace(SMS_TWO, up=None)])[Component.GATEWAY].problems == ()


def test_own_health_broken_part_does_not_name_what_it_waits_for() -> None:
    starting = replace(WELL, has_started=False, liveness_failures={LivenessFailure.ENGINE})
    assert [each.code for each in parts(starting)[Component.ENGINE].problems] == [ProblemCode.ENGINE_STOPPED]


@pytest.mark.blind
@pytest.mark.parametrize(
    ("component", "health", "code", "signs", "facts"),
    [
        (
            Component.STORE,
            Health.DOWN,
            ProblemCode.STORE_UNAVAILABLE,
            replace(WELL, store_outage=(T0, "database is locked")),
            {},
        ),
        (
            Component.STORE,
            Health.DOWN,
            ProblemCode.STORE_UNAVAILABLE,
            replace(WELL, liveness_failures={LivenessFailure.STORE}),
            {},
        ),
        (Component.STORE, Health.DOWN, ProblemCode.PAPER_PAUSED, replace(WELL, paper_paused_since=T0), {}),
        (
            Component.PROBING,
            Health.DOWN,
            ProblemCode.PROBES_LATE,
            replace(WELL, liveness_failures={LivenessFailure.PROBING}),
            {},
        ),
        (Component.PROBING, Health.DOWN, ProblemCode.NO_ROUTES, WELL, {"routes": 0}),
        (Component.PROBING, Health.DOWN, ProblemCode.QUORUM, replace(WELL, quorum_lost_since=T0), {}),
        (Component.PROBING, Health.DEGRADED, ProblemCode.SITE, replace(WELL, failing_sites={"johor": T0}), {}),
        (
            Component.PROBING,
            Health.DOWN,
            ProblemCode.NETWORK,
            WELL,
            {"faults": {FaultSource(FaultDomain.NETWORK): TROUBLE}},
        ),
        (
            Component.PROBING,
            Health.DOWN,
            ProblemCode.CREDENTIALS,
            WELL,
            {"faults": {FaultSource(FaultDomain.CREDENTIALS, "a"): TROUBLE}},
        ),
        (
            Component.PROBING,
            Health.DOWN,
            ProblemCode.MONITORING_FAULT,
            WELL,
            {"faults": {FaultSource(FaultDomain.OURS): TROUBLE}},
        ),
        (
            Component.REFERENCE,
            Health.DOWN,
            ProblemCode.REFERENCE,
            WELL,
            {"faults": {FaultSource(FaultDomain.REFERENCE, "a"): TROUBLE}},
        ),
        # The first refusal is no judgement, and no reason to call it well.
        (Component.REFERENCE, Health.DEGRADED, ProblemCode.CONTROL, WELL, {"controls": [REFUSED]}),
        (
            Component.REFERENCE,
            Health.DOWN,
            ProblemCode.CONTROL,
            WELL,
            {"controls": [replace(REFUSED, health=Health.DOWN)]},
        ),
        (
            Component.ENGINE,
            Health.DOWN,
            ProblemCode.ENGINE_STOPPED,
            replace(WELL, liveness_failures={LivenessFailure.ENGINE}),
            {},
        ),
        (
            Component.ENGINE,
            Health.DOWN,
            ProblemCode.AUDITOR_STOPPED,
            replace(WELL, liveness_failures={LivenessFailure.AUDIT}),
            {},
        ),
        (
            Component.ENGINE,
            Health.DOWN,
            ProblemCode.NOTIFICATION_OVERDUE,
            replace(WELL, liveness_failures={LivenessFailure.OVERDUE}),
            {},
        ),
        (Component.ENGINE, Health.DEGRADED, ProblemCode.MONITOR_ONLY, replace(WELL, monitor_only=True), {}),
        (Component.GATEWAY, Health.DOWN, ProblemCode.CHANNEL_DOWN, WELL, {"gateways": [replace(SMS, up=False)]}),
        (
            Component.GATEWAY,
            Health.DEGRADED,
            ProblemCode.GATEWAY_DOWN,
            WELL,
            {"gateways": [replace(SMS, up=False), SMS_TWO]},
        ),
        (
            *(Component.GATEWAY, Health.DEGRADED, ProblemCode.RECEIPTS_OVERDUE, WELL),
            {"gateways": [replace(SMS, receipts_overdue_since=T0), SMS_TWO]},
        ),
        (
            Component.CONFIGURATION,
            Health.DEGRADED,
            ProblemCode.CONFIGURATION_REJECTED,
            replace(WELL, config_rejected_at=T0),
            {},
        ),
        (
            Component.CONFIGURATION,
            Health.DEGRADED,
            ProblemCode.AWAITS_RESTART,
            replace(WELL, awaiting_restart=["listen"]),
            {},
        ),
        (Component.DUTY, Health.DEGRADED, ProblemCode.NOBODY_ON_CALL, replace(WELL, empty_rotas=["JCM/bertugas"]), {}),
    ],
)
def test_whatever_is_wrong_with_pantau_is_said_of_the_part_that_it_is(
    component: Component, health: Health, code: ProblemCode, signs: SelfHealthInputs, facts: Mapping[str, Any]
) -> None:
    """Defect: Faults of network, account, gateway, engine or on-call are not shown.

    Pantau: Each is shown at its part.
    """
    found = parts(signs, **facts)
    assert (found[component].health, [each.code for each in found[component].problems]) == (health, [code])
    assert {view.component for view in found.values() if view.health is not Health.UP} == {component}
    assert worst(list(found.values())) is health


def test_a_site_that_watches_for_a_hub_is_well_while_it_is_heard_and_says_who_tells() -> None:
    site = replace(WELL, for_hub=True)
    found = parts(site, gateways=[])
    assert [each.code for each in found[Component.ENGINE].problems] == [ProblemCode.FOR_HUB]
    assert worst(list(found.values())) is Health.UP
    cut_off = parts(replace(site, is_hub_disconnected=True), gateways=[])
    assert [each.code for each in cut_off[Component.ENGINE].problems] == [ProblemCode.HUB_UNAVAILABLE]
    assert {each.component for each in cut_off.values() if each.health is not Health.UP} == {Component.ENGINE}
    # One alone has nobody to tell, and its gateways are not proven.
    assert parts(WELL, gateways=[])[Component.GATEWAY].health is Health.UNKNOWN
    assert parts(replace(site, liveness_failures={LivenessFailure.ENGINE}))[Component.ENGINE].health is Health.DOWN


def test_what_is_worst_is_said_first_and_with_why_and_since_when() -> None:
    signs = replace(WELL, store_outage=(T0 - timedelta(minutes=2), "database is locked"))
    [complaint] = parts(signs)[Component.STORE].problems
    assert (complaint.reason, complaint.since) == ("database is locked", T0 - timedelta(minutes=2))
    gateways = [replace(SMS, up=False), SMS_TWO, GatewayStatus(channel=Channel.FAX, gateway="faks", up=False)]
    said = parts(gateways=gateways)[Component.GATEWAY].problems
    assert [(each.code, each.target) for each in said] == [
        (ProblemCode.CHANNEL_DOWN, "fax: faks"),
        (ProblemCode.GATEWAY_DOWN, "sms: satu"),
    ]
    assert parts(controls=[REFUSED])[Component.REFERENCE].problems[0].reason == "submit (recipient): contoh"


UP, DOWN, DEGRADED, UNKNOWN = Health.UP, Health.DOWN, Health.DEGRADED, Health.UNKNOWN


@pytest.mark.parametrize(
    ("controls", "troubles", "health", "fault"),
    [
        ([UP, UP], {}, UP, None),
        ([], {}, UNKNOWN, None),
        ([UP, UNKNOWN], {}, UNKNOWN, None),
        # Whether it is this end or the other of the route, nobody knows yet.
        ([UP, DOWN], {}, DEGRADED, None),
        ([UNKNOWN, DEGRADED], {}, DEGRADED, None),
        ([UP, UP], {FaultSource(FaultDomain.REFERENCE, "a"): TROUBLE}, DOWN, FaultDomain.REFERENCE),
        ([UP, UP], {FaultSource(FaultDomain.CREDENTIALS, "a"): TROUBLE}, DOWN, FaultDomain.CREDENTIALS),
        (
            [UP, UP],
            {FaultSource(FaultDomain.REFERENCE, "b"): TROUBLE, FaultSource(FaultDomain.NETWORK): TROUBLE},
            UP,
            None,
        ),
    ],
)
def test_a_mailbox_of_ours_is_up_only_when_all_that_proves_it_is(
    controls: list[Health], troubles: Mapping[FaultSource, ActiveProblem], health: Health, fault: FaultDomain | None
) -> None:
    views = [view_route("control/a/b", Direction.CONTROL, each, None) for each in controls]
    found = view_reference("a", views, troubles)

    assert (found.health, found.fault, found.since) == (health, fault, T0 if fault else None)
    assert list(found.controls) == views
