"""Handover: notification of the person who comes on call during an incident."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.decide.escalation import StartStep, escalate
from alerts.decide.handover import handover_notification
from alerts.model.channel import Channel
from alerts.model.contact import Contact
from alerts.model.delivery import AttemptState, Notification, NotificationState
from alerts.model.event import Acknowledge, Expire, Resolve
from alerts.model.incident import Incident, apply, open_incident
from alerts.model.notification import IncidentType, Plan
from alerts.model.oncall import Days, Layer, Override, Rota
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, Step
from tests.unit.alerts.people import RAVI, SITI, SNAPSHOT, attempt, tried, trigger, written

MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")
#: Siti is on call on the 24th.
DAILY = Rota(
    name="JCM/harian", zone=MALAYSIA, layers=(Layer(people=(SITI, RAVI), starts_on=date(2026, 11, 24), shift_days=1),)
)
WORKDAYS = replace(DAILY, layers=(replace(DAILY.layers[0], days=Days.WORKDAYS),))
MEI = replace(RAVI, key="mei", name="Mei Contoh")
STEP = Step(after=timedelta(0), rotas=(DAILY.name,), channels=(Channel.SMS,))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MALAYSIA)


def triggered_incident(
    opened: str = "2026-11-25 02:00",
    rota: Rota = DAILY,
    fallback: Contact | None = None,
    incident_type: IncidentType = IncidentType.BOTH,
) -> Incident:
    policy = EscalationPolicy(steps=(STEP,), rotas=(rota,), fallback=fallback)
    snapshot = replace(SNAPSHOT, escalation=policy, announcement=AnnouncementPlan())
    return open_incident(trigger(incident_type, at(opened), snapshot), incident_id=1, number="JCM-01")


def notified(current: Incident, person: Contact = SITI, when: datetime | None = None) -> Notification:
    step = escalate(current, (), current.opened_at)
    assert isinstance(step, StartStep)
    draft = replace(step.drafts[0], person=person.key)
    notice = tried(written(draft, 1, NotificationState.DELIVERED), attempt(AttemptState.DELIVERED))
    return replace(notice, created_at=when or current.opened_at)


def names(current: Incident, notices: Sequence[Notification], now: str, *overrides: Override) -> list[tuple[str, str]]:
    drafts = handover_notification(current, notices, at(now), overrides).drafts
    return [(draft.person, draft.facts.relieved) for draft in drafts]


def test_handover_notifies_new_person_from_handover_on() -> None:
    before = handover_notification(triggered_incident(), [notified(triggered_incident())], at("2026-11-25 07:59"))
    assert (before.drafts, before.next_at) == ((), at("2026-11-25 08:00"))
    assert names(triggered_incident(), [notified(triggered_incident())], "2026-11-25 08:00") == [
        ("ravi", "Siti Contoh")
    ]
    # After a downtime the notification is late, but not sent for ever.
    assert names(triggered_incident(), [notified(triggered_incident())], "2026-11-25 23:00") == [
        ("ravi", "Siti Contoh")
    ]
    long = triggered_incident(rota=replace(DAILY, layers=(replace(DAILY.layers[0], shift_days=3),)))
    assert names(long, [notified(long)], "2026-11-28 07:59") == [("ravi", "Siti Contoh")]
    assert names(long, [notified(long)], "2026-11-28 08:01") == []


def test_handover_of_rota_not_in_steps_is_ignored() -> None:
    policy = triggered_incident().policy.escalation
    elsewhere = replace(DAILY, name="JCM/lain", layers=(replace(DAILY.layers[0], people=(SITI, MEI)),))
    both = replace(
        triggered_incident(),
        policy=replace(triggered_incident().policy, escalation=replace(policy, rotas=(DAILY, elsewhere))),
    )
    assert names(both, [notified(both)], "2026-11-25 08:00") == [("ravi", "Siti Contoh")]


def test_handover_with_several_rotas_returns_earliest_next_time() -> None:
    late = replace(DAILY, name="JCM/malam", handover=time(20))
    step = replace(STEP, rotas=(late.name, DAILY.name))
    both = triggered_incident()
    both = replace(both, policy=replace(both.policy, escalation=EscalationPolicy(steps=(step,), rotas=(late, DAILY))))
    found = [handover_notification(both, [], at(f"2026-11-25 {now}")).next_at for now in ("09:00", "21:00")]
    assert found == [at("2026-11-25 20:00"), at("2026-11-26 08:00")]


def test_handover_skips_informed_person_assignee_and_resolved_incident() -> None:
    now = "2026-11-25 09:00"
    by_a_step = notified(triggered_incident(), RAVI, at("2026-11-25 08:30"))
    assert names(triggered_incident(), [notified(triggered_incident()), by_a_step], now) == []
    # Do not count: an outside office of the same key, a withdrawn notification, one to another person.
    for other in (
        replace(by_a_step, plan=Plan.ANNOUNCEMENT),
        replace(by_a_step, state=NotificationState.WITHDRAWN),
        replace(by_a_step, person="siti"),
    ):
        assert names(triggered_incident(), [notified(triggered_incident()), other], now) == [("ravi", "Siti Contoh")]
    assert (
        names(
            triggered_incident(),
            [notified(triggered_incident()), notified(triggered_incident(), RAVI, at("2026-11-25 08:00"))],
            now,
        )
        == []
    )
    # A notification received before the shift does not replace the handover.
    assert names(
        triggered_incident(),
        [notified(triggered_incident()), notified(triggered_incident(), RAVI, at("2026-11-25 03:00"))],
        now,
    ) == [("ravi", "Siti Contoh")]
    acknowledged = apply(triggered_incident(), Acknowledge(incident_id=1, at=at("2026-11-25 03:00"), by="Ravi Contoh"))
    assert names(acknowledged, [notified(triggered_incident())], now) == []
    assert names(triggered_incident(), [], now) == []
    over = apply(triggered_incident(), Resolve(dedup_key="JCM", at=at(now), ended_at=at(now)))
    assert names(over, [notified(triggered_incident())], now) == []
    assert names(triggered_incident("2026-11-25 08:01"), [notified(triggered_incident())], now) == []


def test_handover_after_failed_notification_sends_nothing() -> None:
    missed = replace(notified(triggered_incident()), state=NotificationState.FAILED, deliveries=())
    assert names(triggered_incident(), [tried(missed, attempt(AttemptState.FAILED))], "2026-11-26 00:00") == []


def test_handover_states_assignee_last_response_and_current_type() -> None:
    taken = apply(triggered_incident(), Acknowledge(incident_id=1, at=at("2026-11-25 03:00"), by="Siti Contoh"))
    less = replace(taken, current_type=IncidentType.RECEIVING)
    (draft,) = handover_notification(less, [notified(triggered_incident())], at("2026-11-25 08:00")).drafts
    facts = draft.facts
    assert (facts.by, facts.last_response_at, facts.type) == (
        "Siti Contoh",
        at("2026-11-25 03:00"),
        IncidentType.RECEIVING,
    )
    assert facts.is_handover
    assert draft.expires_at > at("2026-11-25 08:00")
    # After an expired acknowledgement there is no assignee and no time of the last response.
    left = apply(taken, Expire(incident_id=1, at=at("2026-11-25 07:00")))
    (draft,) = handover_notification(left, [notified(triggered_incident())], at("2026-11-25 08:00")).drafts
    assert (draft.facts.by, draft.facts.last_response_at) == ("", None)
    assert [address.channel for address in draft.addresses] == [Channel.SMS, Channel.VOICE]


def test_override_is_handover_at_start_and_end_with_stand_in() -> None:
    stands = Override(
        id=1,
        rota=DAILY.name,
        contact=MEI,
        starts_at=at("2026-11-25 04:00"),
        ends_at=at("2026-11-25 06:00"),
        by="Siti",
        made_at=at("2026-11-25 01:00"),
    )
    assert names(triggered_incident(), [notified(triggered_incident())], "2026-11-25 05:00", stands) == [
        ("mei", "Siti Contoh")
    ]
    assert handover_notification(
        triggered_incident(), [notified(triggered_incident())], at("2026-11-25 05:00"), [stands]
    ).stand_ins == (MEI,)
    assert names(triggered_incident(), [notified(triggered_incident())], "2026-11-25 06:30", stands) == [
        ("siti", "Mei Contoh")
    ]
    assert (
        handover_notification(
            triggered_incident(), [notified(triggered_incident())], at("2026-11-25 06:30"), [stands]
        ).stand_ins
        == ()
    )


@pytest.mark.parametrize(("fallback", "expected"), [(None, []), (MEI, [("mei", "Ravi Contoh")])])
def test_handover_to_empty_rota_notifies_fallback(fallback: Contact | None, expected: list[tuple[str, str]]) -> None:
    # Friday's shift ends on Saturday; nobody is on call at the weekend.
    weekend = triggered_incident("2026-11-28 02:00", WORKDAYS, fallback)
    assert names(weekend, [notified(weekend)], "2026-11-28 08:00") == expected
    # On Monday there is nobody to relieve.
    [(person, relieved)] = names(
        triggered_incident("2026-11-29 12:00", WORKDAYS), [notified(triggered_incident())], "2026-11-30 08:00"
    )
    assert (person in {"siti", "ravi"}, relieved) == (True, "")


@given(minutes=st.lists(st.integers(1, 600), max_size=30))
def test_handover_notifies_each_person_once(minutes: list[int]) -> None:
    started = triggered_incident()
    notices, now = [notified(started)], started.opened_at
    keys: list[str] = []
    for step in minutes:
        now += timedelta(minutes=step)
        for draft in handover_notification(started, notices, now).drafts:
            keys.append(draft.key)
            notices.append(replace(written(draft, len(notices) + 1), created_at=now))
        assert handover_notification(started, notices, now).drafts == ()
    assert len(set(keys)) == len(keys)
