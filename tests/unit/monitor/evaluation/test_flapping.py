"""Flapping: one incident that stays open and is notified once."""

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
from tests.unit.monitor.world import MINUTE, REFUSED, T0, WRONG_PASSWORD, Fault

POLICY = FlappingPolicy(threshold=3, window=timedelta(hours=1))


def after(*minutes: int, down: int = 5) -> Flapping:
    """Return flapping with falls at these minutes, each followed by a recovery after *down* minutes."""
    flapping = Flapping(POLICY)
    for minute in minutes:
        flapping.record_fall(T0 + minute * MINUTE)
        record_recovery_at(flapping, minute + down)
    return flapping


def record_recovery_at(flapping: Flapping, minute: int) -> int | None:
    """Record a recovery at a minute; return the minute until which it is unconfirmed."""
    now = T0 + minute * MINUTE
    until = flapping.record_recovery(now, now)
    return None if until is None else round((until - T0) / MINUTE)


@pytest.mark.parametrize(
    ("falls", "expected"),
    [
        ((0, 20), False),
        ((0, 20, 40), True),
        ((0, 30, 60), False),
        ((0, 50, 100), False),
        # Falls six hours ago do not count.
        ((0, 20, 400), False),
        # It flaps until it has been quiet for a window, not until the oldest fall is an hour old.
        ((0, 20, 40, 95), True),
        ((0, 20, 40, 105), False),
        # After the clock is set back, falls in the future do not count.
        ((100, 120, 10), False),
    ],
)
def test_is_flapping_counts_falls_within_window(falls: tuple[int, ...], *, expected: bool) -> None:
    flapping = after(*falls[:-1])
    flapping.record_fall(T0 + falls[-1] * MINUTE)
    assert flapping.is_flapping is expected


@pytest.mark.parametrize("asked_at", [46, 60, 99, 104])
def test_record_recovery_is_confirmed_one_window_after_last_recovery(asked_at: int) -> None:
    flapping = after(0, 20, 40)
    assert record_recovery_at(flapping, asked_at) == 105
    assert record_recovery_at(flapping, 105) is None
    assert not flapping.is_flapping


def test_record_recovery_another_fall_restarts_quiet_period() -> None:
    flapping = after(0, 20, 40, 95)
    assert record_recovery_at(flapping, 104) == 160


def test_record_recovery_up_since_before_last_fall_counts_from_fall() -> None:
    flapping = after(0, 20)
    flapping.record_fall(T0 + 40 * MINUTE)

    # Another route has always worked: "up since" is earlier than the fall.
    assert flapping.record_recovery(T0 + 30 * MINUTE, T0 + 45 * MINUTE) == T0 + 100 * MINUTE
    assert flapping.record_recovery(T0 + 30 * MINUTE, T0 + 99 * MINUTE) == T0 + 100 * MINUTE
    assert flapping.record_recovery(T0 + 30 * MINUTE, T0 + 100 * MINUTE) is None


def test_record_recovery_down_for_a_window_is_confirmed_at_once() -> None:
    assert record_recovery_at(after(0, 20, 40, down=5), 45) == 105
    flapping = after(0, 20)
    flapping.record_fall(T0 + 40 * MINUTE)
    assert flapping.is_flapping
    assert record_recovery_at(flapping, 100) is None


def test_record_recovery_clock_set_back_restarts_quiet_period() -> None:
    flapping = after(100, 120, 140)
    assert record_recovery_at(flapping, 30) == 90


def test_record_fall_while_down_counts_once() -> None:
    flapping = Flapping(POLICY)
    for minute in range(10):
        flapping.record_fall(T0 + minute * MINUTE)

    assert not flapping.is_flapping


def test_restore_falls_count() -> None:
    flapping = Flapping(POLICY)
    flapping.restore([T0, T0 + MINUTE], is_down=False)
    flapping.record_fall(T0 + 2 * MINUTE)

    assert flapping.is_flapping


def test_restore_keeps_quiet_period() -> None:
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


async def test_third_fall_stays_open_until_quiet() -> None:
    service = Service("JCM")
    await service.rounds(3)

    await fall_and_rise(service, 4)
    told = service.alerts.sent()
    assert told == ["JCM: both", "JCM: over", "JCM: both", "JCM: over", "JCM: both"]
    assert [e.flapping for e in service.alerts.events if isinstance(e, Trigger)] == [False, False, True]

    service.clock.time += FlappingPolicy().window
    await service.rounds(2)
    assert service.alerts.sent() == [*told, "JCM: over"]


async def test_monitoring_fault_flapping_stays_open_until_quiet() -> None:
    service = Service("JCM")
    await service.rounds(3)

    await fall_and_rise(service, 5, "a", WRONG_PASSWORD)
    key = "ours/credentials/a"
    told = [said for said in service.alerts.sent() if said.startswith(key)]
    assert told == [f"{key}: monitoring_fault", f"{key}: over"] * 2 + [f"{key}: monitoring_fault"]

    service.clock.time += FlappingPolicy().window
    await service.rounds(2)
    assert service.alerts.sent()[-1] == f"{key}: over"


async def test_monitoring_fault_flapping_stays_open_after_restart() -> None:
    service = Service("JCM")
    await service.rounds(3)
    key = "ours/credentials/a"
    service.start({key: IncidentType.MONITORING_FAULT})
    service.evaluator.restore_falls({key: [service.clock.time], "ours/credentials/gone": []}, {key}, {key})

    await service.rounds(3)
    assert service.alerts.sent() == []
    service.clock.time += FlappingPolicy().window
    await service.rounds(2)
    assert service.alerts.sent() == [f"{key}: over"]


async def test_flapping_is_counted_per_agency() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    await fall_and_rise(service, 3)

    service.world.faults["JKT/utama"] = REFUSED
    await service.rounds(3)
    service.world.faults.clear()
    await service.rounds(2)
    assert service.alerts.sent()[-2:] == ["JKT: both", "JKT: over"]


async def test_agency_flapping_stays_open_after_restart() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.start({"JCM": IncidentType.BOTH})
    service.evaluator.restore_falls({"JCM": [service.clock.time], "GONE": []}, {"JCM"}, {"JCM"})

    await service.rounds(3)
    assert service.alerts.sent() == []
    service.clock.time += FlappingPolicy().window
    await service.rounds(2)
    assert service.alerts.sent() == ["JCM: over"]


@pytest.mark.parametrize("language", Language)
def test_compose_flapping_outage_says_so_in_sms_and_call(language: Language) -> None:
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
def test_compose_sms_flapping_outage_gives_last_fall_and_no_start(language: Language, last: str) -> None:
    """The SMS said "again and again since 2.15 pm", the time of the third fall."""
    opened = open_incident(replace(trigger(), flapping=True), incident_id=1, number="JCM-01")
    told = build_facts(opened, Plan.ESCALATION, Purpose.OUTAGE, T0)
    text = compose_sms(told, language, WORDING).text
    assert f"{last} {stamp(opened.began_at, language)}" in text
    assert not re.search("sejak|since", text)


def test_build_facts_flapping_degradation_is_not_flapping() -> None:
    slow = open_incident(replace(trigger(IncidentType.DEGRADED), flapping=True), incident_id=1, number="JCM-01")

    assert not build_facts(slow, Plan.ESCALATION, Purpose.OUTAGE, T0).flapping
