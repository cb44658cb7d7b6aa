"""When and to whom an announcement is released, offered and made."""

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
    FAX,
    LETTER,
    MINISTRY,
    MINUTE,
    RAVI,
    SECOND,
    SITI,
    SMS_SITI,
    SNAPSHOT,
    T0,
    VOICE_SITI,
    attempt,
    incident,
    tried,
    written,
)

AUTOMATIC = replace(SNAPSHOT, announcement=replace(SNAPSHOT.announcement, automatic=True))
HOUR = timedelta(hours=1)


def sent_to_staff(snapshot: PolicySnapshot) -> list[Notification]:
    """Return the first notification to staff, in state SENT."""
    decision = escalate(incident(snapshot=snapshot), [], T0)
    assert isinstance(decision, StartStep)
    return [tried(written(draft), attempt(AttemptState.SENT)) for draft in decision.drafts]


@pytest.mark.parametrize("minutes", [29, 30, 10_000])
def test_announce_not_automatic_awaits_release_without_own_offers(minutes: int) -> None:
    assert announce(incident(), (), T0 + minutes * MINUTE) == AwaitRelease(at=None)


def test_announce_automatic_releases_after_delay() -> None:
    automatic = incident(snapshot=AUTOMATIC)

    assert announce(automatic, (), T0 + 29 * MINUTE) == NotBefore(T0 + 30 * MINUTE)
    assert announce(automatic, sent_to_staff(AUTOMATIC), T0 + 30 * MINUTE) == ReleaseNow()


def test_degraded_outage_is_neither_released_nor_offered_for_release() -> None:
    for snapshot in (SNAPSHOT, AUTOMATIC):
        slow = replace(incident(snapshot=snapshot), current_type=IncidentType.DEGRADED)
        assert announce(slow, sent_to_staff(snapshot), T0 + 99 * MINUTE) == NoRecipients()
        assert not release_is_offered(slow, T0 + 99 * MINUTE)
    less = replace(incident(), current_type=IncidentType.SENDING)
    assert release_is_offered(less, T0 + 99 * MINUTE)


def test_released_announcement_notifies_each_recipient_on_each_channel() -> None:
    released = apply(incident(), Release(incident_id=1, at=T0 + MINUTE, by="Siti Contoh"))

    decision = announce(released, (), T0 + MINUTE)

    assert isinstance(decision, Announce)
    assert [(d.person, d.addresses[0].channel) for d in decision.drafts] == [
        ("kementerian", "fax"),
        ("kementerian", "letter"),
    ]
    assert len({d.key for d in decision.drafts}) == 2


def test_acknowledged_incident_is_still_announced() -> None:
    released = apply(incident(), Release(incident_id=1, at=T0, by="Siti Contoh"))

    assert isinstance(announce(replace(released, state=IncidentState.ACKNOWLEDGED), (), T0), Announce)


@pytest.mark.parametrize("incident_type", [IncidentType.DEGRADED, IncidentType.MONITORING_FAULT])
def test_slowness_and_monitoring_fault_are_not_announced(incident_type: IncidentType) -> None:
    assert announce(incident(incident_type, snapshot=AUTOMATIC), (), T0 + 99 * MINUTE) == NoRecipients()


def test_automatic_release_waits_until_staff_notified() -> None:
    automatic = incident(snapshot=AUTOMATIC)

    assert announce(automatic, (), T0 + 29 * MINUTE) == NotBefore(T0 + 30 * MINUTE)
    assert announce(automatic, (), T0 + 99 * MINUTE) == AwaitStaffNotified()
    # These do not count: a notification about slowness, to an outside office, or about a handover.
    (left,) = sent_to_staff(AUTOMATIC)
    slow = replace(left, facts=replace(left.facts, type=IncidentType.DEGRADED))
    for other in (slow, replace(left, plan=Plan.ANNOUNCEMENT), replace(left, purpose=Purpose.UPDATE)):
        assert announce(automatic, [other], T0 + 99 * MINUTE) == AwaitStaffNotified()


def test_manual_release_does_not_wait_for_staff_notification() -> None:
    released = apply(incident(), Release(incident_id=1, at=T0, by="Siti Contoh"))

    assert isinstance(announce(released, (), T0), Announce)


