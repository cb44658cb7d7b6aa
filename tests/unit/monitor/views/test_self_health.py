"""Health of Pantau's own components."""

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
    ComponentView,
    ControlRoute,
    GatewayStatus,
    ProblemCode,
    SelfHealthInputs,
    self_health,
    view_reference,
    worst,
)
from probes.model.result import Outcome, Phase
from tests.unit.monitor.world import T0, arrived, controls, failed

[CONTROL, _] = controls()
PASSED = ControlRoute(route=CONTROL.name, health=Health.UP, last=arrived(CONTROL, T0))
REFUSED = replace(PASSED, last=failed(CONTROL, T0, Outcome.REJECTED, Phase.SUBMIT))
SMS, SMS_TWO = (GatewayStatus(channel=Channel.SMS, gateway=name, up=True) for name in ("satu", "dua"))
HEALTHY = SelfHealthInputs(has_started=True, empty_rotas=())
TROUBLE = ActiveProblem(type=IncidentType.MONITORING_FAULT, since=T0)


def components(inputs: SelfHealthInputs = HEALTHY, **facts: Any) -> Mapping[Component, ComponentView]:
    known: dict[str, Any] = {"controls": [PASSED], "routes": 9, "faults": {}, "gateways": [SMS]} | facts
    return {view.component: view for view in self_health(inputs, **known)}


def test_self_health_is_up_only_when_all_is_proven() -> None:
    assert {view.health for view in components().values()} == {Health.UP}
    fresh = components(
        SelfHealthInputs(),
        controls=[replace(PASSED, health=Health.UNKNOWN, last=None)],
        gateways=[replace(SMS, up=None)],
    )
    assert {component for component, view in fresh.items() if view.health is Health.UNKNOWN} == {
        *(Component.PROBING, Component.REFERENCE, Component.ENGINE, Component.GATEWAY, Component.DUTY)
    }
    assert worst(list(fresh.values())) is Health.UNKNOWN
    assert components(controls=[], gateways=[])[Component.REFERENCE].health is Health.UNKNOWN


@pytest.mark.parametrize(
    ("component", "code", "target", "inputs", "facts"),
    [
        (Component.PROBING, ProblemCode.NO_PROBE_YET, "", HEALTHY, {"controls": [replace(PASSED, last=None)]}),
        (
            Component.REFERENCE,
            ProblemCode.REFERENCE_UNKNOWN,
            "",
            HEALTHY,
            {"controls": [replace(PASSED, health=Health.UNKNOWN)]},
        ),
        (Component.ENGINE, ProblemCode.ENGINE_STARTING, "", replace(HEALTHY, has_started=False), {}),
        (Component.GATEWAY, ProblemCode.GATEWAY_UNUSED, "sms: satu", HEALTHY, {"gateways": [replace(SMS, up=None)]}),
        (Component.GATEWAY, ProblemCode.GATEWAY_UNUSED, "", HEALTHY, {"gateways": []}),
        (Component.DUTY, ProblemCode.ROTAS_LOADING, "", replace(HEALTHY, empty_rotas=None), {}),
    ],
)
def test_self_health_unproven_component_names_what_it_waits_for(
    component: Component, code: ProblemCode, target: str, inputs: SelfHealthInputs, facts: Mapping[str, Any]
) -> None:
    found = components(inputs, **facts)
    assert {view.component for view in found.values() if view.health is not Health.UP} == {component}
    assert [(each.code, each.target, each.health) for each in found[component].problems] == [
        (code, target, Health.UNKNOWN)
    ]


def test_self_health_unused_second_gateway_of_proven_channel_is_up() -> None:
    assert components(gateways=[SMS, replace(SMS_TWO, up=None)])[Component.GATEWAY].problems == ()


def test_self_health_broken_component_omits_what_it_waits_for() -> None:
    starting = replace(HEALTHY, has_started=False, liveness_failures={LivenessFailure.ENGINE})
    assert [each.code for each in components(starting)[Component.ENGINE].problems] == [ProblemCode.ENGINE_STOPPED]


