"""Who comes on duty while an incident is open, and hears of it."""

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
from tests.unit.alerts.people import BRIEF, RAVI, SITI, attempt, tried, trigger, written

MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")
#: Siti has the duty of the 24th.
DAILY = Rota(
    name="JCM/harian", zone=MALAYSIA, layers=(Layer(people=(SITI, RAVI), starts_on=date(2026, 11, 24), shift_days=1),)
)
WORKDAYS = replace(DAILY, layers=(replace(DAILY.layers[0], days=Days.WORKDAYS),))
MEI = replace(RAVI, key="mei", name="Mei Contoh")
STEP = Step(after=timedelta(0), rotas=(DAILY.name,), channels=(Channel.SMS,))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MALAYSIA)


def of(
    opened: str = "2026-11-25 02:00",
    rota: Rota = DAILY,
    fallback: Contact | None = None,
    matter: IncidentType = IncidentType.BOTH,
) -> Incident:
    policy = EscalationPolicy(steps=(STEP,), rotas=(rota,), fallback=fallback)
    brief = replace(BRIEF, escalation=policy, announcement=AnnouncementPlan())
    return open_incident(trigger(matter, at(opened), brief), incident_id=1, number="JCM-01")


def told(of_it: Incident, person: Contact = SITI, when: datetime | None = None) -> Notification:
    step = escalate(of_it, (), of_it.opened_at)
    assert isinstance(step, StartStep)
    draft = replace(step.drafts[0], person=person.key)
    notice = tried(written(draft, 1, NotificationState.DELIVERED), attempt(AttemptState.DELIVERED))
    return replace(notice, created_at=when or of_it.opened_at)


def names(of_it: Incident, notices: Sequence[Notification], now: str, *overrides: Override) -> list[tuple[str, str]]:
    drafts = handover_notification(of_it, notices, at(now), overrides).drafts
    return [(draft.person, draft.facts.relieved) for draft in drafts]


def test_whoever_takes_the_duty_over_is_told_from_then_on() -> None:
    before = handover_notification(of(), [told(of())], at("2026-11-25 07:59"))
    assert (before.drafts, before.then) == ((), at("2026-11-25 08:00"))
    assert names(of(), [told(of())], "2026-11-25 08:00") == [("ravi", "Siti Contoh")]
    # A service that was down tells it late, and not for ever.
    assert names(of(), [told(of())], "2026-11-25 23:00") == [("ravi", "Siti Contoh")]
    long = of(rota=replace(DAILY, layers=(replace(DAILY.layers[0], shift_days=3),)))
    assert names(long, [told(long)], "2026-11-28 07:59") == [("ravi", "Siti Contoh")]
    assert names(long, [told(long)], "2026-11-28 08:01") == []


def test_a_duty_that_no_step_names_is_another_s_affair() -> None:
    policy = of().policy.escalation
    elsewhere = replace(DAILY, name="JCM/lain", layers=(replace(DAILY.layers[0], people=(SITI, MEI)),))
    both = replace(of(), policy=replace(of().policy, escalation=replace(policy, rotas=(DAILY, elsewhere))))
    assert names(both, [told(both)], "2026-11-25 08:00") == [("ravi", "Siti Contoh")]


def test_of_several_duties_it_is_looked_again_when_the_first_of_them_changes() -> None:
    late = replace(DAILY, name="JCM/malam", handover=time(20))
    step = replace(STEP, rotas=(late.name, DAILY.name))
    both = of()
    both = replace(both, policy=replace(both.policy, escalation=EscalationPolicy(steps=(step,), rotas=(late, DAILY))))
    found = [handover_notification(both, [], at(f"2026-11-25 {now}")).then for now in ("09:00", "21:00")]
    assert found == [at("2026-11-25 20:00"), at("2026-11-26 08:00")]


