"""Whom outside to tell, and on whose word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from alerts.decide.announcement import (
    Announce,
    AwaitRelease,
    AwaitStaffNotified,
    NoRecipients,
    NotBefore,
    ReleaseNow,
    announce,
    expiry,
    must_wait_for_staff,
    offers_start_at,
)
from alerts.decide.escalation import StartStep, build_facts, escalate
from alerts.hours.calendar import Calendar
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.delivery import AttemptState, Notification, NotificationState
from alerts.model.event import Acknowledge, Release
from alerts.model.incident import Incident, IncidentState, Position, apply, release_is_offered
from alerts.model.notification import IncidentType, Plan, Purpose
from alerts.model.oncall import Layer, Override, Rota
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, Step
from tests.unit.alerts.people import (
    BRIEF,
    FAX,
    LETTER,
    MINISTRY,
    MINUTE,
    RAVI,
    SECOND,
    SITI,
    SMS_SITI,
    T0,
    VOICE_SITI,
    attempt,
    incident,
    tried,
    written,
)

AUTOMATIC = replace(BRIEF, announcement=replace(BRIEF.announcement, automatic=True))
HOUR = timedelta(hours=1)


def told(brief: PolicySnapshot) -> list[Notification]:
    """Return the first notice to staff, which has left."""
    decision = escalate(incident(brief=brief), [], T0)
    assert isinstance(decision, StartStep)
    return [tried(written(draft), attempt(AttemptState.SENT)) for draft in decision.drafts]


@pytest.mark.parametrize("minutes", [29, 30, 10_000])
def test_nothing_goes_out_by_itself_and_while_the_escalation_runs_its_calls_offer_the_release(minutes: int) -> None:
    assert announce(incident(), (), T0 + minutes * MINUTE) == AwaitRelease(at=None)


def test_an_agency_that_opted_in_is_released_at_the_same_time() -> None:
    automatic = incident(brief=AUTOMATIC)

    assert announce(automatic, (), T0 + 29 * MINUTE) == NotBefore(T0 + 30 * MINUTE)
    assert announce(automatic, told(AUTOMATIC), T0 + 30 * MINUTE) == ReleaseNow()


def test_what_is_only_slow_by_now_is_released_neither_by_itself_nor_on_an_offer() -> None:
    for brief in (BRIEF, AUTOMATIC):
        slow = replace(incident(brief=brief), current_type=IncidentType.DEGRADED)
        assert announce(slow, told(brief), T0 + 99 * MINUTE) == NoRecipients()
        assert not release_is_offered(slow, T0 + 99 * MINUTE)
    less = replace(incident(), current_type=IncidentType.SENDING)
    assert release_is_offered(less, T0 + 99 * MINUTE)


def test_once_released_each_recipient_is_told_on_each_of_their_channels() -> None:
    released = apply(incident(), Release(incident_id=1, at=T0 + MINUTE, by="Siti Contoh"))

    decision = announce(released, (), T0 + MINUTE)

    assert isinstance(decision, Announce)
    assert [(d.person, d.addresses[0].channel) for d in decision.drafts] == [
        ("kementerian", "fax"),
        ("kementerian", "letter"),
    ]
    assert len({d.key for d in decision.drafts}) == 2


def test_an_acknowledgement_does_not_stop_the_announcement() -> None:
    released = apply(incident(), Release(incident_id=1, at=T0, by="Siti Contoh"))

    assert isinstance(announce(replace(released, state=IncidentState.ACKNOWLEDGED), (), T0), Announce)


@pytest.mark.parametrize("matter", [IncidentType.DEGRADED, IncidentType.MONITORING_FAULT])
def test_nobody_outside_hears_of_slowness_or_of_our_own_faults(matter: IncidentType) -> None:
    assert announce(incident(matter, brief=AUTOMATIC), (), T0 + 99 * MINUTE) == NoRecipients()


def test_nothing_is_released_by_itself_before_staff_know() -> None:
    automatic = incident(brief=AUTOMATIC)

    assert announce(automatic, (), T0 + 29 * MINUTE) == NotBefore(T0 + 30 * MINUTE)
    assert announce(automatic, (), T0 + 99 * MINUTE) == AwaitStaffNotified()
    # Of the slowness that it began as they do; and an office may, or who came on duty then.
    (left,) = told(AUTOMATIC)
    slow = replace(left, facts=replace(left.facts, type=IncidentType.DEGRADED))
    for other in (slow, replace(left, plan=Plan.ANNOUNCEMENT), replace(left, purpose=Purpose.UPDATE)):
        assert announce(automatic, [other], T0 + 99 * MINUTE) == AwaitStaffNotified()


def test_a_person_who_releases_it_knows() -> None:
    released = apply(incident(), Release(incident_id=1, at=T0, by="Siti Contoh"))

    assert isinstance(announce(released, (), T0), Announce)


def test_an_outage_that_is_over_is_not_announced_any_more() -> None:
    over = replace(incident(brief=AUTOMATIC), state=IncidentState.RESOLVED)

    assert announce(over, (), T0 + 99 * MINUTE) == NoRecipients()


# -- office hours ----------------------------------------------------------------------------------------------------

MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")
OFFICE_FAX = replace(FAX, hours=OfficeHours(calendar=Calendar(), zone=MALAYSIA))


@pytest.mark.parametrize(
    ("decided", "tried_until"),
    [
        # Twelve hours, as for any fax, and then to the end of the working day that follows.
        ("2026-11-25 08:00", "2026-11-26 17:00"),
        ("2026-11-25 16:58", "2026-11-26 17:00"),
        # Released in the night: the twelve hours begin when the office opens.
        ("2026-11-25 23:00", "2026-11-27 17:00"),
        # On Friday evening.
        ("2026-11-27 20:00", "2026-12-01 17:00"),
    ],
)
def test_a_fax_that_waits_for_an_office_has_the_working_time_it_needs(decided: str, tried_until: str) -> None:
    at, until = (datetime.fromisoformat(text).replace(tzinfo=MALAYSIA) for text in (decided, tried_until))
    assert expiry(OFFICE_FAX, at) == until
    assert expiry(FAX, at) == at + timedelta(hours=12)


def test_a_call_or_an_sms_is_given_up_after_two_hours_and_a_letter_waits_a_week_for_its_clerk() -> None:
    assert [expiry(each, T0) - T0 for each in (SMS_SITI, VOICE_SITI, LETTER)] == [2 * HOUR, 2 * HOUR, 7 * 24 * HOUR]


# -- who is asked, and when ------------------------------------------------------------------------------------------


def taken_on(by: str = "Siti Contoh", brief: PolicySnapshot = BRIEF, at: datetime = T0) -> Incident:
    return apply(incident(brief=brief), Acknowledge(incident_id=1, at=at, by=by))


def asked(waits: Incident, now: datetime, notices: Sequence[Notification] = ()) -> AwaitRelease:
    decision = announce(waits, notices, now)
    assert isinstance(decision, AwaitRelease)
    assert all(d.purpose is Purpose.RELEASE and d.facts.may_release for d in decision.drafts)
    assert {d.expires_at for d in decision.drafts} <= {decision.at}, "an offer ends with its turn"
    return decision


def people(decision: AwaitRelease) -> str:
    return " ".join(draft.person for draft in decision.drafts)


def test_whoever_has_taken_it_on_is_called_about_the_release() -> None:
    (draft,) = asked(taken_on(), T0 + 30 * MINUTE).drafts
    assert draft.key == "1/escalation/0.0.0/release/siti/2026-11-24T07:00:00+00:00"
    assert draft.addresses == (VOICE_SITI, SMS_SITI)


@pytest.mark.parametrize("round_", [0, 1, 2, 40])
def test_announcement_that_waits_while_nobody_has_the_outage_is_offered_by_its_calls(round_: int) -> None:
    waits = replace(incident(), position=Position(round=round_, step=1, since=T0))
    assert asked(waits, T0 + timedelta(hours=9)) == AwaitRelease(at=None)
    assert build_facts(waits, Plan.ESCALATION, Purpose.OUTAGE, T0 + timedelta(hours=9)).may_release


def test_before_its_time_nobody_is_asked() -> None:
    assert asked(taken_on(), T0 + 29 * MINUTE) == AwaitRelease(at=T0 + 30 * MINUTE)


@pytest.mark.parametrize(
    ("by", "step", "turns"),
    [
        ("Siti Contoh", 0, ["siti", "ravi", "siti", "ravi"]),
        ("ravi", 1, ["ravi", "siti", "ravi", "siti"]),
        # Somebody at the console, whose number is not known.
        ("Puan NOC Contoh", 0, ["siti ravi"] * 4),
    ],
)
def test_a_release_that_waits_is_offered_to_who_has_it_and_then_step_by_step(
    by: str, step: int, turns: list[str]
) -> None:
    waits = replace(taken_on(by), position=Position(round=1, step=step, since=T0))
    found, keys = [], set[str]()
    for turn in range(4):
        decision = asked(waits, T0 + (30 + 15 * turn) * MINUTE)
        assert decision.at == T0 + (45 + 15 * turn) * MINUTE
        found.append(people(decision))
        keys |= {draft.key for draft in decision.drafts}
        again = asked(waits, decision.at - SECOND)
        assert [d.key for d in again.drafts] == [d.key for d in decision.drafts]
    assert found == turns
    assert len(keys) == sum(len(each.split()) for each in turns), "each turn asks anew"


@pytest.mark.parametrize(
    ("minutes", "ends"), [(30, 45), (44, 45), (89, 90), (90, 150), (149, 150), (150, 210), (30 + 48 * 60, 90 + 48 * 60)]
)
def test_after_an_hour_it_is_offered_once_an_hour(minutes: int, ends: int) -> None:
    assert asked(taken_on(), T0 + minutes * MINUTE).at == T0 + ends * MINUTE


def test_offers_of_outages_that_began_one_after_the_other_go_on_at_one_time() -> None:
    at = T0 + 47 * MINUTE
    ends = {asked(taken_on(at=T0 + (30 + minute) * MINUTE), at).at for minute in range(1, 16)}
    assert ends == {T0 + 60 * MINUTE}


def test_while_the_clock_is_behind_nobody_is_asked() -> None:
    assert asked(taken_on(at=T0 + 50 * MINUTE), T0 + 40 * MINUTE) == AwaitRelease(at=T0 + 50 * MINUTE)


@pytest.mark.parametrize(
    ("state", "again"), [(AttemptState.DELIVERED, False), (AttemptState.FAILED, True), (AttemptState.SENT, True)]
)
def test_in_the_first_hour_whoever_has_taken_such_a_call_is_not_called_again(
    state: AttemptState, *, again: bool
) -> None:
    (draft,) = asked(taken_on(), T0 + 30 * MINUTE).drafts
    notice = tried(written(draft, state=NotificationState(state)), attempt(state))
    turns = [people(asked(taken_on(), T0 + minutes * MINUTE, [notice])) for minutes in (45, 60, 75, 90)]
    assert turns == ["ravi", "siti" if again else "", "ravi", "siti"]


def test_whoever_took_the_call_about_the_outage_has_not_been_asked_for_the_release() -> None:
    (draft,) = asked(taken_on(), T0 + 30 * MINUTE).drafts
    of_it = replace(draft, facts=replace(draft.facts, purpose=Purpose.OUTAGE))
    notice = tried(written(of_it, state=NotificationState.DELIVERED), attempt(AttemptState.DELIVERED))
    assert people(asked(taken_on(), T0 + 60 * MINUTE, [notice])) == "siti"


def test_who_got_an_sms_because_no_call_was_taken_has_not_listened() -> None:
    (draft,) = asked(taken_on(), T0 + 30 * MINUTE).drafts
    called = tried(written(draft, state=NotificationState.DELIVERED), attempt(AttemptState.FAILED))
    notice = tried(called, attempt(AttemptState.DELIVERED, n=2))
    assert people(asked(taken_on(), T0 + 60 * MINUTE, [notice])) == "siti"


OFFICE_ONLY = replace(
    BRIEF, announcement=AnnouncementPlan(recipients=(replace(MINISTRY, addresses=(OFFICE_FAX, LETTER)),))
)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MALAYSIA)


@pytest.mark.parametrize(
    ("now", "at", "who"),
    [
        # It fell on Wednesday at 16.40, and was taken on at once. A letter is posted in working hours whenever it is laid.
        ("2026-11-25 17:10", "2026-11-26 08:00", ""),
        ("2026-11-26 03:00", "2026-11-26 08:00", ""),
        ("2026-11-26 08:00", "2026-11-26 08:15", "siti"),
        ("2026-11-26 08:20", "2026-11-26 08:30", "ravi"),
        ("2026-11-26 09:00", "2026-11-26 10:00", "siti"),
        # And through the weekend.
        ("2026-11-27 16:30", "2026-11-27 17:00", "ravi"),
        ("2026-11-27 17:00", "2026-11-30 08:00", ""),
        ("2026-11-30 08:00", "2026-11-30 09:00", "ravi"),
    ],
)
def test_nobody_is_rung_while_all_offices_outside_are_closed(now: str, at: str, who: str) -> None:
    fell = local("2026-11-25 16:40")
    waits = taken_on(brief=OFFICE_ONLY, at=fell)
    waits = replace(waits, since=fell)
    decision = asked(waits, local(now))
    assert (decision.at, people(decision)) == (local(at), who)
    assert offers_start_at(waits) == local("2026-11-26 08:00")


def test_where_one_office_can_always_be_told_it_is_offered_at_any_time() -> None:
    always = replace(OFFICE_ONLY.announcement.recipients[0], key="lain", addresses=(FAX,))
    plan = replace(OFFICE_ONLY.announcement, recipients=(*OFFICE_ONLY.announcement.recipients, always))
    waits = replace(taken_on(brief=replace(BRIEF, announcement=plan)), since=local("2026-11-25 16:40"))
    assert people(asked(waits, local("2026-11-25 17:10"))) == "siti"


def test_of_what_works_now_and_then_whoever_has_it_is_asked_once_and_nobody_else() -> None:
    waits = replace(taken_on(), flapping=True)
    assert [people(asked(waits, T0 + minutes * MINUTE)) for minutes in (30, 45, 60, 600)] == ["siti", "", "", ""]
    assert people(asked(replace(waits, acknowledged_by="Puan NOC Contoh"), T0 + 30 * MINUTE)) == ""


def test_whoever_is_asked_because_of_an_override_is_named_as_somebody_new() -> None:
    rota = Rota(name="JCM/bertugas", zone=MALAYSIA, layers=(Layer(people=(SITI,), starts_on=date(2026, 11, 24)),))
    step = Step(after=timedelta(0), rotas=(rota.name,), channels=(Channel.VOICE,))
    waits = taken_on("Puan NOC Contoh", replace(BRIEF, escalation=EscalationPolicy(steps=(step,), rotas=(rota,))))
    mei = replace(RAVI, key="mei")
    stands = Override(id=1, rota=rota.name, contact=mei, starts_at=T0, ends_at=T0 + HOUR, by="x", made_at=T0)
    decision = announce(waits, (), T0 + 30 * MINUTE, [stands])
    assert isinstance(decision, AwaitRelease)
    assert (people(decision), decision.stand_ins) == ("mei", (mei,))
    on_call = asked(waits, T0 + 30 * MINUTE)
    assert (people(on_call), on_call.stand_ins) == ("siti", ())


# -- staff first -----------------------------------------------------------------------------------------------------


def page(due: datetime = T0) -> Notification:
    decision = announce(replace(incident(), released_at=T0), [], T0)
    assert isinstance(decision, Announce)
    return replace(written(decision.drafts[0], 9), created_at=due)


@pytest.mark.parametrize(
    ("states", "waits"),
    [
        ((), True),
        ((AttemptState.CALLING,), True),
        ((AttemptState.UNKNOWN,), True),
        ((AttemptState.NOT_FOUND,), True),
        ((AttemptState.NEVER_SENT, AttemptState.CALLING), True),
        ((AttemptState.FAILED,), False),
        ((AttemptState.FAILED, AttemptState.CALLING), False),
        ((AttemptState.NOT_FOUND, AttemptState.ACCEPTED), False),
    ],
)
def test_waits_for_staff_until_a_gateway_took_or_refused_the_notice(
    states: Sequence[AttemptState], *, waits: bool
) -> None:
    (notice,) = told(BRIEF)
    notice = replace(notice, deliveries=())
    notice = tried(notice, *(attempt(state) for state in states)) if states else notice
    assert must_wait_for_staff(page(), [notice]) is waits
    # Nor for what came to its end.
    for state in NotificationState:
        assert must_wait_for_staff(page(), [replace(notice, state=state)]) is (
            waits and state is NotificationState.PENDING
        )


def test_waits_for_staff_of_a_notice_due_later_or_to_others_does_not() -> None:
    (notice,) = told(BRIEF)
    pending = replace(notice, deliveries=())
    assert must_wait_for_staff(page(), [pending])
    assert not must_wait_for_staff(page(), [replace(pending, created_at=T0 + SECOND)])
    assert not must_wait_for_staff(page(), [replace(pending, not_before=T0 + SECOND)])
    assert not must_wait_for_staff(page(), [replace(page(), id=8)])
    assert not must_wait_for_staff(pending, [replace(pending, id=8)])
    assert not must_wait_for_staff(tried(page(), attempt(AttemptState.FAILED)), [pending])