@pytest.mark.blind
@pytest.mark.parametrize(
    ("component", "health", "code", "inputs", "facts"),
    [
        (
            Component.STORE,
            Health.DOWN,
            ProblemCode.STORE_UNAVAILABLE,
            replace(HEALTHY, store_outage=(T0, "database is locked")),
            {},
        ),
        (
            Component.STORE,
            Health.DOWN,
            ProblemCode.STORE_UNAVAILABLE,
            replace(HEALTHY, liveness_failures={LivenessFailure.STORE}),
            {},
        ),
        (Component.STORE, Health.DOWN, ProblemCode.PAPER_PAUSED, replace(HEALTHY, paper_paused_since=T0), {}),
        (
            Component.PROBING,
            Health.DOWN,
            ProblemCode.PROBES_LATE,
            replace(HEALTHY, liveness_failures={LivenessFailure.PROBING}),
            {},
        ),
        (Component.PROBING, Health.DOWN, ProblemCode.NO_ROUTES, HEALTHY, {"routes": 0}),
        (Component.PROBING, Health.DOWN, ProblemCode.QUORUM, replace(HEALTHY, quorum_lost_since=T0), {}),
        (Component.PROBING, Health.DEGRADED, ProblemCode.SITE, replace(HEALTHY, failing_sites={"johor": T0}), {}),
        (
            Component.PROBING,
            Health.DOWN,
            ProblemCode.NETWORK,
            HEALTHY,
            {"faults": {FaultSource(FaultDomain.NETWORK): TROUBLE}},
        ),
        (
            Component.PROBING,
            Health.DOWN,
            ProblemCode.CREDENTIALS,
            HEALTHY,
            {"faults": {FaultSource(FaultDomain.CREDENTIALS, "a"): TROUBLE}},
        ),
        (
            Component.PROBING,
            Health.DOWN,
            ProblemCode.MONITORING_FAULT,
            HEALTHY,
            {"faults": {FaultSource(FaultDomain.PANTAU): TROUBLE}},
        ),
        (
            Component.REFERENCE,
            Health.DOWN,
            ProblemCode.REFERENCE,
            HEALTHY,
            {"faults": {FaultSource(FaultDomain.REFERENCE, "a"): TROUBLE}},
        ),
        # The first refusal is no evaluation yet, but the component is not up.
        (Component.REFERENCE, Health.DEGRADED, ProblemCode.CONTROL, HEALTHY, {"controls": [REFUSED]}),
        (
            Component.REFERENCE,
            Health.DOWN,
            ProblemCode.CONTROL,
            HEALTHY,
            {"controls": [replace(REFUSED, health=Health.DOWN)]},
        ),
        (
            Component.ENGINE,
            Health.DOWN,
            ProblemCode.ENGINE_STOPPED,
            replace(HEALTHY, liveness_failures={LivenessFailure.ENGINE}),
            {},
        ),
        (
            Component.ENGINE,
            Health.DOWN,
            ProblemCode.AUDITOR_STOPPED,
            replace(HEALTHY, liveness_failures={LivenessFailure.AUDIT}),
            {},
        ),
        (
            Component.ENGINE,
            Health.DOWN,
            ProblemCode.NOTIFICATION_OVERDUE,
            replace(HEALTHY, liveness_failures={LivenessFailure.OVERDUE}),
            {},
        ),
        (Component.ENGINE, Health.DEGRADED, ProblemCode.MONITOR_ONLY, replace(HEALTHY, monitor_only=True), {}),
        (Component.GATEWAY, Health.DOWN, ProblemCode.CHANNEL_DOWN, HEALTHY, {"gateways": [replace(SMS, up=False)]}),
        (
            Component.GATEWAY,
            Health.DEGRADED,
            ProblemCode.GATEWAY_DOWN,
            HEALTHY,
            {"gateways": [replace(SMS, up=False), SMS_TWO]},
        ),
        (
            *(Component.GATEWAY, Health.DEGRADED, ProblemCode.RECEIPTS_OVERDUE, HEALTHY),
            {"gateways": [replace(SMS, receipts_overdue_since=T0), SMS_TWO]},
        ),
        (
            Component.CONFIGURATION,
            Health.DEGRADED,
            ProblemCode.CONFIGURATION_REJECTED,
            replace(HEALTHY, config_rejected_at=T0),
            {},
        ),
        (
            Component.CONFIGURATION,
            Health.DEGRADED,
            ProblemCode.AWAITS_RESTART,
            replace(HEALTHY, awaiting_restart=["listen"]),
            {},
        ),
        (
            Component.DUTY,
            Health.DEGRADED,
            ProblemCode.NOBODY_ON_CALL,
            replace(HEALTHY, empty_rotas=["JCM/bertugas"]),
            {},
        ),
    ],
)
def test_self_health_problem_is_shown_at_its_component(
    component: Component, health: Health, code: ProblemCode, inputs: SelfHealthInputs, facts: Mapping[str, Any]
) -> None:
    """Defect: Faults of network, account, gateway, engine or on-call are not shown.

    Pantau: Each is shown at its part.
    """
    found = components(inputs, **facts)
    assert (found[component].health, [each.code for each in found[component].problems]) == (health, [code])
    assert {view.component for view in found.values() if view.health is not Health.UP} == {component}
    assert worst(list(found.values())) is health