def test_resolved_outage_is_not_announced() -> None:
    over = replace(incident(snapshot=AUTOMATIC), state=IncidentState.RESOLVED)

    assert announce(over, (), T0 + 99 * MINUTE) == NoRecipients()


# -- office hours ----------------------------------------------------------------------------------------------------

MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")
OFFICE_FAX = replace(FAX, hours=OfficeHours(calendar=Calendar(), zone=MALAYSIA))


@pytest.mark.parametrize(
    ("decided", "tried_until"),
    [
        # Twelve hours, as for any fax, then until the end of the following workday.
        ("2026-11-25 08:00", "2026-11-26 17:00"),
        ("2026-11-25 16:58", "2026-11-26 17:00"),
        # Released at night: the twelve hours begin when the office opens.
        ("2026-11-25 23:00", "2026-11-27 17:00"),
        # Released on Friday evening.
        ("2026-11-27 20:00", "2026-12-01 17:00"),
    ],
)
def test_fax_expiry_includes_working_time_of_office(decided: str, tried_until: str) -> None:
    at, until = (datetime.fromisoformat(text).replace(tzinfo=MALAYSIA) for text in (decided, tried_until))
    assert expiry(OFFICE_FAX, at) == until
    assert expiry(FAX, at) == at + timedelta(hours=12)


def test_call_and_sms_expire_after_two_hours_letter_after_week() -> None:
    assert [expiry(each, T0) - T0 for each in (SMS_SITI, VOICE_SITI, LETTER)] == [2 * HOUR, 2 * HOUR, 7 * 24 * HOUR]


# -- release offers --------------------------------------------------------------------------------------------------


def acknowledged(by: str = "Siti Contoh", snapshot: PolicySnapshot = SNAPSHOT, at: datetime = T0) -> Incident:
    return apply(incident(snapshot=snapshot), Acknowledge(incident_id=1, at=at, by=by))


def pending_release(waits: Incident, now: datetime, notices: Sequence[Notification] = ()) -> AwaitRelease:
    decision = announce(waits, notices, now)
    assert isinstance(decision, AwaitRelease)
    assert all(d.purpose is Purpose.RELEASE and d.facts.may_release for d in decision.drafts)
    assert {d.expires_at for d in decision.drafts} <= {decision.at}, "an offer ends with its turn"
    return decision


def people(decision: AwaitRelease) -> str:
    return " ".join(draft.person for draft in decision.drafts)


def test_release_offer_calls_assignee() -> None:
    (draft,) = pending_release(acknowledged(), T0 + 30 * MINUTE).drafts
    assert draft.key == "1/escalation/0.0.0/release/siti/2026-11-24T07:00:00+00:00"
    assert draft.addresses == (VOICE_SITI, SMS_SITI)


@pytest.mark.parametrize("round_", [0, 1, 2, 40])
def test_unacknowledged_outage_offers_release_in_its_own_calls(round_: int) -> None:
    waits = replace(incident(), position=Position(round=round_, step=1, since=T0))
    assert pending_release(waits, T0 + timedelta(hours=9)) == AwaitRelease(at=None)
    assert build_facts(waits, Plan.ESCALATION, Purpose.OUTAGE, T0 + timedelta(hours=9)).may_release


def test_no_release_offer_before_offer_time() -> None:
    assert pending_release(acknowledged(), T0 + 29 * MINUTE) == AwaitRelease(at=T0 + 30 * MINUTE)


@pytest.mark.parametrize(
    ("by", "step", "turns"),
    [
        ("Siti Contoh", 0, ["siti", "ravi", "siti", "ravi"]),
        ("ravi", 1, ["ravi", "siti", "ravi", "siti"]),
        # A console user without a known number.
        ("Puan NOC Contoh", 0, ["siti ravi"] * 4),
    ],
)
def test_pending_release_is_offered_to_assignee_then_step_by_step(by: str, step: int, turns: list[str]) -> None:
    waits = replace(acknowledged(by), position=Position(round=1, step=step, since=T0))
    found, keys = [], set[str]()
    for turn in range(4):
        decision = pending_release(waits, T0 + (30 + 15 * turn) * MINUTE)
        assert decision.at == T0 + (45 + 15 * turn) * MINUTE
        found.append(people(decision))
        keys |= {draft.key for draft in decision.drafts}
        again = pending_release(waits, decision.at - SECOND)
        assert [d.key for d in again.drafts] == [d.key for d in decision.drafts]
    assert found == turns
    assert len(keys) == sum(len(each.split()) for each in turns), "each turn asks anew"