def test_nobody_is_told_who_knows_has_it_or_where_nothing_was_told_or_is_over() -> None:
    now = "2026-11-25 09:00"
    by_a_step = told(of(), RAVI, at("2026-11-25 08:30"))
    assert names(of(), [told(of()), by_a_step], now) == []
    # An office outside may be called as they are, what was withdrawn told them nothing, nor what went to another.
    for other in (
        replace(by_a_step, plan=Plan.ANNOUNCEMENT),
        replace(by_a_step, state=NotificationState.WITHDRAWN),
        replace(by_a_step, person="siti"),
    ):
        assert names(of(), [told(of()), other], now) == [("ravi", "Siti Contoh")]
    assert names(of(), [told(of()), told(of(), RAVI, at("2026-11-25 08:00"))], now) == []
    # In the night it was another's: now it is theirs to look after.
    assert names(of(), [told(of()), told(of(), RAVI, at("2026-11-25 03:00"))], now) == [("ravi", "Siti Contoh")]
    theirs = apply(of(), Acknowledge(incident_id=1, at=at("2026-11-25 03:00"), by="Ravi Contoh"))
    assert names(theirs, [told(of())], now) == []
    assert names(of(), [], now) == []
    over = apply(of(), Resolve(dedup_key="JCM", at=at(now), ended_at=at(now)))
    assert names(over, [told(of())], now) == []
    assert names(of("2026-11-25 08:01"), [told(of())], now) == []


def test_a_notice_that_reached_nobody_has_told_nobody() -> None:
    missed = replace(told(of()), state=NotificationState.FAILED, deliveries=())
    assert names(of(), [tried(missed, attempt(AttemptState.FAILED))], "2026-11-26 00:00") == []


def test_it_says_who_has_it_since_when_and_what_it_is_now() -> None:
    taken = apply(of(), Acknowledge(incident_id=1, at=at("2026-11-25 03:00"), by="Siti Contoh"))
    less = replace(taken, current_type=IncidentType.RECEIVING)
    (draft,) = handover_notification(less, [told(of())], at("2026-11-25 08:00")).drafts
    facts = draft.facts
    assert (facts.by, facts.last_response_at, facts.type) == (
        "Siti Contoh",
        at("2026-11-25 03:00"),
        IncidentType.RECEIVING,
    )
    assert facts.is_handover
    assert draft.expires_at > at("2026-11-25 08:00")
    # Who is not heard of any more has it no more, and when they last were is no news of whoever has it now.
    left = apply(taken, Expire(incident_id=1, at=at("2026-11-25 07:00")))
    (draft,) = handover_notification(left, [told(of())], at("2026-11-25 08:00")).drafts
    assert (draft.facts.by, draft.facts.last_response_at) == ("", None)
    assert [address.channel for address in draft.addresses] == [Channel.SMS, Channel.VOICE]


def test_an_override_is_a_handover_at_both_its_ends_and_brings_somebody_new() -> None:
    stands = Override(
        id=1,
        rota=DAILY.name,
        contact=MEI,
        starts_at=at("2026-11-25 04:00"),
        ends_at=at("2026-11-25 06:00"),
        by="Siti",
        made_at=at("2026-11-25 01:00"),
    )
    assert names(of(), [told(of())], "2026-11-25 05:00", stands) == [("mei", "Siti Contoh")]
    assert handover_notification(of(), [told(of())], at("2026-11-25 05:00"), [stands]).stand_ins == (MEI,)
    assert names(of(), [told(of())], "2026-11-25 06:30", stands) == [("siti", "Mei Contoh")]
    assert handover_notification(of(), [told(of())], at("2026-11-25 06:30"), [stands]).stand_ins == ()


@pytest.mark.parametrize(("fallback", "expected"), [(None, []), (MEI, [("mei", "Ravi Contoh")])])
def test_of_a_duty_that_nobody_has_the_fallback_hears(
    fallback: Contact | None, expected: list[tuple[str, str]]
) -> None:
    # Friday's duty ends on Saturday, and nobody has the weekend.
    weekend = of("2026-11-28 02:00", WORKDAYS, fallback)
    assert names(weekend, [told(weekend)], "2026-11-28 08:00") == expected
    # Whoever has it on Monday has it from nobody.
    [(person, relieved)] = names(of("2026-11-29 12:00", WORKDAYS), [told(of())], "2026-11-30 08:00")
    assert (person in {"siti", "ravi"}, relieved) == (True, "")


@given(minutes=st.lists(st.integers(1, 600), max_size=30))
def test_however_it_is_looked_at_each_who_comes_on_duty_hears_once(minutes: list[int]) -> None:
    started = of()
    notices, now = [told(started)], started.opened_at
    keys: list[str] = []
    for step in minutes:
        now += timedelta(minutes=step)
        for draft in handover_notification(started, notices, now).drafts:
            keys.append(draft.key)
            notices.append(replace(written(draft, len(notices) + 1), created_at=now))
        assert handover_notification(started, notices, now).drafts == ()
    assert len(set(keys)) == len(keys)
