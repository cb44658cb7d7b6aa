"""Mail that goes down and up again and again: one incident that stays open, told once."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.decide.escalation import build_facts
from alerts.model.event import Trigger
from alerts.model.incident import open_incident
from alerts.model.notification import IncidentType, Language, Plan, Purpose
from alerts.wording.call import compose as compose_call
from alerts.wording.lint import errors, lint
from alerts.wording.moment import stamp
from alerts.wording.sms import compose as compose_sms
from monitor.evaluation.flapping import Flapping, FlappingPolicy
from tests.unit.alerts.people import trigger
from tests.unit.alerts.wording.situations import WORDING
from tests.unit.monitor.bridge.test_pipeline import Service
from tests.unit.monitor.trial import MINUTE, REFUSED, T0, WRONG_PASSWORD, Fault

POLICY = FlappingPolicy(threshold=3, window=timedelta(hours=1))


def after(*minutes: int, down: int = 5) -> Flapping:
    """Return what fell at these minutes, and rose so many minutes later."""
    flapping = Flapping(POLICY)
    for minute in minutes:
        flapping.record_fall(T0 + minute * MINUTE)
        rose(flapping, minute + down)
    return flapping


def rose(flapping: Flapping, minute: int) -> int | None:
    """Say that it is well at a minute; return until which one that is not believed."""
    now = T0 + minute * MINUTE
    until = flapping.record_recovery(now, now)
    return None if until is None else round((until - T0) / MINUTE)


@pytest.mark.parametrize(
    ("falls", "unsteady"),
    [
        ((0, 20), False),
        ((0, 20, 40), True),
        ((0, 30, 60), False),
        ((0, 50, 100), False),
        # The falls of a quarter of a day ago say nothing.
        ((0, 20, 400), False),
        # It is unsteady until it has been quiet, not until the oldest of these falls is an hour old.
        ((0, 20, 40, 95), True),
        ((0, 20, 40, 105), False),
        # A clock that was set back knows nothing of what lies ahead.
        ((100, 120, 10), False),
    ],
)
def test_so_many_falls_within_an_hour_are_too_many(falls: tuple[int, ...], *, unsteady: bool) -> None:
    flapping = after(*falls[:-1])
    flapping.record_fall(T0 + falls[-1] * MINUTE)
    assert flapping.is_flapping is unsteady


@pytest.mark.parametrize("asked_at", [46, 60, 99, 104])
def test_it_is_believed_an_hour_after_it_last_rose(asked_at: int) -> None:
    flapping = after(0, 20, 40)
    assert rose(flapping, asked_at) == 105
    assert rose(flapping, 105) is None
    assert not flapping.is_flapping


def test_another_fall_begins_the_quiet_anew_though_it_comes_too_seldom_to_make_it_unsteady() -> None:
    flapping = after(0, 20, 40, 95)
    assert rose(flapping, 104) == 160


def test_quiet_said_to_begin_before_the_last_fall_counts_from_that_fall() -> None:
    flapping = after(0, 20)
    flapping.record_fall(T0 + 40 * MINUTE)

    # Another route has worked all the while: "well since" is earlier than the fall.
    assert flapping.record_recovery(T0 + 30 * MINUTE, T0 + 45 * MINUTE) == T0 + 100 * MINUTE
    assert flapping.record_recovery(T0 + 30 * MINUTE, T0 + 99 * MINUTE) == T0 + 100 * MINUTE
    assert flapping.record_recovery(T0 + 30 * MINUTE, T0 + 100 * MINUTE) is None


def test_what_has_been_down_for_an_hour_is_steady_in_its_way_and_its_end_is_told() -> None:
    assert rose(after(0, 20, 40, down=5), 45) == 105
    flapping = after(0, 20)
    flapping.record_fall(T0 + 40 * MINUTE)
    assert flapping.is_flapping
    assert rose(flapping, 100) is None


def test_a_clock_that_is_set_back_begins_the_quiet_anew() -> None:
    flapping = after(100, 120, 140)
    assert rose(flapping, 30) == 90


def test_what_is_still_down_has_fallen_once() -> None:
    flapping = Flapping(POLICY)
    for minute in range(10):
        flapping.record_fall(T0 + minute * MINUTE)

    assert not flapping.is_flapping


def test_what_fell_before_a_restart_counts() -> None:
    flapping = Flapping(POLICY)
    flapping.restore([T0, T0 + MINUTE], is_down=False)
    flapping.record_fall(T0 + 2 * MINUTE)

    assert flapping.is_flapping


def test_a_restart_neither_shortens_the_quiet_nor_begins_it_anew() -> None:
    flapping = Flapping(POLICY)
    flapping.restore([T0], is_down=True, is_flapping=True)
    judged_well = T0 + 300 * MINUTE

    assert flapping.record_recovery(judged_well, judged_well + 20 * MINUTE) == judged_well + 60 * MINUTE
    assert flapping.record_recovery(judged_well, judged_well + 60 * MINUTE) is None


async def fall_and_rise(service: Service, times: int, what: str = "JCM/utama", how: Fault = REFUSED) -> None:
    for _ in range(times):
        service.world.faults[what] = how
        await service.rounds(3)
        service.world.faults.clear()
        await service.rounds(2)


async def test_the_third_fall_stays_open_until_it_has_been_quiet() -> None:
    service = Service("JCM")
    await service.rounds(3)

    await fall_and_rise(service, 4)
    told = service.alerts.told()
    assert told == ["JCM: both", "JCM: over", "JCM: both", "JCM: over", "JCM: both"]
    assert [e.flapping for e in service.alerts.heard if isinstance(e, Trigger)] == [False, False, True]

    service.clock.time += FlappingPolicy().window
    await service.rounds(2)
    assert service.alerts.told() == [*told, "JCM: over"]


async def test_what_is_our_own_is_held_open_too_until_it_has_been_quiet() -> None:
    service = Service("JCM")
    await service.rounds(3)

    await fall_and_rise(service, 5, "a", WRONG_PASSWORD)
    key = "ours/credentials/a"
    told = [said for said in service.alerts.told() if said.startswith(key)]
    assert told == [f"{key}: monitoring_fault", f"{key}: over"] * 2 + [f"{key}: monitoring_fault"]

    service.clock.time += FlappingPolicy().window
    await service.rounds(2)
    assert service.alerts.told()[-1] == f"{key}: over"


async def test_what_of_our_own_was_held_open_before_a_restart_is_held_open_after_it() -> None:
    service = Service("JCM")
    await service.rounds(3)
    key = "ours/credentials/a"
    service.start({key: IncidentType.MONITORING_FAULT})
    service.evaluator.restore_falls({key: [service.clock.time], "ours/credentials/gone": []}, {key}, {key})

    await service.rounds(3)
    assert service.alerts.told() == []
    service.clock.time += FlappingPolicy().window
    await service.rounds(2)
    assert service.alerts.told() == [f"{key}: over"]


async def test_one_agency_that_flaps_says_nothing_of_another() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    await fall_and_rise(service, 3)

    service.world.faults["JKT/utama"] = REFUSED
    await service.rounds(3)
    service.world.faults.clear()
    await service.rounds(2)
    assert service.alerts.told()[-2:] == ["JKT: both", "JKT: over"]


async def test_what_was_held_open_before_a_restart_is_held_open_after_it() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.start({"JCM": IncidentType.BOTH})
    service.evaluator.restore_falls({"JCM": [service.clock.time], "GONE": []}, {"JCM"}, {"JCM"})

    await service.rounds(3)
    assert service.alerts.told() == []
    service.clock.time += FlappingPolicy().window
    await service.rounds(2)
    assert service.alerts.told() == ["JCM: over"]


@pytest.mark.parametrize("language", Language)
def test_staff_are_told_that_it_comes_and_goes_in_words_that_arrive(language: Language) -> None:
    opened = open_incident(replace(trigger(), flapping=True), incident_id=1, number="NNNNN-99")
    told = build_facts(opened, Plan.ESCALATION, Purpose.OUTAGE, T0)
    longest = replace(told, office=replace(told.office, short="SEKTORAWAM1"))

    for response in ("", "99A"):
        text = compose_sms(longest, language, WORDING, response=response).text
        assert errors(lint(text, "SEKTORAWAM1")) == ()
        assert ("berulang kali" if language is Language.MALAY else "again and again") in text
        assert response in text
    blocks = compose_call(told, language, WORDING).scripts[0].blocks
    assert any("berulang kali" in block or "again and again" in block for block in blocks)


@pytest.mark.parametrize(("language", "last"), [(Language.MALAY, "terakhir"), (Language.ENGLISH, "last")])
def test_compose_sms_unsteady_outage_states_its_last_fall_and_no_beginning(language: Language, last: str) -> None:
    """It said "again and again since 2.15 pm", which is when mail failed for the third time."""
    opened = open_incident(replace(trigger(), flapping=True), incident_id=1, number="JCM-01")
    told = build_facts(opened, Plan.ESCALATION, Purpose.OUTAGE, T0)
    text = compose_sms(told, language, WORDING).text
    assert f"{last} {stamp(opened.began_at, language)}" in text
    assert not re.search("sejak|since", text)


def test_slowness_that_comes_and_goes_is_called_slowness() -> None:
    slow = open_incident(replace(trigger(IncidentType.DEGRADED), flapping=True), incident_id=1, number="JCM-01")

    assert not build_facts(slow, Plan.ESCALATION, Purpose.OUTAGE, T0).flapping