@pytest.mark.parametrize(
    ("minutes", "ends"), [(30, 45), (44, 45), (89, 90), (90, 150), (149, 150), (150, 210), (30 + 48 * 60, 90 + 48 * 60)]
)
def test_release_offer_repeats_hourly_after_first_hour(minutes: int, ends: int) -> None:
    assert pending_release(acknowledged(), T0 + minutes * MINUTE).at == T0 + ends * MINUTE


def test_release_offers_of_staggered_outages_are_aligned() -> None:
    at = T0 + 47 * MINUTE
    ends = {pending_release(acknowledged(at=T0 + (30 + minute) * MINUTE), at).at for minute in range(1, 16)}
    assert ends == {T0 + 60 * MINUTE}


def test_release_offer_with_clock_set_back_waits() -> None:
    assert pending_release(acknowledged(at=T0 + 50 * MINUTE), T0 + 40 * MINUTE) == AwaitRelease(at=T0 + 50 * MINUTE)


@pytest.mark.parametrize(
    ("state", "again"), [(AttemptState.DELIVERED, False), (AttemptState.FAILED, True), (AttemptState.SENT, True)]
)
def test_release_offer_taken_in_first_hour_is_not_repeated_to_same_person(state: AttemptState, *, again: bool) -> None:
    (draft,) = pending_release(acknowledged(), T0 + 30 * MINUTE).drafts
    notice = tried(written(draft, state=NotificationState(state)), attempt(state))
    turns = [people(pending_release(acknowledged(), T0 + minutes * MINUTE, [notice])) for minutes in (45, 60, 75, 90)]
    assert turns == ["ravi", "siti" if again else "", "ravi", "siti"]


def test_outage_call_taken_does_not_count_as_release_offer() -> None:
    (draft,) = pending_release(acknowledged(), T0 + 30 * MINUTE).drafts
    of_it = replace(draft, facts=replace(draft.facts, purpose=Purpose.OUTAGE))
    notice = tried(written(of_it, state=NotificationState.DELIVERED), attempt(AttemptState.DELIVERED))
    assert people(pending_release(acknowledged(), T0 + 60 * MINUTE, [notice])) == "siti"


def test_sms_after_missed_call_does_not_count_as_taken_offer() -> None:
    (draft,) = pending_release(acknowledged(), T0 + 30 * MINUTE).drafts
    called = tried(written(draft, state=NotificationState.DELIVERED), attempt(AttemptState.FAILED))
    notice = tried(called, attempt(AttemptState.DELIVERED, n=2))
    assert people(pending_release(acknowledged(), T0 + 60 * MINUTE, [notice])) == "siti"


OFFICE_ONLY = replace(
    SNAPSHOT, announcement=AnnouncementPlan(recipients=(replace(MINISTRY, addresses=(OFFICE_FAX, LETTER)),))
)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MALAYSIA)


@pytest.mark.parametrize(
    ("now", "at", "who"),
    [
        # The outage began on Wednesday at 16.40 and was acknowledged at once. A letter counts in office hours only.
        ("2026-11-25 17:10", "2026-11-26 08:00", ""),
        ("2026-11-26 03:00", "2026-11-26 08:00", ""),
        ("2026-11-26 08:00", "2026-11-26 08:15", "siti"),
        ("2026-11-26 08:20", "2026-11-26 08:30", "ravi"),
        ("2026-11-26 09:00", "2026-11-26 10:00", "siti"),
        # Across the weekend.
        ("2026-11-27 16:30", "2026-11-27 17:00", "ravi"),
        ("2026-11-27 17:00", "2026-11-30 08:00", ""),
        ("2026-11-30 08:00", "2026-11-30 09:00", "ravi"),
    ],
)
def test_release_offer_waits_while_all_recipient_offices_are_closed(now: str, at: str, who: str) -> None:
    began_at = local("2026-11-25 16:40")
    waits = acknowledged(snapshot=OFFICE_ONLY, at=began_at)
    waits = replace(waits, since=began_at)
    decision = pending_release(waits, local(now))
    assert (decision.at, people(decision)) == (local(at), who)
    assert offers_start_at(waits) == local("2026-11-26 08:00")


