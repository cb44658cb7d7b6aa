"""Whom of the staff to tell next, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from alerts.delivery import Draft, Notice, NoticeState
from alerts.escalation import AtRest, Exhausted, StartStep, WaitUntil, escalate
from alerts.incident import Incident, IncidentState
from tests.unit.alerts.people import MINUTE, POLICY, T0, incident, written


def step(of: Incident, notices: list[Notice], minutes: float) -> StartStep:
    decision = escalate(of, notices, T0 + minutes * MINUTE)
    assert isinstance(decision, StartStep), decision
    return decision


def people(drafts: tuple[Draft, ...]) -> list[str]:
    return [f"{d.person} by {d.addresses[0].channel}" for d in drafts]


def test_the_first_step_starts_at_once() -> None:
    first = step(incident(), [], 0)

    assert people(first.drafts) == ["siti by sms"]


def test_an_unanswered_sms_becomes_a_call_after_its_wait() -> None:
    opened = incident()
    first = step(opened, [], 0)
    told = replace(opened, position=first.position)

    assert escalate(told, [], T0 + 4 * MINUTE) == WaitUntil(T0 + 5 * MINUTE)
    assert people(step(told, [], 5).drafts) == ["siti by voice", "ravi by voice"]


def test_rounds_repeat_after_their_wait_and_then_end() -> None:
    at = incident()
    seen = []
    for minutes in (0, 5, 20, 25):
        started = step(at, [], minutes)
        seen.append((started.position.round, started.position.step))
        at = replace(at, position=started.position)

    assert seen == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert escalate(at, [], T0 + timedelta(days=1)) == Exhausted()


def test_keys_differ_between_rounds_and_not_between_askings() -> None:
    at = incident()
    keys = []
    for minutes in (0, 5, 20, 25):
        started = step(at, [], minutes)
        assert [d.key for d in started.drafts] == [d.key for d in step(at, [], minutes).drafts]
        keys += [d.key for d in started.drafts]
        at = replace(at, position=started.position)

    assert len(set(keys)) == len(keys) == 6


def test_an_acknowledged_incident_escalates_no_further() -> None:
    acknowledged = replace(incident(), state=IncidentState.ACKNOWLEDGED)

    assert escalate(acknowledged, [], T0 + 5 * MINUTE) == AtRest()


def test_a_step_whose_contacts_all_failed_makes_way_at_once() -> None:
    opened = incident()
    first = step(opened, [], 0)
    told = replace(opened, position=first.position)
    failed = [written(d, state=NoticeState.FAILED) for d in first.drafts]

    assert people(step(told, failed, 1).drafts) == ["siti by voice", "ravi by voice"]


def test_a_step_waits_while_one_of_its_contacts_may_still_be_reached() -> None:
    opened = incident()
    second = replace(opened, position=replace(opened.position, step=1))
    drafts = step(replace(opened, position=step(opened, [], 0).position), [], 5).drafts
    one_failed = [written(drafts[0], 1, NoticeState.FAILED), written(drafts[1], 2, NoticeState.SENT)]

    assert isinstance(escalate(second, one_failed, T0 + 6 * MINUTE), WaitUntil)


def test_a_late_cycle_does_not_push_the_later_steps_back() -> None:
    late = step(incident(), [], 0.5)

    assert late.position.since == T0


def test_after_a_long_pause_the_missed_steps_do_not_all_fire_at_once() -> None:
    opened = incident()
    late = step(opened, [], 90)
    resumed = replace(opened, position=late.position)

    assert escalate(resumed, [], T0 + 90 * MINUTE) == WaitUntil(T0 + 95 * MINUTE)


def test_a_policy_without_steps_tells_nobody_and_does_not_fail() -> None:
    brief = replace(incident().brief, escalation=replace(POLICY, steps=()))

    assert escalate(incident(brief=brief), [], T0) == Exhausted()
