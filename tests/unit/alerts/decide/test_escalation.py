"""Whom of the staff to tell next, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, time, timedelta
from itertools import pairwise
from unittest.mock import ANY
from zoneinfo import ZoneInfo

import pytest

from alerts.decide.auditor import MissedAction, examine
from alerts.decide.escalation import (
    EscalationStopped,
    Redial,
    StartStep,
    WaitUntil,
    build_facts,
    escalate,
    has_no_next_person,
    next_notification_at,
    resume_escalation,
    rewind_escalation,
)
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.hours.calendar import Calendar
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.delivery import AttemptState, Notification, NotificationDraft, NotificationState
from alerts.model.event import Acknowledge, Escalate, Expire
from alerts.model.gateway import ErrorClass
from alerts.model.incident import OUTAGES, Incident, IncidentState, Position, apply
from alerts.model.notification import Cause, IncidentType, Language, Plan, Purpose
from alerts.model.oncall import Layer, Override, Rota
from alerts.model.policy_snapshot import EscalationPolicy, RedialPolicy, Step
from tests.unit.alerts.people import BRIEF, MINUTE, POLICY, RAVI, SITI, T0, attempt, incident, tried, written

HOUR = timedelta(hours=1)
#: With all that follows the last round.
REPEATS = replace(POLICY, repeat_interval=HOUR)
REPEATING = replace(BRIEF, escalation=REPEATS)


def step(of: Incident, notices: list[Notification], minutes: float) -> StartStep:
    decision = escalate(of, notices, T0 + minutes * MINUTE)
    assert isinstance(decision, StartStep), decision
    return decision


def people(drafts: tuple[NotificationDraft, ...]) -> list[str]:
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


def test_whoever_was_not_heard_of_any_more_is_told_again_and_whoever_has_handed_it_on_is_not() -> None:
    left = replace(incident(), previous_assignee=SITI.name, position=step(incident(), [], 0).position)

    assert people(step(left, [], 5).drafts) == ["siti by voice", "ravi by voice"]
    assert people(step(replace(left, escalated=True), [], 5).drafts) == ["ravi by voice"]


def positions(of: Incident, until: timedelta) -> list[tuple[float, int, int, list[str]]]:
    """Return what is started until then while nobody answers: after how many minutes, round, step, and whom it tells."""
    found, now = [], T0
    while True:
        match escalate(of, [], now):
            case StartStep(position=position, drafts=drafts):
                found.append(((now - T0) / MINUTE, position.round, position.step, people(drafts)))
                of = replace(of, position=position)
            case WaitUntil(at=at) if at <= T0 + until:
                assert at > now
                now = at
            case _:
                return found


def test_escalation_after_the_last_round_repeats_by_call_every_interval() -> None:
    at = incident(brief=REPEATING)
    found = positions(at, timedelta(hours=5))

    siti, both = ["siti by sms"], ["siti by voice", "ravi by voice"]
    assert found[:4] == [(0, 0, 0, siti), (5, 0, 1, both), (20, 1, 0, siti), (25, 1, 1, both)]
    # A whole interval after the last round, then at a quarter of an hour, T0 being one: outages that began apart come together.
    assert found[4:] == [(minutes, n, 0, ["siti by voice"]) for n, minutes in enumerate((85, 135, 195, 255), 2)]


@pytest.mark.parametrize(
    "interval", [timedelta(minutes=1), timedelta(minutes=5), timedelta(hours=3), timedelta(days=2)]
)
def test_escalation_repeats_are_never_further_apart_than_the_interval(interval: timedelta) -> None:
    policy = replace(REPEATS, repeat_interval=interval, rounds=1)
    at = [minutes for minutes, *_ in positions(incident(brief=replace(BRIEF, escalation=policy)), 9 * interval)][1:]

    waits = [(then - now) * MINUTE for now, then in pairwise(at)]
    assert waits[0] == interval
    assert all(interval * 0.75 <= wait <= interval for wait in waits[1:])
    assert set(waits[2:]) == {interval}


def test_escalation_of_slowness_repeats_once_a_day_and_when_the_office_opens() -> None:
    slow = incident(IncidentType.DEGRADED, brief=REPEATING)
    daily = [minutes for minutes, round_, *_ in positions(slow, 73 * HOUR) if round_ >= 2]
    assert [then - now for now, then in pairwise(daily)] == [24 * 60 - 10, 24 * 60]
    hours = OfficeHours(calendar=Calendar(), zone=MALAYSIA)
    opens = replace(REPEATING, escalation=replace(REPEATS, office_hours=hours))
    times = [
        T0 + minutes * MINUTE
        for minutes, round_, *_ in positions(replace(slow, policy=opens), 70 * HOUR)
        if round_ >= 2
    ]
    assert [f"{at.astimezone(MALAYSIA):%a %H.%M}" for at in times] == ["Wed 08.00", "Thu 08.00", "Fri 08.00"]


def test_escalation_repeats_of_outages_that_began_within_minutes_fall_together() -> None:
    times = set()
    for begun in range(0, 14, 3):
        opened = incident(brief=REPEATING)
        later = replace(opened, position=replace(opened.position, since=T0 + begun * MINUTE))
        times.add(max(minutes for minutes, *_ in positions(later, timedelta(hours=7))))
    assert len(times) <= 2


def test_escalation_office_opening_and_handover_tell_everybody_of_the_plan() -> None:
    # T0 is a Tuesday, 14.15. The rota is handed over at 8.00 each day, the office opens at 8.00 from Monday to Friday.
    hours = OfficeHours(calendar=Calendar(), zone=MALAYSIA, spans=((time(8, 30), time(13)), (time(14), time(17))))
    at = on_rotas(call(0, DUTY.name), call(5, contacts=(MEI,)))
    policy = replace(at.policy.escalation, rounds=1, office_hours=hours)
    found = positions(replace(at, policy=replace(at.policy, escalation=policy)), timedelta(hours=24))

    told = {(T0 + minutes * MINUTE).astimezone(MALAYSIA).strftime("%H.%M"): people for minutes, _, _, people in found}
    everybody = ["ravi by voice", "mei by voice"]
    assert {at: who for at, who in told.items() if "mei by voice" in who} == {
        "14.20": ["mei by voice"],
        "08.00": everybody,
        "08.30": everybody,
    }
    assert told["03.15"] == ["siti by voice"]
    assert told["09.30"] == ["ravi by voice"]
    assert "14.00" not in told or told["14.00"] == ["ravi by voice"], "a pause at noon is no start of office hours"


def test_escalation_repeat_of_a_plan_that_never_calls_is_an_sms() -> None:
    only = EscalationPolicy(steps=(Step(after=timedelta(0), contacts=(SITI,), channels=(Channel.SMS,)),), rounds=1)
    found = positions(incident(brief=replace(BRIEF, escalation=only)), timedelta(hours=2))
    assert [who for *_, who in found] == [["siti by sms"]] * 3


def test_escalation_repeat_is_rung_once_and_then_sent() -> None:
    last = replace(incident(brief=REPEATING), position=Position(round=2, step=0, since=T0))
    (draft,) = step(last, [], 60).drafts
    assert [(a.channel, a.once) for a in draft.addresses] == [(Channel.VOICE, True), (Channel.SMS, False)]


def test_escalation_repeat_with_nobody_on_call_tells_the_first_step_that_has_somebody() -> None:
    at = on_rotas(call(0, DESERTED.name), call(5, DUTY.name))
    last = replace(at, position=Position(round=2, step=0, since=T0))
    repeat = step(last, [], 60)
    assert (people(repeat.drafts), repeat.empty_rotas, repeat.position.step) == (["siti by voice"], (DESERTED.name,), 1)
    assert step(replace(at, position=repeat.position), [], 120).position.step == 1


def test_escalation_last_step_whose_calls_nobody_took_waits_for_the_next_round() -> None:
    at = replace(incident(brief=REPEATING), position=Position(step=1, since=T0))
    drafts = step(replace(incident(brief=REPEATING), position=Position(step=0, since=T0)), [], 5).drafts
    failed = [written(draft, n, NotificationState.FAILED) for n, draft in enumerate(drafts)]

    assert escalate(at, failed, T0 + 4 * MINUTE) == WaitUntil(T0 + POLICY.repeat_after)


def test_escalation_without_the_keys_of_this_version_has_their_defaults() -> None:
    policy = EscalationPolicy(steps=POLICY.steps)
    assert (policy.repeat_interval, policy.office_hours) == (timedelta(hours=1), None)


def test_policy_quiet_at_most_is_the_longest_of_its_waits() -> None:
    assert REPEATS.max_quiet_period == timedelta(hours=1)
    long = replace(REPEATS, steps=(*REPEATS.steps, replace(POLICY.steps[1], after=timedelta(hours=2))))
    assert long.max_quiet_period == timedelta(hours=2)


# -- nobody has it any more ------------------------------------------------------------------------------------------

IN_TURN = EscalationPolicy(
    steps=tuple(
        Step(after=n * MINUTE, contacts=(who,), channels=(Channel.VOICE,)) for n, who in ((0, SITI), (5, RAVI))
    ),
    rounds=2,
)


def left(by: str, number: int, round_: int = 0, *, handed_on: bool, policy: EscalationPolicy = IN_TURN) -> Incident:
    """Return an incident whose escalation has come so far, and which somebody had and has not any more."""
    at = replace(
        incident(brief=replace(BRIEF, escalation=policy)), position=Position(round=round_, step=number, since=T0)
    )
    taken = apply(at, Acknowledge(incident_id=1, at=T0 + MINUTE, by=by))
    event = Escalate(incident_id=1, at=T0 + HOUR, by=by) if handed_on else Expire(incident_id=1, at=T0 + HOUR)
    return resume_escalation(apply(taken, event), T0 + HOUR)


@pytest.mark.parametrize("round_", [0, 1, 2, 40])
@pytest.mark.parametrize(("number", "told"), [(0, "ravi by voice"), (1, "siti by voice"), (-1, "siti by voice")])
def test_escalation_acknowledgement_expired_starts_the_next_step_and_takes_none_away(
    number: int, told: str, round_: int
) -> None:
    at = left("Siti Contoh", number, round_, handed_on=False)
    begun = escalate(at, [], T0 + HOUR)
    assert isinstance(begun, StartStep)
    assert people(begun.drafts) == [told]
    assert (begun.position.round, begun.position.since) == (0, T0 + HOUR), "all rounds are to come again"


def test_escalation_acknowledgement_that_expires_again_and_again_never_ends() -> None:
    at, keys = left("Siti Contoh", 0, handed_on=False), set()
    for n in range(1, 50):
        begun = escalate(at, [], T0 + n * HOUR)
        assert isinstance(begun, StartStep)
        assert begun.drafts
        keys |= {draft.key for draft in begun.drafts}
        at = replace(at, position=begun.position)
        at = apply(at, Acknowledge(incident_id=1, at=T0 + n * HOUR + MINUTE, by="Siti Contoh"))
        at = apply(at, Expire(incident_id=1, at=T0 + (n + 1) * HOUR))
        at = resume_escalation(at, T0 + (n + 1) * HOUR)
    assert len(keys) == 49


@pytest.mark.parametrize("round_", [0, 1, 2, 40])
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(("by", "told"), [("Siti Contoh", "ravi"), ("Ravi Contoh", "siti"), ("siti", "ravi")])
def test_escalation_handed_on_tells_somebody_else_at_once(by: str, told: str, number: int, round_: int) -> None:
    at = left(by, number, round_, handed_on=True)
    begun = escalate(at, [], T0 + HOUR)
    assert isinstance(begun, StartStep)
    assert people(begun.drafts) == [f"{told} by voice"]
    assert not has_no_next_person(at)
    assert not has_no_next_person(replace(at, position=begun.position))


def test_escalation_handed_on_by_the_only_one_repeats_after_the_interval() -> None:
    alone = replace(IN_TURN, steps=IN_TURN.steps[:1])
    at = left("Siti Contoh", 0, handed_on=True, policy=alone)

    assert has_no_next_person(at)
    again = next_notification_at(at)
    assert T0 + HOUR + 45 * MINUTE <= again <= T0 + 2 * HOUR
    assert escalate(at, [], T0 + HOUR) == WaitUntil(again)
    begun = escalate(at, [], again)
    assert isinstance(begun, StartStep)
    assert people(begun.drafts) == ["siti by voice"]
    assert not has_no_next_person(replace(at, position=begun.position))


def test_escalation_handed_on_by_somebody_outside_the_plan_starts_the_next_step() -> None:
    at = left("Puan NOC Contoh", 0, handed_on=True)
    begun = escalate(at, [], T0 + HOUR)
    assert isinstance(begun, StartStep)
    assert people(begun.drafts) == ["ravi by voice"]


def test_escalation_handed_on_passes_over_whoever_handed_it_on_until_everybody_is_told() -> None:
    hours = OfficeHours(calendar=Calendar(), zone=MALAYSIA)
    at = left("Siti Contoh", 0, handed_on=True, policy=replace(IN_TURN, office_hours=hours))
    told = [who for *_, who in positions(replace(at, position=replace(at.position, since=T0)), 24 * HOUR)]
    assert ["siti by voice", "ravi by voice"] in told
    assert ["siti by voice"] not in told[: told.index(["siti by voice", "ravi by voice"])]


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

    assert escalate(acknowledged, [], T0 + 5 * MINUTE) == EscalationStopped()


def test_a_step_whose_contacts_all_failed_makes_way_at_once() -> None:
    opened = incident()
    first = step(opened, [], 0)
    told = replace(opened, position=first.position)
    failed = [written(d, state=NotificationState.FAILED) for d in first.drafts]

    # That somebody was reminded, or asked for the release, tells nobody of the outage.
    others = [replace(failed[0], id=9, purpose=purpose, state=NotificationState.SENT) for purpose in Purpose]
    for n in (failed, *([*failed, other] for other in others if other.purpose is not Purpose.OUTAGE)):
        assert people(step(told, n, 1).drafts) == ["siti by voice", "ravi by voice"]


def test_that_a_step_before_was_told_keeps_nobody_waiting() -> None:
    third = replace(POLICY.steps[1], after=HOUR)
    opened = incident(brief=replace(BRIEF, escalation=replace(POLICY, steps=(*POLICY.steps, third))))
    first = step(opened, [], 0)
    before = [written(d, n, NotificationState.DELIVERED) for n, d in enumerate(first.drafts, 1)]
    second = step(replace(opened, position=first.position), before, 5)
    told = replace(opened, position=second.position)
    failed = [written(d, n, NotificationState.FAILED) for n, d in enumerate(second.drafts, 9)]

    assert not isinstance(escalate(told, [*before, *failed], T0 + 6 * MINUTE), WaitUntil)


def test_a_step_waits_while_one_of_its_contacts_may_still_be_reached() -> None:
    opened = incident()
    second = replace(opened, position=replace(opened.position, step=1))
    drafts = step(replace(opened, position=step(opened, [], 0).position), [], 5).drafts
    one_failed = [written(drafts[0], 1, NotificationState.FAILED), written(drafts[1], 2, NotificationState.SENT)]

    assert isinstance(escalate(second, one_failed, T0 + 6 * MINUTE), WaitUntil)


def test_a_late_cycle_does_not_push_the_later_steps_back() -> None:
    late = step(incident(), [], 0.5)

    assert late.position.since == T0


def test_after_a_long_pause_the_missed_steps_do_not_all_fire_at_once() -> None:
    opened = incident()
    late = step(opened, [], 90)
    resumed = replace(opened, position=late.position)

    assert escalate(resumed, [], T0 + 90 * MINUTE) == WaitUntil(T0 + 95 * MINUTE)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_step_that_a_silence_withheld_begins_again_as_soon_as_it_may(number: int) -> None:
    begun, at = step(incident(), [], 0), incident()
    for _ in range(number):
        at = replace(at, position=begun.position)
        following = escalate(at, [], at.position.since)
        assert isinstance(following, WaitUntil)
        begun = step(at, [], (following.at - T0) / MINUTE)
    at = replace(at, position=begun.position)
    withheld = [written(draft, state=NotificationState.WITHDRAWN) for draft in begun.drafts]
    silent = T0 + timedelta(hours=2)

    after = rewind_escalation(at, withheld, silent)

    again = escalate(after, [], silent + timedelta(hours=1))
    assert isinstance(again, StartStep)
    assert people(again.drafts) == people(begun.drafts)
    assert (again.position.round, again.position.step) == (at.position.round, at.position.step)
    assert {draft.key for draft in again.drafts}.isdisjoint(draft.key for draft in begun.drafts)
    assert rewind_escalation(after, withheld, silent) is after, "once"


def test_a_silence_puts_nothing_back_that_left_or_was_taken_on() -> None:
    first = step(incident(), [], 0)
    begun = replace(incident(), position=first.position)
    withheld = [written(draft, state=NotificationState.WITHDRAWN) for draft in first.drafts]

    assert rewind_escalation(begun, [], T0 + MINUTE) is begun
    taken_on = replace(begun, state=IncidentState.ACKNOWLEDGED)
    assert rewind_escalation(taken_on, withheld, T0 + MINUTE) is taken_on


@pytest.mark.parametrize("plan", Plan)
@pytest.mark.parametrize("purpose", Purpose)
def test_why_it_fails_and_who_has_left_it_is_told_to_staff_who_are_to_take_it_on(plan: Plan, purpose: Purpose) -> None:
    taken = apply(incident(brief=replace(BRIEF, cause=Cause.LOST)), Acknowledge(incident_id=1, at=T0, by="Siti Contoh"))
    left = apply(taken, Escalate(incident_id=1, at=T0 + MINUTE, by="Siti Contoh"))
    told = build_facts(left, plan, purpose, T0 + MINUTE)
    expected = (Cause.LOST, "Siti Contoh", True, T0 + MINUTE), (None, "", False, None)
    asked = (plan, purpose) == (Plan.ESCALATION, Purpose.OUTAGE)
    assert (told.cause, told.by, told.escalated, told.last_response_at) == expected[not asked]
    fresh = build_facts(incident(), plan, purpose, T0)
    assert (fresh.by, fresh.escalated, fresh.last_response_at) == ("", False, None)


@pytest.mark.parametrize("matter", IncidentType)
def test_only_of_an_outage_it_is_said_that_it_comes_and_goes(matter: IncidentType) -> None:
    unsteady = replace(incident(matter), flapping=True)
    assert build_facts(unsteady, Plan.ESCALATION, Purpose.OUTAGE, T0).flapping is (matter in OUTAGES)
    assert not build_facts(incident(matter), Plan.ESCALATION, Purpose.OUTAGE, T0).flapping


def test_a_policy_without_steps_tells_nobody_and_does_not_fail() -> None:
    brief = replace(incident().policy, escalation=replace(POLICY, steps=()))

    assert escalate(incident(brief=brief), [], T0) == EscalationStopped()
    assert resume_escalation(incident(brief=brief), T0) == incident(brief=brief)


# -- who is on call --------------------------------------------------------------------------------------------------

MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")
#: T0 is Tuesday 24 November 2026, 14:15 in Malaysia: Siti's day.
DUTY = Rota(
    name="JCM/bertugas", zone=MALAYSIA, layers=(Layer(people=(SITI, RAVI), starts_on=date(2026, 11, 24), shift_days=1),)
)
DESERTED = replace(DUTY, name="JCM/kosong", layers=(replace(DUTY.layers[0], starts_on=date(2030, 1, 1)),))
MEI = Contact(
    key="mei",
    name="Mei Contoh",
    language=Language.ENGLISH,
    addresses=(Address(channel=Channel.VOICE, number="+60100000103"),),
)


def on_rotas(*steps: Step, rotas: tuple[Rota, ...] = (DUTY, DESERTED), fallback: Contact | None = None) -> Incident:
    policy = EscalationPolicy(steps=steps, rounds=2, rotas=rotas, fallback=fallback)
    return incident(brief=replace(BRIEF, escalation=policy))


def call(after: float, *rotas: str, contacts: tuple[Contact, ...] = ()) -> Step:
    return Step(after=after * MINUTE, contacts=contacts, rotas=rotas, channels=(Channel.VOICE,))


def test_a_step_tells_whoever_is_on_call_when_it_starts() -> None:
    at = on_rotas(call(0, DUTY.name), call(18 * 60, DUTY.name))

    today = step(at, [], 0)
    tomorrow = step(replace(at, position=today.position), [], 18 * 60)

    assert people(today.drafts) == ["siti by voice"]
    assert people(tomorrow.drafts) == ["ravi by voice"]
    assert (today.empty_rotas, tomorrow.empty_rotas) == ((), ())


def test_an_override_decides_and_one_made_later_changes_the_next_step_only() -> None:
    at = on_rotas(call(0, DUTY.name), call(5, DUTY.name))
    first = escalate(at, [], T0)
    assert isinstance(first, StartStep)
    stands = Override(
        id=1, rota=DUTY.name, contact=MEI, starts_at=T0, ends_at=T0 + 60 * MINUTE, by="x", made_at=T0 + 2 * MINUTE
    )

    second = escalate(replace(at, position=first.position), [], T0 + 5 * MINUTE, [stands])

    assert isinstance(second, StartStep)
    assert (people(first.drafts), people(second.drafts)) == (["siti by voice"], ["mei by voice"])
    assert (first.stand_ins, second.stand_ins) == ((), (MEI,))


def test_who_stands_in_is_told_by_what_they_have_when_the_steps_channels_do_not_reach_them() -> None:
    at = on_rotas(replace(call(0, DUTY.name), channels=(Channel.SMS,)))
    stands = Override(id=1, rota=DUTY.name, contact=MEI, starts_at=T0, ends_at=T0 + MINUTE, by="x", made_at=T0)

    started = escalate(at, [], T0, [stands])

    assert isinstance(started, StartStep)
    assert people(started.drafts) == ["mei by voice"]


def test_who_is_named_twice_is_told_once() -> None:
    assert people(step(on_rotas(call(0, DUTY.name, contacts=(SITI,))), [], 0).drafts) == ["siti by voice"]


def test_the_fallback_is_told_when_nobody_is_on_call() -> None:
    started = step(on_rotas(call(0, DESERTED.name, contacts=(SITI,)), fallback=MEI), [], 0)

    assert people(started.drafts) == ["siti by voice", "mei by voice"]
    assert started.empty_rotas == (DESERTED.name,)


def test_a_step_that_has_nobody_to_tell_makes_way_at_once_and_is_noted() -> None:
    at = on_rotas(call(0, DESERTED.name), call(5, DUTY.name))

    started = step(at, [], 0)

    assert people(started.drafts) == ["siti by voice"]
    assert (started.position.step, started.position.since) == (1, T0)
    assert started.empty_rotas == (DESERTED.name,)


def test_a_policy_whose_rotas_are_all_deserted_does_not_burn_its_rounds_in_a_moment() -> None:
    at = on_rotas(call(0, DESERTED.name), call(5, DESERTED.name))
    seen = []
    for minutes in (0, 15):
        started = step(at, [], minutes)
        seen.append((started.position.round, started.drafts))
        at = replace(at, position=started.position)
        assert not isinstance(escalate(at, [], T0 + minutes * MINUTE), StartStep)

    assert seen == [(0, ()), (1, ())]


def test_a_step_of_rotas_whose_people_all_failed_makes_way_at_once() -> None:
    at = on_rotas(call(0, DUTY.name, DESERTED.name), call(30, contacts=(RAVI,)), fallback=MEI)
    first = step(at, [], 0)
    failed = [written(d, n, NotificationState.FAILED) for n, d in enumerate(first.drafts)]

    assert len(failed) == 2
    assert people(step(replace(at, position=first.position), failed, 1).drafts) == ["ravi by voice"]


def test_a_rota_that_the_brief_does_not_know_counts_as_deserted() -> None:
    assert step(on_rotas(call(0, "JCM/lain"), fallback=MEI), [], 0).empty_rotas == ("JCM/lain",)


# -- calling again ---------------------------------------------------------------------------------------------------

AGAIN = replace(call(0, contacts=(SITI, RAVI)), redial=RedialPolicy(interval=2 * MINUTE, times=2))


def called(
    draft: NotificationDraft, number: int, minutes: float, state: NotificationState = NotificationState.DELIVERED
) -> Notification:
    """Return the notice of a call that ended so many minutes after T0."""
    over = AttemptState.DELIVERED if state is NotificationState.DELIVERED else AttemptState.FAILED
    error = None if state is NotificationState.DELIVERED else ErrorClass.TRANSIENT
    ended = replace(attempt(over, error=error), ended_at=T0 + minutes * MINUTE)
    return tried(written(draft, number, state), ended)


def test_a_call_that_ended_without_a_keypress_is_made_again_while_its_step_runs() -> None:
    at = on_rotas(AGAIN, call(30, contacts=(MEI,)))
    first = step(at, [], 0)
    at = replace(at, position=first.position)
    siti, ravi = first.drafts
    notices = [called(siti, 1, 1), written(ravi, 2, NotificationState.SENT)]

    assert escalate(at, notices, T0 + 2 * MINUTE) == WaitUntil(T0 + 3 * MINUTE)
    again = escalate(at, notices, T0 + 3 * MINUTE)

    assert isinstance(again, Redial)
    assert people(again.drafts) == ["siti by voice"]
    assert again.then == T0 + 30 * MINUTE
    assert again.drafts[0].key not in {siti.key, ravi.key}
    assert again.drafts[0].once == "2", "by its number: a service of another version knows it"
    assert again.drafts[0].expires_at - again.drafts[0].facts.notified_at == siti.expires_at - T0 > timedelta(0)
    # Decided twice, it is written once; and the new call goes on.
    assert escalate(at, notices, T0 + 4 * MINUTE) == replace(
        again, drafts=(replace(again.drafts[0], facts=ANY, expires_at=ANY),)
    )
    assert escalate(at, [*notices, written(again.drafts[0], 3)], T0 + 4 * MINUTE) == WaitUntil(T0 + 30 * MINUTE)


def test_it_is_made_again_as_often_as_was_said_and_no_more() -> None:
    at = on_rotas(replace(AGAIN, contacts=(SITI,)), call(90, contacts=(MEI,)))
    first = step(at, [], 0)
    at, notices = replace(at, position=first.position), [called(first.drafts[0], 1, 1)]
    for number in (2, 3):
        again = escalate(at, notices, T0 + 10 * number * MINUTE)
        assert isinstance(again, Redial)
        notices.append(called(again.drafts[0], number, 10 * number + 1))

    assert len({n.key for n in notices}) == 3
    assert escalate(at, notices, T0 + 60 * MINUTE) == WaitUntil(T0 + 90 * MINUTE)


def test_a_call_that_nobody_took_is_made_again_and_a_number_that_does_not_exist_is_not() -> None:
    at = on_rotas(AGAIN, call(30, contacts=(MEI,)))
    first = step(at, [], 0)
    siti, ravi = first.drafts
    wrong = replace(attempt(AttemptState.FAILED, error=ErrorClass.PERMANENT), ended_at=T0 + MINUTE)
    notices = [called(siti, 1, 1, NotificationState.FAILED), tried(written(ravi, 2, NotificationState.FAILED), wrong)]

    again = escalate(replace(at, position=first.position), notices, T0 + 5 * MINUTE)

    assert isinstance(again, Redial)
    assert people(again.drafts) == ["siti by voice"]


def test_a_call_of_the_very_last_step_is_made_again_and_something_is_due_after_it() -> None:
    at = on_rotas(AGAIN)
    last = replace(at, position=replace(at.position, step=0, round=1, since=T0))
    calls = [replace(called(draft, n, 1), round=1) for n, draft in enumerate(step(at, [], 0).drafts)]

    again = escalate(last, calls, T0 + 3 * MINUTE)

    assert isinstance(again, Redial)
    assert again.then == T0 + at.policy.escalation.repeat_interval


def test_a_second_number_that_does_not_exist_is_no_reason_not_to_ring_the_first_again() -> None:
    desk = Address(channel=Channel.VOICE, number="+60300000101")
    at = on_rotas(replace(AGAIN, contacts=(replace(SITI, addresses=(*SITI.addresses, desk)),)))
    first = step(at, [], 0)
    in_vain = replace(attempt(AttemptState.FAILED, error=ErrorClass.TRANSIENT), ended_at=T0 + MINUTE)
    wrong = replace(in_vain, error=ErrorClass.PERMANENT, ended_at=T0 + 2 * MINUTE)
    notice = tried(tried(written(first.drafts[0], 1, NotificationState.FAILED), in_vain), wrong)

    assert escalate(replace(at, position=first.position), [notice], T0 + 3 * MINUTE) == WaitUntil(T0 + 4 * MINUTE)


def test_a_step_that_has_called_in_vain_as_often_as_it_may_makes_way_at_once() -> None:
    at = on_rotas(replace(AGAIN, contacts=(SITI,)), call(90, contacts=(MEI,)))
    first = step(at, [], 0)
    at, notices = replace(at, position=first.position), [called(first.drafts[0], 1, 1, NotificationState.FAILED)]
    for number in (2, 3):
        again = escalate(at, notices, T0 + 3 * number * MINUTE)
        assert isinstance(again, Redial), number
        notices.append(called(again.drafts[0], number, 3 * number + 1, NotificationState.FAILED))

    assert people(step(at, notices, 10).drafts) == ["mei by voice"]


def test_a_number_that_is_called_again_is_rung_once_a_notice() -> None:
    (again,) = step(on_rotas(replace(AGAIN, contacts=(SITI,), channels=(Channel.SMS, Channel.VOICE))), [], 0).drafts
    (plain,) = step(on_rotas(call(0, contacts=(SITI,))), [], 0).drafts

    assert [(a.channel, a.once) for a in again.addresses] == [(Channel.SMS, False), (Channel.VOICE, True)]
    assert [a.once for a in plain.addresses] == [False]


def test_what_is_made_again_is_the_call_and_not_the_sms_that_went_after_it() -> None:
    at = on_rotas(replace(AGAIN, contacts=(SITI,), channels=(Channel.VOICE, Channel.SMS)))
    first = step(at, [], 0)
    again = escalate(replace(at, position=first.position), [called(first.drafts[0], 1, 1)], T0 + 3 * MINUTE)
    assert isinstance(again, Redial)
    assert [a.channel for a in first.drafts[0].addresses] == [Channel.VOICE, Channel.SMS]
    assert [a.channel for a in again.drafts[0].addresses] == [Channel.VOICE]


def test_nobody_is_called_again_while_an_earlier_call_to_them_is_held_back() -> None:
    at = on_rotas(call(0, contacts=(SITI,)), replace(AGAIN, contacts=(SITI,)), call(30, contacts=(MEI,)))
    earlier = step(at, [], 0)
    held = written(earlier.drafts[0], 1)
    second = step(replace(at, position=earlier.position), [held], 0)
    at, notices = replace(at, position=second.position), [held, called(second.drafts[0], 2, 1)]

    assert escalate(at, notices, T0 + 10 * MINUTE) == WaitUntil(T0 + 30 * MINUTE)
    assert isinstance(escalate(at, notices[1:], T0 + 10 * MINUTE), Redial)


def test_an_sms_that_arrived_is_not_sent_again() -> None:
    at = on_rotas(replace(AGAIN, channels=(Channel.SMS, Channel.VOICE)), call(30, contacts=(MEI,)))
    first = step(at, [], 0)

    notices = [called(draft, n, 1) for n, draft in enumerate(first.drafts)]

    assert escalate(replace(at, position=first.position), notices, T0 + 20 * MINUTE) == WaitUntil(T0 + 30 * MINUTE)


def test_nobody_is_called_again_once_somebody_has_acknowledged() -> None:
    at = on_rotas(AGAIN)
    first = step(at, [], 0)
    taken_on = replace(at, position=first.position, state=IncidentState.ACKNOWLEDGED)

    assert (
        escalate(taken_on, [called(d, n, 1) for n, d in enumerate(first.drafts)], T0 + 20 * MINUTE)
        == EscalationStopped()
    )


def test_the_auditor_does_not_take_a_step_that_is_to_call_again_for_one_that_is_over() -> None:
    at = on_rotas(
        replace(AGAIN, contacts=(SITI,), redial=RedialPolicy(interval=20 * MINUTE, times=1)), call(90, contacts=(MEI,))
    )
    first = step(at, [], 0)
    at, notices = replace(at, position=first.position), [called(first.drafts[0], 1, 1, NotificationState.FAILED)]
    lines = {Channel.VOICE: ("first",)}

    assert examine(at, notices, lines, DeliveryPolicy(), T0 + 19 * MINUTE).overdue == ()
    # With no call left it is over, and the next step is late.
    exhausted = [*notices, called(replace(first.drafts[0], once="again"), 2, 2, NotificationState.FAILED)]
    (overdue,) = examine(at, exhausted, lines, DeliveryPolicy(), T0 + 19 * MINUTE).overdue
    assert overdue.action is MissedAction.STEP
