"""Escalation: who of the staff is notified next, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, time, timedelta
from itertools import pairwise
from unittest.mock import ANY
from zoneinfo import ZoneInfo

import pytest

from alerts.decide.auditor import MissedAction, audit_incident
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
from tests.unit.alerts.people import MINUTE, POLICY, RAVI, SITI, SNAPSHOT, T0, attempt, incident, tried, written

HOUR = timedelta(hours=1)
#: With repeats after the last round.
REPEATS = replace(POLICY, repeat_interval=HOUR)
REPEATING = replace(SNAPSHOT, escalation=REPEATS)


def step(of: Incident, notices: list[Notification], minutes: float) -> StartStep:
    decision = escalate(of, notices, T0 + minutes * MINUTE)
    assert isinstance(decision, StartStep), decision
    return decision


def people(drafts: tuple[NotificationDraft, ...]) -> list[str]:
    return [f"{d.person} by {d.addresses[0].channel}" for d in drafts]


def test_first_step_starts_at_once() -> None:
    first = step(incident(), [], 0)

    assert people(first.drafts) == ["siti by sms"]


def test_unanswered_sms_is_followed_by_call_after_wait() -> None:
    opened = incident()
    first = step(opened, [], 0)
    notified = replace(opened, position=first.position)

    assert escalate(notified, [], T0 + 4 * MINUTE) == WaitUntil(T0 + 5 * MINUTE)
    assert people(step(notified, [], 5).drafts) == ["siti by voice", "ravi by voice"]


def test_previous_assignee_is_notified_again_after_expiry_not_after_escalating() -> None:
    formerly_acknowledged = replace(incident(), previous_assignee=SITI.name, position=step(incident(), [], 0).position)

    assert people(step(formerly_acknowledged, [], 5).drafts) == ["siti by voice", "ravi by voice"]
    assert people(step(replace(formerly_acknowledged, escalated=True), [], 5).drafts) == ["ravi by voice"]


def positions(of: Incident, until: timedelta) -> list[tuple[float, int, int, list[str]]]:
    """Return each step that starts before *until* while nobody answers: minute, round, step, contacts."""
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


def test_escalation_after_last_round_repeats_by_call_every_interval() -> None:
    at = incident(snapshot=REPEATING)
    found = positions(at, timedelta(hours=5))

    siti, both = ["siti by sms"], ["siti by voice", "ravi by voice"]
    assert found[:4] == [(0, 0, 0, siti), (5, 0, 1, both), (20, 1, 0, siti), (25, 1, 1, both)]
    # One interval after the last round, then on a common quarter of an hour: repeats of several outages coincide.
    assert found[4:] == [(minutes, n, 0, ["siti by voice"]) for n, minutes in enumerate((85, 135, 195, 255), 2)]


@pytest.mark.parametrize(
    "interval", [timedelta(minutes=1), timedelta(minutes=5), timedelta(hours=3), timedelta(days=2)]
)
def test_escalation_repeats_are_never_further_apart_than_interval(interval: timedelta) -> None:
    policy = replace(REPEATS, repeat_interval=interval, rounds=1)
    at = [minutes for minutes, *_ in positions(incident(snapshot=replace(SNAPSHOT, escalation=policy)), 9 * interval)][
        1:
    ]

    waits = [(then - now) * MINUTE for now, then in pairwise(at)]
    assert waits[0] == interval
    assert all(interval * 0.75 <= wait <= interval for wait in waits[1:])
    assert set(waits[2:]) == {interval}


def test_slowness_repeats_daily_or_when_office_opens() -> None:
    slow = incident(IncidentType.DEGRADED, snapshot=REPEATING)
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


def test_repeats_of_outages_begun_within_minutes_coincide() -> None:
    times = set()
    for begun in range(0, 14, 3):
        opened = incident(snapshot=REPEATING)
        later = replace(opened, position=replace(opened.position, since=T0 + begun * MINUTE))
        times.add(max(minutes for minutes, *_ in positions(later, timedelta(hours=7))))
    assert len(times) <= 2


def test_office_opening_and_handover_notify_everyone_in_policy() -> None:
    # T0 is Tuesday, 14.15. The rota hands over at 8.00 every day; the office opens at 8.00 from Monday to Friday.
    hours = OfficeHours(calendar=Calendar(), zone=MALAYSIA, spans=((time(8, 30), time(13)), (time(14), time(17))))
    at = on_rotas(call(0, DUTY.name), call(5, contacts=(MEI,)))
    policy = replace(at.policy.escalation, rounds=1, office_hours=hours)
    found = positions(replace(at, policy=replace(at.policy, escalation=policy)), timedelta(hours=24))

    notified = {
        (T0 + minutes * MINUTE).astimezone(MALAYSIA).strftime("%H.%M"): people for minutes, _, _, people in found
    }
    everybody = ["ravi by voice", "mei by voice"]
    assert {at: who for at, who in notified.items() if "mei by voice" in who} == {
        "14.20": ["mei by voice"],
        "08.00": everybody,
        "08.30": everybody,
    }
    assert notified["03.15"] == ["siti by voice"]
    assert notified["09.30"] == ["ravi by voice"]
    assert "14.00" not in notified or notified["14.00"] == ["ravi by voice"], (
        "a pause at noon is no start of office hours"
    )


def test_repeat_of_policy_without_calls_is_sms() -> None:
    only = EscalationPolicy(steps=(Step(after=timedelta(0), contacts=(SITI,), channels=(Channel.SMS,)),), rounds=1)
    found = positions(incident(snapshot=replace(SNAPSHOT, escalation=only)), timedelta(hours=2))
    assert [who for *_, who in found] == [["siti by sms"]] * 3


def test_repeat_calls_once_then_sends_sms() -> None:
    last = replace(incident(snapshot=REPEATING), position=Position(round=2, step=0, since=T0))
    (draft,) = step(last, [], 60).drafts
    assert [(a.channel, a.once) for a in draft.addresses] == [(Channel.VOICE, True), (Channel.SMS, False)]


def test_repeat_with_nobody_on_call_uses_first_step_with_contact() -> None:
    at = on_rotas(call(0, DESERTED.name), call(5, DUTY.name))
    last = replace(at, position=Position(round=2, step=0, since=T0))
    repeat = step(last, [], 60)
    assert (people(repeat.drafts), repeat.empty_rotas, repeat.position.step) == (["siti by voice"], (DESERTED.name,), 1)
    assert step(replace(at, position=repeat.position), [], 120).position.step == 1


def test_last_step_with_failed_calls_waits_for_next_round() -> None:
    at = replace(incident(snapshot=REPEATING), position=Position(step=1, since=T0))
    drafts = step(replace(incident(snapshot=REPEATING), position=Position(step=0, since=T0)), [], 5).drafts
    failed = [written(draft, n, NotificationState.FAILED) for n, draft in enumerate(drafts)]

    assert escalate(at, failed, T0 + 4 * MINUTE) == WaitUntil(T0 + POLICY.repeat_after)


def test_policy_without_new_keys_has_defaults() -> None:
    policy = EscalationPolicy(steps=POLICY.steps)
    assert (policy.repeat_interval, policy.office_hours) == (timedelta(hours=1), None)


def test_max_quiet_period_is_longest_wait_of_policy() -> None:
    assert REPEATS.max_quiet_period == timedelta(hours=1)
    long = replace(REPEATS, steps=(*REPEATS.steps, replace(POLICY.steps[1], after=timedelta(hours=2))))
    assert long.max_quiet_period == timedelta(hours=2)


# -- after an expired or escalated acknowledgement -------------------------------------------------------------------

ONE_EACH = EscalationPolicy(
    steps=tuple(
        Step(after=n * MINUTE, contacts=(who,), channels=(Channel.VOICE,)) for n, who in ((0, SITI), (5, RAVI))
    ),
    rounds=2,
)


def formerly_acknowledged(
    by: str, number: int, round_: int = 0, *, escalated: bool, policy: EscalationPolicy = ONE_EACH
) -> Incident:
    """Return an incident at this position whose acknowledgement has expired or was escalated."""
    at = replace(
        incident(snapshot=replace(SNAPSHOT, escalation=policy)), position=Position(round=round_, step=number, since=T0)
    )
    taken = apply(at, Acknowledge(incident_id=1, at=T0 + MINUTE, by=by))
    event = Escalate(incident_id=1, at=T0 + HOUR, by=by) if escalated else Expire(incident_id=1, at=T0 + HOUR)
    return resume_escalation(apply(taken, event), T0 + HOUR)


@pytest.mark.parametrize("round_", [0, 1, 2, 40])
@pytest.mark.parametrize(("number", "notified"), [(0, "ravi by voice"), (1, "siti by voice"), (-1, "siti by voice")])
def test_acknowledgement_expired_starts_next_step_and_all_rounds_again(number: int, notified: str, round_: int) -> None:
    at = formerly_acknowledged("Siti Contoh", number, round_, escalated=False)
    begun = escalate(at, [], T0 + HOUR)
    assert isinstance(begun, StartStep)
    assert people(begun.drafts) == [notified]
    assert (begun.position.round, begun.position.since) == (0, T0 + HOUR), "all rounds are to come again"


def test_acknowledgement_expiring_repeatedly_never_ends_escalation() -> None:
    at, keys = formerly_acknowledged("Siti Contoh", 0, escalated=False), set()
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
@pytest.mark.parametrize(("by", "notified"), [("Siti Contoh", "ravi"), ("Ravi Contoh", "siti"), ("siti", "ravi")])
def test_escalated_incident_notifies_other_person_at_once(by: str, notified: str, number: int, round_: int) -> None:
    at = formerly_acknowledged(by, number, round_, escalated=True)
    begun = escalate(at, [], T0 + HOUR)
    assert isinstance(begun, StartStep)
    assert people(begun.drafts) == [f"{notified} by voice"]
    assert not has_no_next_person(at)
    assert not has_no_next_person(replace(at, position=begun.position))


def test_escalated_by_only_contact_repeats_after_interval() -> None:
    alone = replace(ONE_EACH, steps=ONE_EACH.steps[:1])
    at = formerly_acknowledged("Siti Contoh", 0, escalated=True, policy=alone)

    assert has_no_next_person(at)
    again = next_notification_at(at)
    assert T0 + HOUR + 45 * MINUTE <= again <= T0 + 2 * HOUR
    assert escalate(at, [], T0 + HOUR) == WaitUntil(again)
    begun = escalate(at, [], again)
    assert isinstance(begun, StartStep)
    assert people(begun.drafts) == ["siti by voice"]
    assert not has_no_next_person(replace(at, position=begun.position))


def test_escalated_by_person_outside_policy_starts_next_step() -> None:
    at = formerly_acknowledged("Puan NOC Contoh", 0, escalated=True)
    begun = escalate(at, [], T0 + HOUR)
    assert isinstance(begun, StartStep)
    assert people(begun.drafts) == ["ravi by voice"]


def test_escalated_incident_skips_escalating_person_until_everyone_is_notified() -> None:
    hours = OfficeHours(calendar=Calendar(), zone=MALAYSIA)
    at = formerly_acknowledged("Siti Contoh", 0, escalated=True, policy=replace(ONE_EACH, office_hours=hours))
    notified = [who for *_, who in positions(replace(at, position=replace(at.position, since=T0)), 24 * HOUR)]
    assert ["siti by voice", "ravi by voice"] in notified
    assert ["siti by voice"] not in notified[: notified.index(["siti by voice", "ravi by voice"])]


def test_notification_keys_differ_between_rounds_and_are_deterministic() -> None:
    at = incident()
    keys = []
    for minutes in (0, 5, 20, 25):
        started = step(at, [], minutes)
        assert [d.key for d in started.drafts] == [d.key for d in step(at, [], minutes).drafts]
        keys += [d.key for d in started.drafts]
        at = replace(at, position=started.position)

    assert len(set(keys)) == len(keys) == 6


def test_acknowledged_incident_stops_escalation() -> None:
    acknowledged = replace(incident(), state=IncidentState.ACKNOWLEDGED)

    assert escalate(acknowledged, [], T0 + 5 * MINUTE) == EscalationStopped()


def test_step_with_all_contacts_failed_starts_next_step_at_once() -> None:
    opened = incident()
    first = step(opened, [], 0)
    notified = replace(opened, position=first.position)
    failed = [written(d, state=NotificationState.FAILED) for d in first.drafts]

    # A reminder or a release offer does not notify about the outage.
    others = [replace(failed[0], id=9, purpose=purpose, state=NotificationState.SENT) for purpose in Purpose]
    for n in (failed, *([*failed, other] for other in others if other.purpose is not Purpose.OUTAGE)):
        assert people(step(notified, n, 1).drafts) == ["siti by voice", "ravi by voice"]


def test_delivered_earlier_step_does_not_delay_after_failed_step() -> None:
    third = replace(POLICY.steps[1], after=HOUR)
    opened = incident(snapshot=replace(SNAPSHOT, escalation=replace(POLICY, steps=(*POLICY.steps, third))))
    first = step(opened, [], 0)
    before = [written(d, n, NotificationState.DELIVERED) for n, d in enumerate(first.drafts, 1)]
    second = step(replace(opened, position=first.position), before, 5)
    notified = replace(opened, position=second.position)
    failed = [written(d, n, NotificationState.FAILED) for n, d in enumerate(second.drafts, 9)]

    assert not isinstance(escalate(notified, [*before, *failed], T0 + 6 * MINUTE), WaitUntil)


def test_step_waits_while_one_contact_may_be_reached() -> None:
    opened = incident()
    second = replace(opened, position=replace(opened.position, step=1))
    drafts = step(replace(opened, position=step(opened, [], 0).position), [], 5).drafts
    one_failed = [written(drafts[0], 1, NotificationState.FAILED), written(drafts[1], 2, NotificationState.SENT)]

    assert isinstance(escalate(second, one_failed, T0 + 6 * MINUTE), WaitUntil)


def test_late_cycle_does_not_delay_later_steps() -> None:
    late = step(incident(), [], 0.5)

    assert late.position.since == T0


def test_missed_steps_after_long_pause_do_not_start_together() -> None:
    opened = incident()
    late = step(opened, [], 90)
    resumed = replace(opened, position=late.position)

    assert escalate(resumed, [], T0 + 90 * MINUTE) == WaitUntil(T0 + 95 * MINUTE)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_step_withheld_by_silence_restarts_after_silence(number: int) -> None:
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


def test_silence_does_not_rewind_sent_or_acknowledged_step() -> None:
    first = step(incident(), [], 0)
    begun = replace(incident(), position=first.position)
    withheld = [written(draft, state=NotificationState.WITHDRAWN) for draft in first.drafts]

    assert rewind_escalation(begun, [], T0 + MINUTE) is begun
    acknowledged = replace(begun, state=IncidentState.ACKNOWLEDGED)
    assert rewind_escalation(acknowledged, withheld, T0 + MINUTE) is acknowledged


@pytest.mark.parametrize("plan", Plan)
@pytest.mark.parametrize("purpose", Purpose)
def test_cause_and_previous_assignee_are_stated_in_staff_outage_notification_only(plan: Plan, purpose: Purpose) -> None:
    taken = apply(
        incident(snapshot=replace(SNAPSHOT, cause=Cause.LOST)), Acknowledge(incident_id=1, at=T0, by="Siti Contoh")
    )
    formerly_acknowledged = apply(taken, Escalate(incident_id=1, at=T0 + MINUTE, by="Siti Contoh"))
    notified = build_facts(formerly_acknowledged, plan, purpose, T0 + MINUTE)
    expected = (Cause.LOST, "Siti Contoh", True, T0 + MINUTE), (None, "", False, None)
    is_staff_outage = (plan, purpose) == (Plan.ESCALATION, Purpose.OUTAGE)
    assert (notified.cause, notified.by, notified.escalated, notified.last_response_at) == expected[not is_staff_outage]
    fresh = build_facts(incident(), plan, purpose, T0)
    assert (fresh.by, fresh.escalated, fresh.last_response_at) == ("", False, None)


@pytest.mark.parametrize("incident_type", IncidentType)
def test_flapping_is_stated_for_outages_only(incident_type: IncidentType) -> None:
    flapping = replace(incident(incident_type), flapping=True)
    assert build_facts(flapping, Plan.ESCALATION, Purpose.OUTAGE, T0).flapping is (incident_type in OUTAGES)
    assert not build_facts(incident(incident_type), Plan.ESCALATION, Purpose.OUTAGE, T0).flapping


def test_policy_without_steps_stops_escalation() -> None:
    snapshot = replace(incident().policy, escalation=replace(POLICY, steps=()))

    assert escalate(incident(snapshot=snapshot), [], T0) == EscalationStopped()
    assert resume_escalation(incident(snapshot=snapshot), T0) == incident(snapshot=snapshot)


# -- who is on call --------------------------------------------------------------------------------------------------

MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")
#: T0 is Tuesday, 24 November 2026, 14.15 in Malaysia: Siti is on call.
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
    return incident(snapshot=replace(SNAPSHOT, escalation=policy))


def call(after: float, *rotas: str, contacts: tuple[Contact, ...] = ()) -> Step:
    return Step(after=after * MINUTE, contacts=contacts, rotas=rotas, channels=(Channel.VOICE,))


def test_step_notifies_person_on_call_at_its_start() -> None:
    at = on_rotas(call(0, DUTY.name), call(18 * 60, DUTY.name))

    today = step(at, [], 0)
    tomorrow = step(replace(at, position=today.position), [], 18 * 60)

    assert people(today.drafts) == ["siti by voice"]
    assert people(tomorrow.drafts) == ["ravi by voice"]
    assert (today.empty_rotas, tomorrow.empty_rotas) == ((), ())


def test_override_made_during_incident_affects_next_step_only() -> None:
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


def test_stand_in_unreachable_by_step_channels_is_notified_by_own_channels() -> None:
    at = on_rotas(replace(call(0, DUTY.name), channels=(Channel.SMS,)))
    stands = Override(id=1, rota=DUTY.name, contact=MEI, starts_at=T0, ends_at=T0 + MINUTE, by="x", made_at=T0)

    started = escalate(at, [], T0, [stands])

    assert isinstance(started, StartStep)
    assert people(started.drafts) == ["mei by voice"]


def test_contact_named_twice_is_notified_once() -> None:
    assert people(step(on_rotas(call(0, DUTY.name, contacts=(SITI,))), [], 0).drafts) == ["siti by voice"]


def test_fallback_is_notified_when_nobody_on_call() -> None:
    started = step(on_rotas(call(0, DESERTED.name, contacts=(SITI,)), fallback=MEI), [], 0)

    assert people(started.drafts) == ["siti by voice", "mei by voice"]
    assert started.empty_rotas == (DESERTED.name,)


def test_step_without_contacts_is_skipped_at_once_and_reported() -> None:
    at = on_rotas(call(0, DESERTED.name), call(5, DUTY.name))

    started = step(at, [], 0)

    assert people(started.drafts) == ["siti by voice"]
    assert (started.position.step, started.position.since) == (1, T0)
    assert started.empty_rotas == (DESERTED.name,)


def test_policy_with_only_empty_rotas_keeps_round_interval() -> None:
    at = on_rotas(call(0, DESERTED.name), call(5, DESERTED.name))
    seen = []
    for minutes in (0, 15):
        started = step(at, [], minutes)
        seen.append((started.position.round, started.drafts))
        at = replace(at, position=started.position)
        assert not isinstance(escalate(at, [], T0 + minutes * MINUTE), StartStep)

    assert seen == [(0, ()), (1, ())]


def test_rota_step_with_all_contacts_failed_starts_next_step_at_once() -> None:
    at = on_rotas(call(0, DUTY.name, DESERTED.name), call(30, contacts=(RAVI,)), fallback=MEI)
    first = step(at, [], 0)
    failed = [written(d, n, NotificationState.FAILED) for n, d in enumerate(first.drafts)]

    assert len(failed) == 2
    assert people(step(replace(at, position=first.position), failed, 1).drafts) == ["ravi by voice"]


def test_rota_missing_in_policy_snapshot_counts_as_empty() -> None:
    assert step(on_rotas(call(0, "JCM/lain"), fallback=MEI), [], 0).empty_rotas == ("JCM/lain",)


# -- redials ---------------------------------------------------------------------------------------------------------

WITH_REDIAL = replace(call(0, contacts=(SITI, RAVI)), redial=RedialPolicy(interval=2 * MINUTE, times=2))


def called(
    draft: NotificationDraft, number: int, minutes: float, state: NotificationState = NotificationState.DELIVERED
) -> Notification:
    """Return the notification of a call that ended *minutes* after T0."""
    over = AttemptState.DELIVERED if state is NotificationState.DELIVERED else AttemptState.FAILED
    error = None if state is NotificationState.DELIVERED else ErrorClass.TRANSIENT
    ended = replace(attempt(over, error=error), ended_at=T0 + minutes * MINUTE)
    return tried(written(draft, number, state), ended)


def test_call_without_keypress_is_redialled_while_step_runs() -> None:
    at = on_rotas(WITH_REDIAL, call(30, contacts=(MEI,)))
    first = step(at, [], 0)
    at = replace(at, position=first.position)
    siti, ravi = first.drafts
    notices = [called(siti, 1, 1), written(ravi, 2, NotificationState.SENT)]

    assert escalate(at, notices, T0 + 2 * MINUTE) == WaitUntil(T0 + 3 * MINUTE)
    again = escalate(at, notices, T0 + 3 * MINUTE)

    assert isinstance(again, Redial)
    assert people(again.drafts) == ["siti by voice"]
    assert again.next_at == T0 + 30 * MINUTE
    assert again.drafts[0].key not in {siti.key, ravi.key}
    assert again.drafts[0].key_suffix == "2", "by its number: a service of another version knows it"
    assert again.drafts[0].expires_at - again.drafts[0].facts.notified_at == siti.expires_at - T0 > timedelta(0)
    # The decision is deterministic, so that it is stored once; then the new call counts.
    assert escalate(at, notices, T0 + 4 * MINUTE) == replace(
        again, drafts=(replace(again.drafts[0], facts=ANY, expires_at=ANY),)
    )
    assert escalate(at, [*notices, written(again.drafts[0], 3)], T0 + 4 * MINUTE) == WaitUntil(T0 + 30 * MINUTE)


def test_redial_stops_after_configured_times() -> None:
    at = on_rotas(replace(WITH_REDIAL, contacts=(SITI,)), call(90, contacts=(MEI,)))
    first = step(at, [], 0)
    at, notices = replace(at, position=first.position), [called(first.drafts[0], 1, 1)]
    for number in (2, 3):
        again = escalate(at, notices, T0 + 10 * number * MINUTE)
        assert isinstance(again, Redial)
        notices.append(called(again.drafts[0], number, 10 * number + 1))

    assert len({n.key for n in notices}) == 3
    assert escalate(at, notices, T0 + 60 * MINUTE) == WaitUntil(T0 + 90 * MINUTE)


def test_redial_repeats_unanswered_call_not_invalid_number() -> None:
    at = on_rotas(WITH_REDIAL, call(30, contacts=(MEI,)))
    first = step(at, [], 0)
    siti, ravi = first.drafts
    wrong = replace(attempt(AttemptState.FAILED, error=ErrorClass.PERMANENT), ended_at=T0 + MINUTE)
    notices = [called(siti, 1, 1, NotificationState.FAILED), tried(written(ravi, 2, NotificationState.FAILED), wrong)]

    again = escalate(replace(at, position=first.position), notices, T0 + 5 * MINUTE)

    assert isinstance(again, Redial)
    assert people(again.drafts) == ["siti by voice"]


def test_redial_in_last_step_returns_next_repeat_time() -> None:
    at = on_rotas(WITH_REDIAL)
    last = replace(at, position=replace(at.position, step=0, round=1, since=T0))
    calls = [replace(called(draft, n, 1), round=1) for n, draft in enumerate(step(at, [], 0).drafts)]

    again = escalate(last, calls, T0 + 3 * MINUTE)

    assert isinstance(again, Redial)
    assert again.next_at == T0 + at.policy.escalation.repeat_interval


def test_redial_repeats_first_number_when_second_is_invalid() -> None:
    desk = Address(channel=Channel.VOICE, number="+60300000101")
    at = on_rotas(replace(WITH_REDIAL, contacts=(replace(SITI, addresses=(*SITI.addresses, desk)),)))
    first = step(at, [], 0)
    in_vain = replace(attempt(AttemptState.FAILED, error=ErrorClass.TRANSIENT), ended_at=T0 + MINUTE)
    wrong = replace(in_vain, error=ErrorClass.PERMANENT, ended_at=T0 + 2 * MINUTE)
    notice = tried(tried(written(first.drafts[0], 1, NotificationState.FAILED), in_vain), wrong)

    assert escalate(replace(at, position=first.position), [notice], T0 + 3 * MINUTE) == WaitUntil(T0 + 4 * MINUTE)


def test_step_with_all_redials_failed_starts_next_step_at_once() -> None:
    at = on_rotas(replace(WITH_REDIAL, contacts=(SITI,)), call(90, contacts=(MEI,)))
    first = step(at, [], 0)
    at, notices = replace(at, position=first.position), [called(first.drafts[0], 1, 1, NotificationState.FAILED)]
    for number in (2, 3):
        again = escalate(at, notices, T0 + 3 * number * MINUTE)
        assert isinstance(again, Redial), number
        notices.append(called(again.drafts[0], number, 3 * number + 1, NotificationState.FAILED))

    assert people(step(at, notices, 10).drafts) == ["mei by voice"]


def test_redial_address_is_dialled_once_per_notification() -> None:
    (again,) = step(
        on_rotas(replace(WITH_REDIAL, contacts=(SITI,), channels=(Channel.SMS, Channel.VOICE))), [], 0
    ).drafts
    (plain,) = step(on_rotas(call(0, contacts=(SITI,))), [], 0).drafts

    assert [(a.channel, a.once) for a in again.addresses] == [(Channel.SMS, False), (Channel.VOICE, True)]
    assert [a.once for a in plain.addresses] == [False]


def test_redial_repeats_call_without_fallback_sms() -> None:
    at = on_rotas(replace(WITH_REDIAL, contacts=(SITI,), channels=(Channel.VOICE, Channel.SMS)))
    first = step(at, [], 0)
    again = escalate(replace(at, position=first.position), [called(first.drafts[0], 1, 1)], T0 + 3 * MINUTE)
    assert isinstance(again, Redial)
    assert [a.channel for a in first.drafts[0].addresses] == [Channel.VOICE, Channel.SMS]
    assert [a.channel for a in again.drafts[0].addresses] == [Channel.VOICE]


def test_redial_waits_while_earlier_call_to_person_is_throttled() -> None:
    at = on_rotas(call(0, contacts=(SITI,)), replace(WITH_REDIAL, contacts=(SITI,)), call(30, contacts=(MEI,)))
    earlier = step(at, [], 0)
    throttled = written(earlier.drafts[0], 1)
    second = step(replace(at, position=earlier.position), [throttled], 0)
    at, notices = replace(at, position=second.position), [throttled, called(second.drafts[0], 2, 1)]

    assert escalate(at, notices, T0 + 10 * MINUTE) == WaitUntil(T0 + 30 * MINUTE)
    assert isinstance(escalate(at, notices[1:], T0 + 10 * MINUTE), Redial)


def test_delivered_sms_is_not_redialled() -> None:
    at = on_rotas(replace(WITH_REDIAL, channels=(Channel.SMS, Channel.VOICE)), call(30, contacts=(MEI,)))
    first = step(at, [], 0)

    notices = [called(draft, n, 1) for n, draft in enumerate(first.drafts)]

    assert escalate(replace(at, position=first.position), notices, T0 + 20 * MINUTE) == WaitUntil(T0 + 30 * MINUTE)


def test_redial_stops_after_acknowledgement() -> None:
    at = on_rotas(WITH_REDIAL)
    first = step(at, [], 0)
    acknowledged = replace(at, position=first.position, state=IncidentState.ACKNOWLEDGED)

    assert (
        escalate(acknowledged, [called(d, n, 1) for n, d in enumerate(first.drafts)], T0 + 20 * MINUTE)
        == EscalationStopped()
    )


def test_auditor_step_with_pending_redial_is_not_over() -> None:
    at = on_rotas(
        replace(WITH_REDIAL, contacts=(SITI,), redial=RedialPolicy(interval=20 * MINUTE, times=1)),
        call(90, contacts=(MEI,)),
    )
    first = step(at, [], 0)
    at, notices = replace(at, position=first.position), [called(first.drafts[0], 1, 1, NotificationState.FAILED)]
    gateways = {Channel.VOICE: ("first",)}

    assert audit_incident(at, notices, gateways, DeliveryPolicy(), T0 + 19 * MINUTE).overdue == ()
    # Without redials left the step is over, and the next step is overdue.
    exhausted = [*notices, called(replace(first.drafts[0], key_suffix="again"), 2, 2, NotificationState.FAILED)]
    (overdue,) = audit_incident(at, exhausted, gateways, DeliveryPolicy(), T0 + 19 * MINUTE).overdue
    assert overdue.action is MissedAction.STEP
