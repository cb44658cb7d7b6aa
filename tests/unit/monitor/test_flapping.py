"""Mail that goes down and up again and again: one incident that stays open, told once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.escalation import facts
from alerts.event import Trigger
from alerts.incident import open_incident
from alerts.notice import Language, Matter, Plan, Purpose
from alerts.wording.call import compose as compose_call
from alerts.wording.lint import errors, lint
from alerts.wording.sms import compose as compose_sms
from monitor.judging.flapping import Flapping, FlappingPolicy
from tests.unit.alerts.people import trigger
from tests.unit.alerts.wording.situations import WORDING
from tests.unit.monitor.test_pipeline import Service
from tests.unit.monitor.trial import MINUTE, REFUSED, T0

POLICY = FlappingPolicy(falls=3, within=timedelta(hours=1))


def after(*minutes: int) -> Flapping:
    """Return what fell at these minutes, and rose each time."""
    flapping = Flapping(POLICY)
    for minute in minutes:
        flapping.fell(T0 + minute * MINUTE)
        flapping.rose()
    return flapping


@pytest.mark.parametrize(
    ("falls", "at", "unsteady"),
    [
        ((0, 20), 21, False),
        ((0, 20, 40), 41, True),
        ((0, 20, 40), 59, True),
        ((0, 20, 40), 60, False),
        ((0, 50, 100), 101, False),
        ((0, 20, 40, 60, 80), 99, True),
        # A clock that was set back knows nothing of what lies ahead.
        ((0, 20, 40), 10, False),
    ],
)
def test_so_many_falls_within_an_hour_are_not_believed_to_be_over(
    falls: tuple[int, ...], at: int, *, unsteady: bool
) -> None:
    assert after(*falls).is_unsteady(T0 + at * MINUTE) is unsteady


def test_what_is_still_down_has_fallen_once() -> None:
    flapping = Flapping(POLICY)
    for minute in range(10):
        flapping.fell(T0 + minute * MINUTE)

    assert not flapping.is_unsteady(T0 + 10 * MINUTE)


def test_what_fell_before_a_restart_counts() -> None:
    flapping = Flapping(POLICY)
    flapping.restore([T0, T0 + MINUTE], is_down=False)
    flapping.fell(T0 + 2 * MINUTE)

    assert flapping.is_unsteady(T0 + 3 * MINUTE)


async def fall_and_rise(service: Service, times: int) -> None:
    for _ in range(times):
        service.world.faults["JCM/utama"] = REFUSED
        await service.rounds(3)
        service.world.faults.clear()
        await service.rounds(2)


async def test_the_third_fall_stays_open_until_it_has_been_quiet() -> None:
    service = Service("JCM")
    await service.rounds(3)

    await fall_and_rise(service, 4)
    told = service.alerts.told()
    assert told == ["JCM: both", "JCM: over", "JCM: both", "JCM: over", "JCM: both"]
    assert [e.unsteady for e in service.alerts.heard if isinstance(e, Trigger)] == [False, False, True]

    service.clock.time += POLICY.within
    await service.rounds(2)
    assert service.alerts.told() == [*told, "JCM: over"]


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
    service.start({"JCM": Matter.BOTH})
    service.judge.restore_falls({"JCM": [service.clock.time] * POLICY.falls, "GONE": []}, {"JCM"})

    await service.rounds(3)
    assert service.alerts.told() == []
    service.clock.time += POLICY.within
    await service.rounds(2)
    assert service.alerts.told() == ["JCM: over"]


@pytest.mark.parametrize("language", Language)
def test_staff_are_told_that_it_comes_and_goes_in_words_that_arrive(language: Language) -> None:
    opened = open_incident(replace(trigger(), unsteady=True), incident_id=1, number="NNNNN-99")
    told = facts(opened, Plan.ESCALATION, Purpose.OUTAGE, T0)
    longest = replace(told, office=replace(told.office, short="SEKTORAWAM1"))

    for response in ("", "99A"):
        text = compose_sms(longest, language, WORDING, response=response).text
        assert errors(lint(text, "SEKTORAWAM1")) == ()
        assert ("berulang kali" if language is Language.MALAY else "again and again") in text
        assert response in text
    blocks = compose_call(told, language, WORDING).scripts[0].blocks
    assert any("berulang kali" in block or "again and again" in block for block in blocks)


def test_slowness_that_comes_and_goes_is_called_slowness() -> None:
    slow = open_incident(replace(trigger(Matter.DEGRADED), unsteady=True), incident_id=1, number="JCM-01")

    assert not facts(slow, Plan.ESCALATION, Purpose.OUTAGE, T0).unsteady
