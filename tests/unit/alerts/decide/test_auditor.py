"""The auditor finds what is overdue, and who could not be told; what waits on purpose is neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.decide.announcement import Announce, announce
from alerts.decide.auditor import (
    GRACE,
    RELEASE_DEADLINE,
    EscalationFailure,
    Examination,
    MissedAction,
    OverdueAction,
    examine,
    needs_noc_incident,
)
from alerts.decide.bundle import BUNDLE_INTERVAL
from alerts.decide.escalation import StartStep, WaitUntil, escalate, resume_escalation
from alerts.decide.followup import follow_up
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.decide.state_change import Notify, conclude
from alerts.hours.calendar import Calendar
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.delivery import AttemptState, Notification, NotificationState
from alerts.model.event import AUTOMATIC, Acknowledge, Escalate, Release, Resolve
from alerts.model.gateway import NO_KEY, ErrorClass
from alerts.model.incident import Incident, Position, apply
from alerts.model.notification import ABOUT_NOTIFICATIONS, IncidentType, Plan, Purpose
from alerts.model.policy_snapshot import AnnouncementPlan
from tests.unit.alerts.people import (
    BRIEF,
    FAX,
    MINISTRY,
    MINUTE,
    SECOND,
    T0,
    VOICE_SITI,
    attempt,
    incident,
    tried,
    written,
)

GATEWAYS = {channel: (str(channel),) for channel in Channel}
POLICY = DeliveryPolicy()


def examined(of: Incident, notices: Sequence[Notification], now: datetime, *, is_silenced: bool = False) -> Examination:
    return examine(of, notices, GATEWAYS, POLICY, now, is_silenced=is_silenced)


def lapses(of: Incident, notices: Sequence[Notification], now: datetime) -> list[tuple[MissedAction, datetime]]:
    return [(found.action, found.since) for found in examined(of, notices, now).overdue]


def begun(
    of: Incident, now: datetime, state: NotificationState = NotificationState.DELIVERED
) -> tuple[Incident, list[Notification]]:
    """Return the incident after the step that is due, with its notices in a state."""
    step = escalate(of, (), now)
    assert isinstance(step, StartStep)
    return replace(of, position=step.position), [written(d, n, state) for n, d in enumerate(step.drafts, 1)]


# -- steps -----------------------------------------------------------------------------------------------------------


def test_a_first_step_that_does_not_begin_is_overdue_after_the_grace() -> None:
    fresh = incident()
    assert lapses(fresh, (), T0 + GRACE) == []
    assert lapses(fresh, (), T0 + GRACE + SECOND) == [(MissedAction.STEP, T0)]


def test_a_later_step_is_overdue_from_its_own_due_time() -> None:
    told, notices = begun(incident(), T0)
    due = T0 + 5 * MINUTE
    assert escalate(told, notices, T0 + MINUTE) == WaitUntil(due)
    assert lapses(told, notices, due + GRACE) == []
    assert lapses(told, notices, due + GRACE + SECOND) == [(MissedAction.STEP, due)]


def test_that_one_of_a_step_could_not_be_told_brings_the_next_step_forward_for_nobody() -> None:
    told, [notice] = begun(incident(), T0)
    both = [replace(notice, state=NotificationState.FAILED), replace(notice, id=2, person="ravi")]
    assert lapses(told, both, T0 + GRACE + SECOND) == []


def test_a_second_round_that_does_not_begin_is_overdue() -> None:
    of = replace(incident(), position=Position(step=1, since=T0))
    _, notices = begun(incident(), T0)
    due = T0 + BRIEF.escalation.repeat_after
    assert lapses(of, notices, due + GRACE) == []
    assert lapses(of, notices, due + GRACE + SECOND) == [(MissedAction.STEP, due)]


def test_a_step_that_began_and_told_nobody_is_overdue_once_no_gathering_explains_it() -> None:
    of = replace(incident(), position=Position(step=0, since=T0))
    assert lapses(of, (), T0 + BUNDLE_INTERVAL + GRACE) == []
    assert lapses(of, (), T0 + BUNDLE_INTERVAL + GRACE + SECOND) == [(MissedAction.STEP, T0)]


def test_auditor_step_that_an_earlier_notice_told_once_a_brake_let_it_go_is_not_overdue() -> None:
    _, [first] = begun(incident(), T0, NotificationState.FAILED)
    before = replace(first, created_at=T0 - 30 * MINUTE)
    of = replace(incident(), position=Position(step=0, since=T0))
    late = T0 + BUNDLE_INTERVAL + GRACE + SECOND
    let_go = tried(before, replace(attempt(AttemptState.FAILED), started_at=T0 + 2 * MINUTE))
    is_silenced = replace(before, not_before=T0 + 2 * MINUTE, state=NotificationState.WITHDRAWN)
    for told in (let_go, is_silenced):
        assert lapses(of, [told], late) == []
    assert lapses(of, [before], late) == [(MissedAction.STEP, T0)]


@pytest.mark.parametrize("round_", [1, 2, 30])
def test_auditor_repeat_that_does_not_begin_is_overdue(round_: int) -> None:
    hourly = replace(BRIEF, escalation=replace(BRIEF.escalation, repeat_interval=timedelta(hours=1)))
    of = replace(incident(brief=hourly), position=Position(round=round_, step=1, since=T0))
    _, notices = begun(incident(), T0)
    due = T0 + timedelta(hours=1)
    assert lapses(of, notices, due + GRACE) == []
    assert lapses(of, notices, due + GRACE + SECOND) == [(MissedAction.STEP, due)]
    slow = replace(incident(IncidentType.DEGRADED, brief=hourly), position=of.position)
    assert lapses(slow, notices, T0 + timedelta(days=1) + GRACE) == []
    assert lapses(slow, notices, T0 + timedelta(days=1, seconds=1) + GRACE) == [
        (MissedAction.STEP, T0 + timedelta(days=1))
    ]


def test_auditor_incident_that_the_last_of_the_plan_has_handed_on_is_told_to_the_noc_and_not_overdue() -> None:
    alone = replace(BRIEF, escalation=replace(BRIEF.escalation, steps=BRIEF.escalation.steps[:1]))
    told, notices = begun(incident(brief=alone), T0)
    handed = Escalate(incident_id=1, at=T0 + 9 * MINUTE, by="Siti Contoh")
    of = resume_escalation(apply(told, handed), handed.at)
    late = handed.at + BUNDLE_INTERVAL + GRACE + SECOND
    assert examined(of, notices, late) == Examination(failed_since={EscalationFailure.NOBODY_ANSWERED: handed.at})


def test_when_everybody_of_a_step_failed_the_next_is_due_at_once() -> None:
    told, notices = begun(incident(), T0, NotificationState.FAILED)
    assert lapses(told, notices, T0 + GRACE) == []
    assert lapses(told, notices, T0 + GRACE + SECOND) == [(MissedAction.STEP, T0)]
    # From then on when the last of their calls ended; or began, where that is all that is known.
    for ended_at in (None, T0 + MINUTE):
        rang = replace(attempt(AttemptState.FAILED), ended_at=ended_at)
        since = ended_at or rang.started_at
        assert lapses(told, [tried(n, rang) for n in notices], since + GRACE) == []
        assert lapses(told, [tried(n, rang) for n in notices], since + GRACE + SECOND) == [(MissedAction.STEP, since)]


def test_what_was_acknowledged_or_is_over_has_no_step_due() -> None:
    later = T0 + timedelta(hours=5)
    for event in (Acknowledge(incident_id=1, at=T0, by="Siti"), Resolve(dedup_key="JCM", at=later, ended_at=later)):
        assert lapses(apply(incident(), event), (), later) == []


def test_an_acknowledgement_that_has_expired_and_is_not_gone_on_from_is_overdue() -> None:
    brief = replace(BRIEF, escalation=replace(BRIEF.escalation, acknowledgement_timeout=timedelta(hours=1)))
    taken = apply(incident(brief=brief), Acknowledge(incident_id=1, at=T0, by="Siti"))
    end = T0 + timedelta(hours=1)
    assert lapses(taken, (), end + GRACE) == []
    assert lapses(taken, (), end + GRACE + SECOND) == [(MissedAction.STEP, end)]
    # Whoever was reminded late has their time.
    late = replace(taken, reminded_at=end + GRACE)
    assert lapses(late, (), end + 10 * MINUTE + 2 * GRACE) == []
    assert lapses(late, (), end + 10 * MINUTE + 2 * GRACE + SECOND) == [(MissedAction.STEP, end + GRACE + 10 * MINUTE)]


def test_what_somebody_wants_quiet_is_not_overdue() -> None:
    assert examined(incident(), (), T0 + timedelta(hours=5), is_silenced=True) == Examination(is_silenced=True)
    assert not examined(incident(), (), T0 + timedelta(hours=5)).is_silenced


@given(st.integers(min_value=0, max_value=4 * 3600))
def test_a_cycle_that_is_never_late_is_never_overdue(seconds: int) -> None:
    """Whatever the decision of the engine: while it is followed in time, the auditor agrees with it."""
    of, notices = incident(), list[Notification]()
    now = T0
    for _ in range(20):
        match escalate(of, notices, now):
            case StartStep(position=position, drafts=drafts):
                of = replace(of, position=position)
                notices += [written(d, len(notices) + n, NotificationState.DELIVERED) for n, d in enumerate(drafts, 1)]
            case WaitUntil(at=at) if at <= T0 + timedelta(seconds=seconds):
                assert lapses(of, notices, at) == []
                now = at
            case _:
                break
    assert lapses(of, notices, T0 + timedelta(seconds=seconds)) == []


# -- notices ---------------------------------------------------------------------------------------------------------


def pending(*attempts_: tuple[AttemptState, timedelta]) -> tuple[Incident, Notification]:
    told, (notice, *_) = begun(incident(), T0, NotificationState.PENDING)
    if attempts_:
        made = [attempt(state, n, T0 + query_at) for n, (state, query_at) in enumerate(attempts_, 1)]
        notice = tried(notice, *(replace(each, error=ErrorClass.TRANSIENT) for each in made))
    return told, notice


def test_a_notice_that_no_gateway_is_called_for_is_overdue() -> None:
    told, notice = pending()
    assert lapses(told, [notice], T0 + GRACE) == []
    (found,) = examined(told, [notice], T0 + GRACE + SECOND).overdue
    assert (found.action, found.since, found.notification_id) == (MissedAction.NOTICE, T0, 1)


@pytest.mark.parametrize(
    "state", [AttemptState.CALLING, AttemptState.UNKNOWN, AttemptState.FAILED, AttemptState.NEVER_SENT]
)
def test_a_notice_that_is_to_be_looked_at_later_waits_and_one_that_nobody_looked_at_is_overdue(
    state: AttemptState,
) -> None:
    told, notice = pending((state, MINUTE))
    assert lapses(told, [notice], T0 + MINUTE + GRACE) == []
    assert lapses(told, [notice], T0 + MINUTE + GRACE + SECOND) == [(MissedAction.NOTICE, T0 + MINUTE)]


def test_a_notice_that_left_is_not_overdue_however_long_its_receipt_takes() -> None:
    told, notice = pending((AttemptState.ACCEPTED, MINUTE))
    assert lapses(told, [replace(notice, state=NotificationState.SENT)], T0 + 5 * MINUTE) == []


def test_a_notice_that_is_held_back_on_purpose_is_overdue_only_once_it_may_go() -> None:
    told, notice = pending()
    is_silenced = replace(notice, not_before=T0 + timedelta(hours=1))
    assert lapses(told, [is_silenced], T0 + timedelta(hours=1) + GRACE) == [(MissedAction.STEP, T0 + 5 * MINUTE)]
    later = T0 + timedelta(hours=1) + GRACE + SECOND
    assert (MissedAction.NOTICE, T0 + timedelta(hours=1)) in lapses(told, [is_silenced], later)


def test_a_notice_to_an_office_that_is_closed_waits() -> None:
    told, notices = begun(incident(), T0)
    released = apply(told, Release(incident_id=1, at=T0, by="Siti"))
    announcement = announce(released, (), T0)
    assert isinstance(announcement, Announce)
    # T0 is a Tuesday afternoon; it is night now, and the office opens at eight.
    night = T0 + timedelta(hours=9)
    hours = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))
    closed = replace(announcement.drafts[0].addresses[0], hours=hours)
    fax = written(replace(announcement.drafts[0], addresses=(closed,), expires_at=T0 + timedelta(days=2)), 9)
    fax = tried(replace(fax, created_at=night - timedelta(hours=1)))
    found = examined(apply(released, Acknowledge(incident_id=1, at=T0, by="Siti")), [*notices, fax], night)
    assert [action.action for action in found.overdue] == []
    opened = hours.opening(night) + GRACE - SECOND
    found = examined(apply(released, Acknowledge(incident_id=1, at=T0, by="Siti")), [*notices, fax], opened)
    assert [action.notification_id for action in found.overdue] == []
    morning = T0 + timedelta(hours=9 + 12)
    found = examined(apply(released, Acknowledge(incident_id=1, at=T0, by="Siti")), [*notices, fax], morning)
    assert [action.notification_id for action in found.overdue] == [9]


def test_what_waits_on_paper_until_an_older_store_is_confirmed_is_not_overdue_and_an_sms_is() -> None:
    told, sms = pending()
    fax = replace(sms, id=2, addresses=(FAX,))

    def overdue(*, is_paper_paused: bool) -> list[int | None]:
        late = T0 + GRACE + SECOND
        return [
            o.notification_id
            for o in examine(told, [sms, fax], GATEWAYS, POLICY, late, is_paper_paused=is_paper_paused).overdue
        ]

    assert (overdue(is_paper_paused=False), overdue(is_paper_paused=True)) == ([1, 2], [1])


def test_examine_notice_to_a_telephone_in_use_or_behind_one_to_staff_is_not_overdue() -> None:
    told, sms = pending()
    late = T0 + GRACE + SECOND
    call = replace(sms, id=2, addresses=(VOICE_SITI,))

    def overdue(*notices: Notification, busy_telephones: Address | None = None) -> list[int | None]:
        found = examine(
            told, notices, GATEWAYS, POLICY, late, busy_telephones=() if busy_telephones is None else (busy_telephones,)
        )
        return [o.notification_id for o in found.overdue if o.action is MissedAction.NOTICE]

    assert overdue(call) == [2]
    assert overdue(call, busy_telephones=VOICE_SITI) == []
    assert overdue(call, busy_telephones=replace(VOICE_SITI, extension="12")) == [2]
    fax = replace(sms, id=3, addresses=(FAX,), plan=Plan.ANNOUNCEMENT)
    assert overdue(fax) == [3]
    # Only what stands still, and not what waits for it.
    assert overdue(sms, fax) == [1]


def test_a_notice_of_several_incidents_is_overdue_once() -> None:
    told, notice = pending()
    late = T0 + GRACE + SECOND
    assert lapses(told, [replace(notice, leads=False)], late) == []
    assert len(lapses(told, [notice], late)) == 1


def test_a_step_that_adds_nothing_to_a_notice_which_still_waits_has_told_somebody() -> None:
    told, notice = pending()
    waits = replace(notice, not_before=T0 + timedelta(hours=2))
    at_second = replace(told, position=Position(step=1, since=T0 + 5 * MINUTE))
    now = T0 + 5 * MINUTE + BUNDLE_INTERVAL + GRACE + SECOND
    assert lapses(at_second, [waits], now) == []
    assert lapses(at_second, [replace(waits, state=NotificationState.FAILED)], now) == [
        (MissedAction.STEP, T0 + 5 * MINUTE)
    ]


# -- announcement and recovery ---------------------------------------------------------------------------------------


def test_an_announcement_that_was_released_and_is_not_made_is_overdue() -> None:
    told, notices = begun(incident(), T0)
    released = apply(told, Release(incident_id=1, at=T0 + MINUTE, by="Siti"))
    late = T0 + MINUTE + GRACE + SECOND
    assert lapses(released, notices, late) == [(MissedAction.ANNOUNCEMENT, T0 + MINUTE)]
    another = replace(MINISTRY, key="jabatan")
    two = replace(released, policy=replace(BRIEF, announcement=AnnouncementPlan(recipients=(MINISTRY, another))))
    announced = announce(two, (), T0 + MINUTE)
    assert isinstance(announced, Announce)
    to_one = [
        written(d, 5 + n, NotificationState.SENT) for n, d in enumerate(announced.drafts) if d.person == another.key
    ]
    assert lapses(two, [*notices, *to_one], late) == [(MissedAction.ANNOUNCEMENT, T0 + MINUTE)]
    namesakes = [replace(notice, person=MINISTRY.key) for notice in notices]
    assert lapses(released, namesakes, late) == [(MissedAction.ANNOUNCEMENT, T0 + MINUTE)]

    announcement = announce(released, (), T0 + MINUTE)
    assert isinstance(announcement, Announce)
    made = [written(d, 5 + n, NotificationState.SENT) for n, d in enumerate(announcement.drafts)]
    assert lapses(released, [*notices, *made], late) == []


def test_a_follow_up_that_is_due_and_not_made_is_overdue() -> None:
    hours = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))
    brief = replace(BRIEF, announcement=replace(BRIEF.announcement, updates=hours))
    told, notices = begun(incident(brief=brief), T0)
    released = apply(told, Release(incident_id=1, at=T0, by="Siti"))
    announcement = announce(released, (), T0)
    assert isinstance(announcement, Announce)
    made = [
        tried(written(d, 5 + n, NotificationState.DELIVERED), attempt(AttemptState.DELIVERED))
        for n, d in enumerate(announcement.drafts)
    ]
    # On Wednesday, at eight in the morning.
    due = datetime(2026, 11, 25, 0, 0, tzinfo=UTC)

    def found(now: datetime, *more: Notification) -> list[tuple[MissedAction, datetime]]:
        return [
            each for each in lapses(released, [*notices, *made, *more], now) if each[0] is MissedAction.ANNOUNCEMENT
        ]

    assert found(due + GRACE - SECOND) == []
    assert found(due + GRACE + SECOND) == [(MissedAction.ANNOUNCEMENT, due)]
    followed = [written(d, 9 + n) for n, d in enumerate(follow_up(released, made, due).drafts)]
    assert found(due + GRACE + SECOND, *followed) == []


def test_an_automatic_release_that_does_not_happen_is_overdue() -> None:
    automatic = replace(
        BRIEF, announcement=replace(BRIEF.announcement, automatic=True, release_offered_after=2 * MINUTE)
    )
    told, notices = begun(incident(brief=automatic), T0)
    due = T0 + 2 * MINUTE
    left = [tried(replace(n, state=NotificationState.DELIVERED), attempt(AttemptState.DELIVERED)) for n in notices]
    assert lapses(told, left, due + GRACE) == []
    assert lapses(told, left, due + GRACE + SECOND) == [(MissedAction.ANNOUNCEMENT, due)]
    # It waits for a notice to staff, and that is what is overdue then.
    assert MissedAction.ANNOUNCEMENT not in dict(lapses(told, notices, due + GRACE + SECOND))


def test_whoever_was_told_of_an_outage_and_not_of_its_end_is_owed_that() -> None:
    told, (notice, *_) = begun(incident(), T0)
    notice = tried(notice, attempt(AttemptState.DELIVERED))
    over = apply(told, Resolve(dedup_key="JCM", at=T0 + MINUTE, ended_at=T0 + MINUTE))
    late = T0 + MINUTE + BUNDLE_INTERVAL + GRACE + SECOND
    assert lapses(over, [notice], late - SECOND) == []
    assert lapses(over, [notice], late) == [(MissedAction.RECOVERY, T0 + MINUTE)]
    assert lapses(over, [replace(notice, purpose=Purpose.RELEASE)], late) == [], "who was asked for the release only"

    (recovery,) = [c for c in conclude(over, [notice], late) if isinstance(c, Notify)]
    assert lapses(over, [notice, written(recovery.draft, 9, NotificationState.SENT)], late) == []
    # What was taken back before it left told nobody, and a call that ended without a key did, though none followed it.
    withdrawn = replace(notice, state=NotificationState.WITHDRAWN, deliveries=())
    assert lapses(over, [tried(withdrawn, attempt(AttemptState.WITHDRAWN))], late) == []
    rang = tried(withdrawn, replace(attempt(AttemptState.FAILED), code=NO_KEY))
    assert lapses(over, [rang], late) == [(MissedAction.RECOVERY, T0 + MINUTE)]
    assert [type(c) for c in conclude(over, [rang], late)] == [Notify]


def test_an_office_that_is_told_of_the_end_by_fax_is_still_owed_the_letter() -> None:
    released = apply(incident(), Release(incident_id=1, at=T0, by="Siti"))
    announcement = announce(released, (), T0)
    assert isinstance(announcement, Announce)
    made = [written(d, n, NotificationState.SENT) for n, d in enumerate(announcement.drafts)]
    made = [tried(notice, attempt(AttemptState.SENT)) for notice in made]
    over = apply(released, Resolve(dedup_key="JCM", at=T0 + MINUTE, ended_at=T0 + MINUTE))
    late = T0 + MINUTE + BUNDLE_INTERVAL + GRACE + SECOND
    fax, letter = [written(c.draft, 9) for c in conclude(over, made, late) if isinstance(c, Notify)]

    assert [action for action, _ in lapses(over, [*made, fax], late) if action is MissedAction.RECOVERY] == [
        MissedAction.RECOVERY
    ]
    assert [action for action, _ in lapses(over, [*made, fax, letter], late) if action is MissedAction.RECOVERY] == []


# -- unheard ---------------------------------------------------------------------------------------------------------


def exhausted() -> Incident:
    return replace(incident(), position=Position(round=1, step=1, since=T0))


def test_when_all_rounds_are_done_and_nobody_acknowledged_nobody_has_answered() -> None:
    _, notices = begun(incident(), T0)
    late = T0 + BRIEF.escalation.repeat_after
    assert examined(exhausted(), notices, late).failures == frozenset()
    assert examined(exhausted(), notices, late + SECOND) == Examination(
        failed_since={EscalationFailure.NOBODY_ANSWERED: T0}
    )
    # A round that should have begun long ago is our lapse: nobody was asked.
    assert (
        examined(replace(exhausted(), position=Position(step=1, since=T0)), notices, late + SECOND).failures
        == frozenset()
    )
    acknowledged = apply(exhausted(), Acknowledge(incident_id=1, at=late, by="Siti"))
    assert examined(acknowledged, notices, late + SECOND).failures == frozenset()


def test_nobody_is_reached_when_every_notice_to_staff_failed() -> None:
    _, notices = begun(incident(), T0, NotificationState.FAILED)
    at_last_step = replace(incident(), position=Position(round=1, step=1, since=T0))
    assert examined(at_last_step, notices, T0 + GRACE).failures == frozenset()
    assert examined(at_last_step, notices, T0 + GRACE + SECOND).failures == {EscalationFailure.NOBODY_REACHED}
    reached = replace(notices[0], id=7, state=NotificationState.SENT)
    assert examined(at_last_step, [*notices, reached], T0 + GRACE + SECOND).failures == frozenset()
    # That an office outside was, or staff of what it was before it got worse, helps nobody of them.
    outside = replace(reached, plan=Plan.ANNOUNCEMENT)
    before = replace(reached, created_at=at_last_step.since - GRACE - SECOND)
    for other in (outside, before):
        assert examined(at_last_step, [*notices, other], T0 + GRACE + SECOND).failures == {
            EscalationFailure.NOBODY_REACHED
        }


def test_a_recipient_is_untold_when_all_its_notices_failed_and_not_when_one_arrived() -> None:
    told, notices = begun(incident(), T0)
    released = apply(told, Release(incident_id=1, at=T0, by="Siti Contoh"))
    announcement = announce(released, (), T0)
    assert isinstance(announcement, Announce)
    fax, letter = (written(d, 5 + n, NotificationState.FAILED) for n, d in enumerate(announcement.drafts))
    assert examined(released, [*notices, fax, letter], T0 + MINUTE).failures == {EscalationFailure.RECIPIENT_UNTOLD}
    arrived = replace(letter, state=NotificationState.DELIVERED)
    assert examined(released, [*notices, fax, arrived], T0 + MINUTE).failures == frozenset()


def test_examine_nobody_answers_any_more_since_somebody_was_last_heard_of() -> None:
    """The NOC was told "since the outage began", though somebody had confirmed it and released the announcement."""
    _, notices = begun(incident(), T0)
    heard_at = T0 + timedelta(hours=3)
    released = replace(
        exhausted(),
        last_response_at=heard_at,
        previous_assignee="Siti Contoh",
        released_at=heard_at,
        position=Position(round=1, step=1, since=heard_at),
    )
    late = heard_at + BRIEF.escalation.repeat_after + SECOND
    assert examined(released, notices, late).failed_since[EscalationFailure.NOBODY_ANSWERED] == heard_at


def announced(by: str) -> tuple[Incident, Sequence[Notification], Notification, Notification]:
    """Return an incident that *by* has released, its notices to staff, and its fax and letter."""
    told, notices = begun(incident(), T0)
    released = apply(told, Release(incident_id=1, at=T0, by=by))
    announcement = announce(released, (), T0)
    assert isinstance(announcement, Announce)
    fax, letter = (written(d, 5 + n) for n, d in enumerate(announcement.drafts))
    return released, notices, fax, letter


QUEUED = attempt(AttemptState.ACCEPTED)


def test_examine_letter_in_the_tray_is_told_until_a_workday_is_over() -> None:
    released, notices, fax, letter = announced("Siti Contoh")
    failed, laid = (
        replace(fax, state=NotificationState.FAILED),
        replace(tried(letter, QUEUED), state=NotificationState.SENT),
    )
    day = timedelta(days=1)
    assert examined(released, [*notices, failed, laid], T0 + day - SECOND).failures == frozenset()
    assert examined(released, [*notices, failed, laid], T0 + day).failures == {EscalationFailure.RECIPIENT_UNTOLD}
    posted = tried(letter, attempt(AttemptState.SENT))
    assert examined(released, [*notices, failed, posted], T0 + day).failures == frozenset()
    # One that did not even get into its tray.
    assert examined(released, [*notices, failed, letter], T0 + day).failures == {EscalationFailure.RECIPIENT_UNTOLD}
    # The fax has arrived: who released it hears of the letter.
    arrived = replace(tried(fax, attempt(AttemptState.DELIVERED)), state=NotificationState.DELIVERED)
    assert examined(released, [*notices, arrived, laid], T0 + day).failures == frozenset()


@pytest.mark.parametrize("by", [AUTOMATIC, "Pegawai Portal"])
def test_examine_released_by_nobody_who_can_be_told_the_noc_is(by: str) -> None:
    released, notices, fax, letter = announced(by)
    failed, laid = (
        replace(fax, state=NotificationState.FAILED),
        replace(tried(letter, QUEUED), state=NotificationState.SENT),
    )
    assert examined(released, [*notices, failed, laid], T0 + MINUTE).failed_since == {
        EscalationFailure.RECIPIENT_UNTOLD: T0
    }
    over = apply(released, Resolve(dedup_key="JCM", at=T0 + MINUTE, ended_at=T0 + MINUTE))
    assert EscalationFailure.RECIPIENT_UNTOLD in examined(over, [*notices, failed, laid], T0 + 2 * MINUTE).failures
    assert examined(released, [*notices, fax, laid], T0 + MINUTE).failures == frozenset()


@pytest.mark.parametrize("matter", IncidentType)
def test_the_noc_is_not_told_that_it_could_not_be_told(matter: IncidentType) -> None:
    assert needs_noc_incident(incident(matter)) is (matter not in {IncidentType.MONITORING_FAULT, *ABOUT_NOTIFICATIONS})


def test_the_same_lapse_has_the_same_key_at_every_look() -> None:
    one = OverdueAction(incident=incident(), action=MissedAction.NOTICE, since=T0, notification_id=3)
    assert one.key == replace(one, since=T0 + MINUTE).key
    assert one.key != replace(one, notification_id=4).key


def test_an_announcement_that_nobody_releases_is_unheard_half_an_hour_after_it_was_offered() -> None:
    taken = apply(incident(), Acknowledge(incident_id=1, at=T0, by="Siti Contoh"))
    due = T0 + BRIEF.announcement.release_offered_after + 30 * MINUTE
    assert examined(taken, (), due - SECOND).failures == set()
    assert examined(taken, (), due).failures == {EscalationFailure.UNRELEASED}
    assert examined(taken, (), due).overdue == ()
    released = apply(taken, Release(incident_id=1, at=T0, by="Siti Contoh"))
    assert EscalationFailure.UNRELEASED not in examined(released, (), due).failures
    assert EscalationFailure.UNRELEASED not in examined(replace(taken, flapping=True), (), due).failures, (
        "mail works now and then"
    )


def test_while_all_offices_outside_are_closed_nobody_owes_a_release() -> None:
    hours = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))
    ministry = replace(MINISTRY, addresses=(replace(FAX, hours=hours),))
    brief = replace(BRIEF, announcement=AnnouncementPlan(recipients=(ministry,)))
    evening = T0 + timedelta(hours=5)
    taken = replace(apply(incident(brief=brief), Acknowledge(incident_id=1, at=T0, by="Siti Contoh")), since=evening)
    opens = hours.opening(evening)
    assert EscalationFailure.UNRELEASED not in examined(taken, (), opens).failures
    assert EscalationFailure.UNRELEASED in examined(taken, (), opens + RELEASE_DEADLINE).failures