def test_release_offer_with_one_always_open_recipient_is_made_at_any_hour() -> None:
    always = replace(OFFICE_ONLY.announcement.recipients[0], key="lain", addresses=(FAX,))
    plan = replace(OFFICE_ONLY.announcement, recipients=(*OFFICE_ONLY.announcement.recipients, always))
    waits = replace(acknowledged(snapshot=replace(SNAPSHOT, announcement=plan)), since=local("2026-11-25 16:40"))
    assert people(pending_release(waits, local("2026-11-25 17:10"))) == "siti"


def test_flapping_outage_release_is_offered_once_to_assignee_only() -> None:
    waits = replace(acknowledged(), flapping=True)
    assert [people(pending_release(waits, T0 + minutes * MINUTE)) for minutes in (30, 45, 60, 600)] == [
        "siti",
        "",
        "",
        "",
    ]
    assert people(pending_release(replace(waits, acknowledged_by="Puan NOC Contoh"), T0 + 30 * MINUTE)) == ""


def test_release_offer_to_override_contact_lists_stand_in() -> None:
    rota = Rota(name="JCM/bertugas", zone=MALAYSIA, layers=(Layer(people=(SITI,), starts_on=date(2026, 11, 24)),))
    step = Step(after=timedelta(0), rotas=(rota.name,), channels=(Channel.VOICE,))
    waits = acknowledged(
        "Puan NOC Contoh", replace(SNAPSHOT, escalation=EscalationPolicy(steps=(step,), rotas=(rota,)))
    )
    mei = replace(RAVI, key="mei")
    stands = Override(id=1, rota=rota.name, contact=mei, starts_at=T0, ends_at=T0 + HOUR, by="x", made_at=T0)
    decision = announce(waits, (), T0 + 30 * MINUTE, [stands])
    assert isinstance(decision, AwaitRelease)
    assert (people(decision), decision.stand_ins) == ("mei", (mei,))
    on_call = pending_release(waits, T0 + 30 * MINUTE)
    assert (people(on_call), on_call.stand_ins) == ("siti", ())


# -- staff before recipients -----------------------------------------------------------------------------------------


def pending_page(due: datetime = T0) -> Notification:
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
def test_wait_for_staff_ends_when_gateway_accepts_or_refuses_notification(
    states: Sequence[AttemptState], *, waits: bool
) -> None:
    (notice,) = sent_to_staff(SNAPSHOT)
    notice = replace(notice, deliveries=())
    notice = tried(notice, *(attempt(state) for state in states)) if states else notice
    assert must_wait_for_staff(pending_page(), [notice]) is waits
    # A settled notification is not waited for.
    for state in NotificationState:
        assert must_wait_for_staff(pending_page(), [replace(notice, state=state)]) is (
            waits and state is NotificationState.PENDING
        )


def test_wait_for_staff_ignores_later_and_unrelated_notifications() -> None:
    (notice,) = sent_to_staff(SNAPSHOT)
    pending = replace(notice, deliveries=())
    assert must_wait_for_staff(pending_page(), [pending])
    assert not must_wait_for_staff(pending_page(), [replace(pending, created_at=T0 + SECOND)])
    assert not must_wait_for_staff(pending_page(), [replace(pending, not_before=T0 + SECOND)])
    assert not must_wait_for_staff(pending_page(), [replace(pending_page(), id=8)])
    assert not must_wait_for_staff(pending, [replace(pending, id=8)])
    assert not must_wait_for_staff(tried(pending_page(), attempt(AttemptState.FAILED)), [pending])