def test_self_health_site_of_hub_depends_on_hub() -> None:
    site = replace(HEALTHY, for_hub=True)
    found = components(site, gateways=[])
    assert [each.code for each in found[Component.ENGINE].problems] == [ProblemCode.FOR_HUB]
    assert worst(list(found.values())) is Health.UP
    cut_off = components(replace(site, is_hub_disconnected=True), gateways=[])
    assert [each.code for each in cut_off[Component.ENGINE].problems] == [ProblemCode.HUB_UNAVAILABLE]
    assert {each.component for each in cut_off.values() if each.health is not Health.UP} == {Component.ENGINE}
    # A single site without a hub needs its own gateways, and they are not proven.
    assert components(HEALTHY, gateways=[])[Component.GATEWAY].health is Health.UNKNOWN
    assert components(replace(site, liveness_failures={LivenessFailure.ENGINE}))[Component.ENGINE].health is Health.DOWN


def test_self_health_worst_problem_is_first_with_reason_and_time() -> None:
    inputs = replace(HEALTHY, store_outage=(T0 - timedelta(minutes=2), "database is locked"))
    [complaint] = components(inputs)[Component.STORE].problems
    assert (complaint.reason, complaint.since) == ("database is locked", T0 - timedelta(minutes=2))
    gateways = [replace(SMS, up=False), SMS_TWO, GatewayStatus(channel=Channel.FAX, gateway="faks", up=False)]
    said = components(gateways=gateways)[Component.GATEWAY].problems
    assert [(each.code, each.target) for each in said] == [
        (ProblemCode.CHANNEL_DOWN, "fax: faks"),
        (ProblemCode.GATEWAY_DOWN, "sms: satu"),
    ]
    assert components(controls=[REFUSED])[Component.REFERENCE].problems[0].reason == "submit (recipient): contoh"


UP, DOWN, DEGRADED, UNKNOWN = Health.UP, Health.DOWN, Health.DEGRADED, Health.UNKNOWN


@pytest.mark.parametrize(
    ("controls", "troubles", "health", "fault"),
    [
        ([UP, UP], {}, UP, None),
        ([], {}, UNKNOWN, None),
        ([UP, UNKNOWN], {}, UNKNOWN, None),
        # It is unknown yet which end of the route fails.
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
def test_view_reference_is_up_only_when_all_control_routes_are(
    controls: list[Health], troubles: Mapping[FaultSource, ActiveProblem], health: Health, fault: FaultDomain | None
) -> None:
    views = [view_route("control/a/b", Direction.CONTROL, each, None) for each in controls]
    found = view_reference("a", views, troubles)

    assert (found.health, found.fault, found.since) == (health, fault, T0 if fault else None)
    assert list(found.controls) == views
