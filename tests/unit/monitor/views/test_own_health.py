"""What people are told of Pantau itself, as a table: what is known of it, and how each part stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from alerts.model.channel import Channel
from alerts.model.notice import Matter
from monitor.judging.attribution import Blame
from monitor.judging.liveness import Ailment
from monitor.judging.suspect import Suspect, Trouble
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.views.overview import view_route
from monitor.views.own_health import (
    Control,
    GatewayStanding,
    Ill,
    OwnPart,
    PartView,
    Signs,
    own_health,
    view_reference,
    worst,
)
from probes.model.result import Outcome, Phase
from tests.unit.monitor.trial import T0, arrived, controls, failed

[CONTROL, _] = controls()
PASSED = Control(route=CONTROL.name, health=Health.UP, last=arrived(CONTROL, T0))
REFUSED = replace(PASSED, last=failed(CONTROL, T0, Outcome.REJECTED, Phase.SUBMIT))
SMS, SMS_TWO = (GatewayStanding(channel=Channel.SMS, gateway=name, up=True) for name in ("satu", "dua"))
WELL = Signs(is_under_way=True, deserted=())
TROUBLE = Trouble(matter=Matter.OWN_FAULT, since=T0)


def parts(signs: Signs = WELL, **facts: Any) -> Mapping[OwnPart, PartView]:
    known: dict[str, Any] = {"controls": [PASSED], "routes": 9, "troubles": {}, "gateways": [SMS]} | facts
    return {view.part: view for view in own_health(signs, **known)}


def test_all_is_well_only_when_all_of_it_is_proven() -> None:
    assert {view.health for view in parts().values()} == {Health.UP}
    fresh = parts(
        Signs(), controls=[replace(PASSED, health=Health.UNKNOWN, last=None)], gateways=[replace(SMS, up=None)]
    )
    assert {part for part, view in fresh.items() if view.health is Health.UNKNOWN} == {
        *(OwnPart.PROBING, OwnPart.REFERENCE, OwnPart.ENGINE, OwnPart.GATEWAY, OwnPart.DUTY)
    }
    assert worst(list(fresh.values())) is Health.UNKNOWN
    assert parts(controls=[], gateways=[])[OwnPart.REFERENCE].health is Health.UNKNOWN


@pytest.mark.parametrize(
    ("part", "ill", "about", "signs", "facts"),
    [
        (OwnPart.PROBING, Ill.NO_PROBE_YET, "", WELL, {"controls": [replace(PASSED, last=None)]}),
        (OwnPart.REFERENCE, Ill.REFERENCE_UNPROVEN, "", WELL, {"controls": [replace(PASSED, health=Health.UNKNOWN)]}),
        (OwnPart.ENGINE, Ill.ENGINE_STARTING, "", replace(WELL, is_under_way=False), {}),
        (OwnPart.GATEWAY, Ill.GATEWAY_UNUSED, "sms: satu", WELL, {"gateways": [replace(SMS, up=None)]}),
        (OwnPart.GATEWAY, Ill.GATEWAY_UNUSED, "", WELL, {"gateways": []}),
        (OwnPart.DUTY, Ill.DUTY_UNREAD, "", replace(WELL, deserted=None), {}),
    ],
)
def test_own_health_unproven_part_names_what_it_waits_for(
    part: OwnPart, ill: Ill, about: str, signs: Signs, facts: Mapping[str, Any]
) -> None:
    found = parts(signs, **facts)
    assert {view.part for view in found.values() if view.health is not Health.UP} == {part}
    assert [(each.ill, each.about, each.health) for each in found[part].complaints] == [(ill, about, Health.UNKNOWN)]


def test_own_health_unused_second_gateway_of_a_proven_channel_is_up() -> None:
    assert parts(gateways=[SMS, replace(SMS_TWO, up=None)])[OwnPart.GATEWAY].complaints == ()


def test_own_health_broken_part_does_not_name_what_it_waits_for() -> None:
    starting = replace(WELL, is_under_way=False, ailments={Ailment.ENGINE})
    assert [each.ill for each in parts(starting)[OwnPart.ENGINE].complaints] == [Ill.ENGINE_STOPPED]


@pytest.mark.blind
@pytest.mark.parametrize(
    ("part", "health", "ill", "signs", "facts"),
    [
        (OwnPart.STORE, Health.DOWN, Ill.STORE_AWAY, replace(WELL, away=(T0, "database is locked")), {}),
        (OwnPart.STORE, Health.DOWN, Ill.STORE_AWAY, replace(WELL, ailments={Ailment.STORE}), {}),
        (OwnPart.STORE, Health.DOWN, Ill.PAPER_HELD, replace(WELL, paper_held_since=T0), {}),
        (OwnPart.PROBING, Health.DOWN, Ill.PROBES_LATE, replace(WELL, ailments={Ailment.PROBING}), {}),
        (OwnPart.PROBING, Health.DOWN, Ill.NO_ROUTES, WELL, {"routes": 0}),
        (OwnPart.PROBING, Health.DOWN, Ill.QUORUM, replace(WELL, short_of_sites_since=T0), {}),
        (OwnPart.PROBING, Health.DEGRADED, Ill.SITE, replace(WELL, ailing_sites={"johor": T0}), {}),
        (OwnPart.PROBING, Health.DOWN, Ill.NETWORK, WELL, {"troubles": {Suspect(Blame.NETWORK): TROUBLE}}),
        (OwnPart.PROBING, Health.DOWN, Ill.CREDENTIALS, WELL, {"troubles": {Suspect(Blame.CREDENTIALS, "a"): TROUBLE}}),
        (OwnPart.PROBING, Health.DOWN, Ill.OURS, WELL, {"troubles": {Suspect(Blame.OURS): TROUBLE}}),
        (OwnPart.REFERENCE, Health.DOWN, Ill.REFERENCE, WELL, {"troubles": {Suspect(Blame.REFERENCE, "a"): TROUBLE}}),
        # The first refusal is no judgement, and no reason to call it well.
        (OwnPart.REFERENCE, Health.DEGRADED, Ill.CONTROL, WELL, {"controls": [REFUSED]}),
        (OwnPart.REFERENCE, Health.DOWN, Ill.CONTROL, WELL, {"controls": [replace(REFUSED, health=Health.DOWN)]}),
        (OwnPart.ENGINE, Health.DOWN, Ill.ENGINE_STOPPED, replace(WELL, ailments={Ailment.ENGINE}), {}),
        (OwnPart.ENGINE, Health.DOWN, Ill.AUDIT_STOPPED, replace(WELL, ailments={Ailment.AUDIT}), {}),
        (OwnPart.ENGINE, Health.DOWN, Ill.OVERDUE, replace(WELL, ailments={Ailment.OVERDUE}), {}),
        (OwnPart.ENGINE, Health.DEGRADED, Ill.WATCH_ONLY, replace(WELL, watch_only=True), {}),
        (OwnPart.GATEWAY, Health.DOWN, Ill.CHANNEL_DOWN, WELL, {"gateways": [replace(SMS, up=False)]}),
        (OwnPart.GATEWAY, Health.DEGRADED, Ill.GATEWAY_DOWN, WELL, {"gateways": [replace(SMS, up=False), SMS_TWO]}),
        (
            *(OwnPart.GATEWAY, Health.DEGRADED, Ill.GATEWAY_DOUBTED, WELL),
            {"gateways": [replace(SMS, doubted_since=T0), SMS_TWO]},
        ),
        (OwnPart.CONFIGURATION, Health.DEGRADED, Ill.REFUSED, replace(WELL, refused_at=T0), {}),
        (OwnPart.CONFIGURATION, Health.DEGRADED, Ill.AWAITS_RESTART, replace(WELL, awaiting_restart=["listen"]), {}),
        (OwnPart.DUTY, Health.DEGRADED, Ill.NOBODY_ON_CALL, replace(WELL, deserted=["JCM/bertugas"]), {}),
    ],
)
def test_whatever_is_wrong_with_pantau_is_said_of_the_part_that_it_is(
    part: OwnPart, health: Health, ill: Ill, signs: Signs, facts: Mapping[str, Any]
) -> None:
    found = parts(signs, **facts)
    assert (found[part].health, [each.ill for each in found[part].complaints]) == (health, [ill])
    assert {view.part for view in found.values() if view.health is not Health.UP} == {part}
    assert worst(list(found.values())) is health


def test_a_site_that_watches_for_a_hub_is_well_while_it_is_heard_and_says_who_tells() -> None:
    site = replace(WELL, for_hub=True)
    found = parts(site, gateways=[])
    assert [each.ill for each in found[OwnPart.ENGINE].complaints] == [Ill.FOR_HUB]
    assert worst(list(found.values())) is Health.UP
    cut_off = parts(replace(site, is_unheard=True), gateways=[])
    assert [each.ill for each in cut_off[OwnPart.ENGINE].complaints] == [Ill.HUB_AWAY]
    assert {each.part for each in cut_off.values() if each.health is not Health.UP} == {OwnPart.ENGINE}
    # One alone has nobody to tell, and its gateways are not proven.
    assert parts(WELL, gateways=[])[OwnPart.GATEWAY].health is Health.UNKNOWN
    assert parts(replace(site, ailments={Ailment.ENGINE}))[OwnPart.ENGINE].health is Health.DOWN


def test_what_is_worst_is_said_first_and_with_why_and_since_when() -> None:
    signs = replace(WELL, away=(T0 - timedelta(minutes=2), "database is locked"))
    [complaint] = parts(signs)[OwnPart.STORE].complaints
    assert (complaint.why, complaint.since) == ("database is locked", T0 - timedelta(minutes=2))
    gateways = [replace(SMS, up=False), SMS_TWO, GatewayStanding(channel=Channel.FAX, gateway="faks", up=False)]
    said = parts(gateways=gateways)[OwnPart.GATEWAY].complaints
    assert [(each.ill, each.about) for each in said] == [
        (Ill.CHANNEL_DOWN, "fax: faks"),
        (Ill.GATEWAY_DOWN, "sms: satu"),
    ]
    assert parts(controls=[REFUSED])[OwnPart.REFERENCE].complaints[0].why == "submit (recipient): contoh"


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
        ([UP, UP], {Suspect(Blame.REFERENCE, "a"): TROUBLE}, DOWN, Blame.REFERENCE),
        ([UP, UP], {Suspect(Blame.CREDENTIALS, "a"): TROUBLE}, DOWN, Blame.CREDENTIALS),
        ([UP, UP], {Suspect(Blame.REFERENCE, "b"): TROUBLE, Suspect(Blame.NETWORK): TROUBLE}, UP, None),
    ],
)
def test_a_mailbox_of_ours_is_up_only_when_all_that_proves_it_is(
    controls: list[Health], troubles: Mapping[Suspect, Trouble], health: Health, fault: Blame | None
) -> None:
    views = [view_route("control/a/b", Direction.CONTROL, each, None) for each in controls]
    found = view_reference("a", views, troubles)

    assert (found.health, found.fault, found.since) == (health, fault, T0 if fault else None)
    assert list(found.controls) == views
