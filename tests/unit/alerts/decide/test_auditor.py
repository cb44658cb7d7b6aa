"""Auditor: overdue actions and escalation failures. Intentional delays are neither."""

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
    AuditResult,
    EscalationFailure,
    MissedAction,
    OverdueAction,
    audit_incident,
    needs_noc_incident,
)
from alerts.decide.bundle import BUNDLE_INTERVAL
from alerts.decide.escalation import StartStep, WaitUntil, escalate, resume_escalation
from alerts.decide.followup import follow_up
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.decide.state_change import Notify, consequences
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
    FAX,
    MINISTRY,
    MINUTE,
    SECOND,
    SNAPSHOT,
    T0,
    VOICE_SITI,
    attempt,
    incident,
    tried,
    written,
)

GATEWAYS = {channel: (str(channel),) for channel in Channel}
POLICY = DeliveryPolicy()


def audited(of: Incident, notices: Sequence[Notification], now: datetime, *, is_silenced: bool = False) -> AuditResult:
    return audit_incident(of, notices, GATEWAYS, POLICY, now, is_silenced=is_silenced)


def missed_actions(of: Incident, notices: Sequence[Notification], now: datetime) -> list[tuple[MissedAction, datetime]]:
    return [(found.action, found.since) for found in audited(of, notices, now).overdue]


def after_step(
    of: Incident, now: datetime, state: NotificationState = NotificationState.DELIVERED
) -> tuple[Incident, list[Notification]]:
    """Return the incident after its due step, and the step's notifications in *state*."""
    step = escalate(of, (), now)
    assert isinstance(step, StartStep)
    return replace(of, position=step.position), [written(d, n, state) for n, d in enumerate(step.drafts, 1)]


# -- steps -----------------------------------------------------------------------------------------------------------


def test_first_step_not_started_is_overdue_after_grace() -> None:
    fresh = incident()
    assert missed_actions(fresh, (), T0 + GRACE) == []
    assert missed_actions(fresh, (), T0 + GRACE + SECOND) == [(MissedAction.STEP, T0)]


def test_later_step_is_overdue_from_its_due_time() -> None:
    started, notices = after_step(incident(), T0)
    due = T0 + 5 * MINUTE
    assert escalate(started, notices, T0 + MINUTE) == WaitUntil(due)
    assert missed_actions(started, notices, due + GRACE) == []
    assert missed_actions(started, notices, due + GRACE + SECOND) == [(MissedAction.STEP, due)]


def test_one_failed_contact_of_step_does_not_make_next_step_overdue() -> None:
    started, [notice] = after_step(incident(), T0)
    both = [replace(notice, state=NotificationState.FAILED), replace(notice, id=2, person="ravi")]
    assert missed_actions(started, both, T0 + GRACE + SECOND) == []


def test_second_round_not_started_is_overdue() -> None:
    of = replace(incident(), position=Position(step=1, since=T0))
    _, notices = after_step(incident(), T0)
    due = T0 + SNAPSHOT.escalation.repeat_after
    assert missed_actions(of, notices, due + GRACE) == []
    assert missed_actions(of, notices, due + GRACE + SECOND) == [(MissedAction.STEP, due)]


def test_started_step_without_notifications_is_overdue_after_bundle_interval() -> None:
    of = replace(incident(), position=Position(step=0, since=T0))
    assert missed_actions(of, (), T0 + BUNDLE_INTERVAL + GRACE) == []
    assert missed_actions(of, (), T0 + BUNDLE_INTERVAL + GRACE + SECOND) == [(MissedAction.STEP, T0)]


def test_step_covered_by_throttled_earlier_notification_is_not_overdue() -> None:
    _, [first] = after_step(incident(), T0, NotificationState.FAILED)
    before = replace(first, created_at=T0 - 30 * MINUTE)
    of = replace(incident(), position=Position(step=0, since=T0))
    late = T0 + BUNDLE_INTERVAL + GRACE + SECOND
    attempted = tried(before, replace(attempt(AttemptState.FAILED), started_at=T0 + 2 * MINUTE))
    withdrawn = replace(before, not_before=T0 + 2 * MINUTE, state=NotificationState.WITHDRAWN)
    for started in (attempted, withdrawn):
        assert missed_actions(of, [started], late) == []
    assert missed_actions(of, [before], late) == [(MissedAction.STEP, T0)]


@pytest.mark.parametrize("round_", [1, 2, 30])
def test_auditor_repeat_not_started_is_overdue(round_: int) -> None:
    hourly = replace(SNAPSHOT, escalation=replace(SNAPSHOT.escalation, repeat_interval=timedelta(hours=1)))
    of = replace(incident(snapshot=hourly), position=Position(round=round_, step=1, since=T0))
    _, notices = after_step(incident(), T0)
    due = T0 + timedelta(hours=1)
    assert missed_actions(of, notices, due + GRACE) == []
    assert missed_actions(of, notices, due + GRACE + SECOND) == [(MissedAction.STEP, due)]
    slow = replace(incident(IncidentType.DEGRADED, snapshot=hourly), position=of.position)
    assert missed_actions(slow, notices, T0 + timedelta(days=1) + GRACE) == []
    assert missed_actions(slow, notices, T0 + timedelta(days=1, seconds=1) + GRACE) == [
        (MissedAction.STEP, T0 + timedelta(days=1))
    ]


def test_escalation_by_last_contact_notifies_noc_and_is_not_overdue() -> None:
    alone = replace(SNAPSHOT, escalation=replace(SNAPSHOT.escalation, steps=SNAPSHOT.escalation.steps[:1]))
    started, notices = after_step(incident(snapshot=alone), T0)
    handed = Escalate(incident_id=1, at=T0 + 9 * MINUTE, by="Siti Contoh")
    of = resume_escalation(apply(started, handed), handed.at)
    late = handed.at + BUNDLE_INTERVAL + GRACE + SECOND
    assert audited(of, notices, late) == AuditResult(failed_since={EscalationFailure.NOBODY_ANSWERED: handed.at})


def test_next_step_is_due_at_once_when_all_contacts_failed() -> None:
    started, notices = after_step(incident(), T0, NotificationState.FAILED)
    assert missed_actions(started, notices, T0 + GRACE) == []
    assert missed_actions(started, notices, T0 + GRACE + SECOND) == [(MissedAction.STEP, T0)]
    # The due time is the end of their last call, or its start if no end is known.
    for ended_at in (None, T0 + MINUTE):
        ended_call = replace(attempt(AttemptState.FAILED), ended_at=ended_at)
        since = ended_at or ended_call.started_at
        assert missed_actions(started, [tried(n, ended_call) for n in notices], since + GRACE) == []
        assert missed_actions(started, [tried(n, ended_call) for n in notices], since + GRACE + SECOND) == [
            (MissedAction.STEP, since)
        ]


def test_acknowledged_or_resolved_incident_has_no_overdue_step() -> None:
    later = T0 + timedelta(hours=5)
    for event in (Acknowledge(incident_id=1, at=T0, by="Siti"), Resolve(dedup_key="JCM", at=later, ended_at=later)):
        assert missed_actions(apply(incident(), event), (), later) == []


def test_expired_acknowledgement_without_next_step_is_overdue() -> None:
    snapshot = replace(SNAPSHOT, escalation=replace(SNAPSHOT.escalation, acknowledgement_timeout=timedelta(hours=1)))
    acknowledged = apply(incident(snapshot=snapshot), Acknowledge(incident_id=1, at=T0, by="Siti"))
    end = T0 + timedelta(hours=1)
    assert missed_actions(acknowledged, (), end + GRACE) == []
    assert missed_actions(acknowledged, (), end + GRACE + SECOND) == [(MissedAction.STEP, end)]
    # A late reminder extends the time to answer.
    late = replace(acknowledged, reminded_at=end + GRACE)
    assert missed_actions(late, (), end + 10 * MINUTE + 2 * GRACE) == []
    assert missed_actions(late, (), end + 10 * MINUTE + 2 * GRACE + SECOND) == [
        (MissedAction.STEP, end + GRACE + 10 * MINUTE)
    ]


def test_silenced_incident_is_not_overdue() -> None:
    assert audited(incident(), (), T0 + timedelta(hours=5), is_silenced=True) == AuditResult(is_silenced=True)
    assert not audited(incident(), (), T0 + timedelta(hours=5)).is_silenced


@given(st.integers(min_value=0, max_value=4 * 3600))
def test_engine_on_time_is_never_overdue(seconds: int) -> None:
    """An engine that follows its own decisions in time is never overdue."""
    of, notices = incident(), list[Notification]()
    now = T0
    for _ in range(20):
        match escalate(of, notices, now):
            case StartStep(position=position, drafts=drafts):
                of = replace(of, position=position)
                notices += [written(d, len(notices) + n, NotificationState.DELIVERED) for n, d in enumerate(drafts, 1)]
            case WaitUntil(at=at) if at <= T0 + timedelta(seconds=seconds):
                assert missed_actions(of, notices, at) == []
                now = at
            case _:
                break
    assert missed_actions(of, notices, T0 + timedelta(seconds=seconds)) == []


# -- notifications ---------------------------------------------------------------------------------------------------


def pending(*attempts_: tuple[AttemptState, timedelta]) -> tuple[Incident, Notification]:
    started, (notice, *_) = after_step(incident(), T0, NotificationState.PENDING)
    if attempts_:
        made = [attempt(state, n, T0 + query_at) for n, (state, query_at) in enumerate(attempts_, 1)]
        notice = tried(notice, *(replace(each, error=ErrorClass.TRANSIENT) for each in made))
    return started, notice


def test_notification_without_attempt_is_overdue() -> None:
    started, notice = pending()
    assert missed_actions(started, [notice], T0 + GRACE) == []
    (found,) = audited(started, [notice], T0 + GRACE + SECOND).overdue
    assert (found.action, found.since, found.notification_id) == (MissedAction.NOTICE, T0, 1)


@pytest.mark.parametrize(
    "state", [AttemptState.CALLING, AttemptState.UNKNOWN, AttemptState.FAILED, AttemptState.NEVER_SENT]
)
def test_notification_is_overdue_after_scheduled_query_time_and_grace(
    state: AttemptState,
) -> None:
    started, notice = pending((state, MINUTE))
    assert missed_actions(started, [notice], T0 + MINUTE + GRACE) == []
    assert missed_actions(started, [notice], T0 + MINUTE + GRACE + SECOND) == [(MissedAction.NOTICE, T0 + MINUTE)]


def test_sent_notification_awaiting_receipt_is_not_overdue() -> None:
    started, notice = pending((AttemptState.ACCEPTED, MINUTE))
    assert missed_actions(started, [replace(notice, state=NotificationState.SENT)], T0 + 5 * MINUTE) == []


def test_throttled_notification_is_overdue_only_after_not_before() -> None:
    started, notice = pending()
    throttled = replace(notice, not_before=T0 + timedelta(hours=1))
    assert missed_actions(started, [throttled], T0 + timedelta(hours=1) + GRACE) == [
        (MissedAction.STEP, T0 + 5 * MINUTE)
    ]
    later = T0 + timedelta(hours=1) + GRACE + SECOND
    assert (MissedAction.NOTICE, T0 + timedelta(hours=1)) in missed_actions(started, [throttled], later)


def test_notification_to_closed_office_is_not_overdue() -> None:
    started, notices = after_step(incident(), T0)
    released = apply(started, Release(incident_id=1, at=T0, by="Siti"))
    announcement = announce(released, (), T0)
    assert isinstance(announcement, Announce)
    # T0 is a Tuesday afternoon. It is night now, and the office opens at eight.
    night = T0 + timedelta(hours=9)
    hours = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))
    closed = replace(announcement.drafts[0].addresses[0], hours=hours)
    fax = written(replace(announcement.drafts[0], addresses=(closed,), expires_at=T0 + timedelta(days=2)), 9)
    fax = tried(replace(fax, created_at=night - timedelta(hours=1)))
    found = audited(apply(released, Acknowledge(incident_id=1, at=T0, by="Siti")), [*notices, fax], night)
    assert [action.action for action in found.overdue] == []
    opened = hours.first_open_time(night) + GRACE - SECOND
    found = audited(apply(released, Acknowledge(incident_id=1, at=T0, by="Siti")), [*notices, fax], opened)
    assert [action.notification_id for action in found.overdue] == []
    morning = T0 + timedelta(hours=9 + 12)
    found = audited(apply(released, Acknowledge(incident_id=1, at=T0, by="Siti")), [*notices, fax], morning)
    assert [action.notification_id for action in found.overdue] == [9]


def test_paper_paused_after_restore_is_not_overdue_but_sms_is() -> None:
    started, sms = pending()
    fax = replace(sms, id=2, addresses=(FAX,))

    def overdue(*, is_paper_paused: bool) -> list[int | None]:
        late = T0 + GRACE + SECOND
        return [
            o.notification_id
            for o in audit_incident(
                started, [sms, fax], GATEWAYS, POLICY, late, is_paper_paused=is_paper_paused
            ).overdue
        ]

    assert (overdue(is_paper_paused=False), overdue(is_paper_paused=True)) == ([1, 2], [1])


def test_notification_waiting_for_busy_telephone_or_staff_is_not_overdue() -> None:
    started, sms = pending()
    late = T0 + GRACE + SECOND
    call = replace(sms, id=2, addresses=(VOICE_SITI,))

    def overdue(*notices: Notification, busy_telephones: Address | None = None) -> list[int | None]:
        found = audit_incident(
            started,
            notices,
            GATEWAYS,
            POLICY,
            late,
            busy_telephones=() if busy_telephones is None else (busy_telephones,),
        )
        return [o.notification_id for o in found.overdue if o.action is MissedAction.NOTICE]

    assert overdue(call) == [2]
    assert overdue(call, busy_telephones=VOICE_SITI) == []
    assert overdue(call, busy_telephones=replace(VOICE_SITI, extension="12")) == [2]
    fax = replace(sms, id=3, addresses=(FAX,), plan=Plan.ANNOUNCEMENT)
    assert overdue(fax) == [3]
    # Only the notification that blocks is reported, not the one that waits for it.
    assert overdue(sms, fax) == [1]


def test_bundled_notification_is_overdue_once() -> None:
    started, notice = pending()
    late = T0 + GRACE + SECOND
    assert missed_actions(started, [replace(notice, leads=False)], late) == []
    assert len(missed_actions(started, [notice], late)) == 1


def test_step_covered_by_pending_earlier_notification_is_not_overdue() -> None:
    started, notice = pending()
    waits = replace(notice, not_before=T0 + timedelta(hours=2))
    at_second = replace(started, position=Position(step=1, since=T0 + 5 * MINUTE))
    now = T0 + 5 * MINUTE + BUNDLE_INTERVAL + GRACE + SECOND
    assert missed_actions(at_second, [waits], now) == []
    assert missed_actions(at_second, [replace(waits, state=NotificationState.FAILED)], now) == [
        (MissedAction.STEP, T0 + 5 * MINUTE)
    ]


# -- announcement and recovery ---------------------------------------------------------------------------------------


def test_released_announcement_not_made_is_overdue() -> None:
    started, notices = after_step(incident(), T0)
    released = apply(started, Release(incident_id=1, at=T0 + MINUTE, by="Siti"))
    late = T0 + MINUTE + GRACE + SECOND
    assert missed_actions(released, notices, late) == [(MissedAction.ANNOUNCEMENT, T0 + MINUTE)]
    another = replace(MINISTRY, key="jabatan")
    two = replace(released, policy=replace(SNAPSHOT, announcement=AnnouncementPlan(recipients=(MINISTRY, another))))
    released_incident = announce(two, (), T0 + MINUTE)
    assert isinstance(released_incident, Announce)
    to_one = [
        written(d, 5 + n, NotificationState.SENT)
        for n, d in enumerate(released_incident.drafts)
        if d.person == another.key
    ]
    assert missed_actions(two, [*notices, *to_one], late) == [(MissedAction.ANNOUNCEMENT, T0 + MINUTE)]
    same_key = [replace(notice, person=MINISTRY.key) for notice in notices]
    assert missed_actions(released, same_key, late) == [(MissedAction.ANNOUNCEMENT, T0 + MINUTE)]

    announcement = announce(released, (), T0 + MINUTE)
    assert isinstance(announcement, Announce)
    made = [written(d, 5 + n, NotificationState.SENT) for n, d in enumerate(announcement.drafts)]
    assert missed_actions(released, [*notices, *made], late) == []


def test_follow_up_not_made_is_overdue() -> None:
    hours = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))
    snapshot = replace(SNAPSHOT, announcement=replace(SNAPSHOT.announcement, updates=hours))
    started, notices = after_step(incident(snapshot=snapshot), T0)
    released = apply(started, Release(incident_id=1, at=T0, by="Siti"))
    announcement = announce(released, (), T0)
    assert isinstance(announcement, Announce)
    made = [
        tried(written(d, 5 + n, NotificationState.DELIVERED), attempt(AttemptState.DELIVERED))
        for n, d in enumerate(announcement.drafts)
    ]
    # Wednesday, eight in the morning.
    due = datetime(2026, 11, 25, 0, 0, tzinfo=UTC)

    def found(now: datetime, *more: Notification) -> list[tuple[MissedAction, datetime]]:
        return [
            each
            for each in missed_actions(released, [*notices, *made, *more], now)
            if each[0] is MissedAction.ANNOUNCEMENT
        ]

    assert found(due + GRACE - SECOND) == []
    assert found(due + GRACE + SECOND) == [(MissedAction.ANNOUNCEMENT, due)]
    followed = [written(d, 9 + n) for n, d in enumerate(follow_up(released, made, due).drafts)]
    assert found(due + GRACE + SECOND, *followed) == []


def test_automatic_release_not_made_is_overdue() -> None:
    automatic = replace(
        SNAPSHOT, announcement=replace(SNAPSHOT.announcement, automatic=True, release_offered_after=2 * MINUTE)
    )
    started, notices = after_step(incident(snapshot=automatic), T0)
    due = T0 + 2 * MINUTE
    left = [tried(replace(n, state=NotificationState.DELIVERED), attempt(AttemptState.DELIVERED)) for n in notices]
    assert missed_actions(started, left, due + GRACE) == []
    assert missed_actions(started, left, due + GRACE + SECOND) == [(MissedAction.ANNOUNCEMENT, due)]
    # The release waits for a notification to staff, which is reported as overdue instead.
    assert MissedAction.ANNOUNCEMENT not in dict(missed_actions(started, notices, due + GRACE + SECOND))


def test_recovery_not_sent_to_notified_person_is_overdue() -> None:
    started, (notice, *_) = after_step(incident(), T0)
    notice = tried(notice, attempt(AttemptState.DELIVERED))
    over = apply(started, Resolve(dedup_key="JCM", at=T0 + MINUTE, ended_at=T0 + MINUTE))
    late = T0 + MINUTE + BUNDLE_INTERVAL + GRACE + SECOND
    assert missed_actions(over, [notice], late - SECOND) == []
    assert missed_actions(over, [notice], late) == [(MissedAction.RECOVERY, T0 + MINUTE)]
    assert missed_actions(over, [replace(notice, purpose=Purpose.RELEASE)], late) == [], (
        "who was asked for the release only"
    )

    (recovery,) = [c for c in consequences(over, [notice], late) if isinstance(c, Notify)]
    assert missed_actions(over, [notice, written(recovery.draft, 9, NotificationState.SENT)], late) == []
    # A notification withdrawn before it was sent notified nobody. A call that ended without a key did notify.
    withdrawn = replace(notice, state=NotificationState.WITHDRAWN, deliveries=())
    assert missed_actions(over, [tried(withdrawn, attempt(AttemptState.WITHDRAWN))], late) == []
    ended_call = tried(withdrawn, replace(attempt(AttemptState.FAILED), code=NO_KEY))
    assert missed_actions(over, [ended_call], late) == [(MissedAction.RECOVERY, T0 + MINUTE)]
    assert [type(c) for c in consequences(over, [ended_call], late)] == [Notify]


def test_recovery_sent_by_fax_only_leaves_letter_overdue() -> None:
    released = apply(incident(), Release(incident_id=1, at=T0, by="Siti"))
    announcement = announce(released, (), T0)
    assert isinstance(announcement, Announce)
    made = [written(d, n, NotificationState.SENT) for n, d in enumerate(announcement.drafts)]
    made = [tried(notice, attempt(AttemptState.SENT)) for notice in made]
    over = apply(released, Resolve(dedup_key="JCM", at=T0 + MINUTE, ended_at=T0 + MINUTE))
    late = T0 + MINUTE + BUNDLE_INTERVAL + GRACE + SECOND
    fax, letter = [written(c.draft, 9) for c in consequences(over, made, late) if isinstance(c, Notify)]

    assert [action for action, _ in missed_actions(over, [*made, fax], late) if action is MissedAction.RECOVERY] == [
        MissedAction.RECOVERY
    ]
    assert [
        action for action, _ in missed_actions(over, [*made, fax, letter], late) if action is MissedAction.RECOVERY
    ] == []


# -- escalation failures ---------------------------------------------------------------------------------------------


def exhausted() -> Incident:
    return replace(incident(), position=Position(round=1, step=1, since=T0))


def test_all_rounds_without_acknowledgement_is_nobody_answered() -> None:
    _, notices = after_step(incident(), T0)
    late = T0 + SNAPSHOT.escalation.repeat_after
    assert audited(exhausted(), notices, late).failures == frozenset()
    assert audited(exhausted(), notices, late + SECOND) == AuditResult(
        failed_since={EscalationFailure.NOBODY_ANSWERED: T0}
    )
    # A round that has not begun is Pantau's own omission: nobody was contacted.
    assert (
        audited(replace(exhausted(), position=Position(step=1, since=T0)), notices, late + SECOND).failures
        == frozenset()
    )
    acknowledged = apply(exhausted(), Acknowledge(incident_id=1, at=late, by="Siti"))
    assert audited(acknowledged, notices, late + SECOND).failures == frozenset()


def test_all_staff_notifications_failed_is_nobody_reached() -> None:
    _, notices = after_step(incident(), T0, NotificationState.FAILED)
    at_last_step = replace(incident(), position=Position(round=1, step=1, since=T0))
    assert audited(at_last_step, notices, T0 + GRACE).failures == frozenset()
    assert audited(at_last_step, notices, T0 + GRACE + SECOND).failures == {EscalationFailure.NOBODY_REACHED}
    reached = replace(notices[0], id=7, state=NotificationState.SENT)
    assert audited(at_last_step, [*notices, reached], T0 + GRACE + SECOND).failures == frozenset()
    # A recipient outside, or staff notified before the incident got worse, does not count.
    outside = replace(reached, plan=Plan.ANNOUNCEMENT)
    before = replace(reached, created_at=at_last_step.since - GRACE - SECOND)
    for other in (outside, before):
        assert audited(at_last_step, [*notices, other], T0 + GRACE + SECOND).failures == {
            EscalationFailure.NOBODY_REACHED
        }


def test_recipient_untold_when_all_its_notifications_failed() -> None:
    started, notices = after_step(incident(), T0)
    released = apply(started, Release(incident_id=1, at=T0, by="Siti Contoh"))
    announcement = announce(released, (), T0)
    assert isinstance(announcement, Announce)
    fax, letter = (written(d, 5 + n, NotificationState.FAILED) for n, d in enumerate(announcement.drafts))
    assert audited(released, [*notices, fax, letter], T0 + MINUTE).failures == {EscalationFailure.RECIPIENT_UNTOLD}
    arrived = replace(letter, state=NotificationState.DELIVERED)
    assert audited(released, [*notices, fax, arrived], T0 + MINUTE).failures == frozenset()


def test_nobody_answered_counts_from_last_response() -> None:
    """The time counts from the last response, not from the start of the outage."""
    _, notices = after_step(incident(), T0)
    responded_at = T0 + timedelta(hours=3)
    released = replace(
        exhausted(),
        last_response_at=responded_at,
        previous_assignee="Siti Contoh",
        released_at=responded_at,
        position=Position(round=1, step=1, since=responded_at),
    )
    late = responded_at + SNAPSHOT.escalation.repeat_after + SECOND
    assert audited(released, notices, late).failed_since[EscalationFailure.NOBODY_ANSWERED] == responded_at


def released_incident(by: str) -> tuple[Incident, Sequence[Notification], Notification, Notification]:
    """Return an incident released by *by*, its notifications to staff, its fax and its letter."""
    started, notices = after_step(incident(), T0)
    released = apply(started, Release(incident_id=1, at=T0, by=by))
    announcement = announce(released, (), T0)
    assert isinstance(announcement, Announce)
    fax, letter = (written(d, 5 + n) for n, d in enumerate(announcement.drafts))
    return released, notices, fax, letter


QUEUED = attempt(AttemptState.ACCEPTED)


def test_queued_letter_is_recipient_untold_after_one_workday() -> None:
    released, notices, fax, letter = released_incident("Siti Contoh")
    failed, queued = (
        replace(fax, state=NotificationState.FAILED),
        replace(tried(letter, QUEUED), state=NotificationState.SENT),
    )
    day = timedelta(days=1)
    assert audited(released, [*notices, failed, queued], T0 + day - SECOND).failures == frozenset()
    assert audited(released, [*notices, failed, queued], T0 + day).failures == {EscalationFailure.RECIPIENT_UNTOLD}
    posted = tried(letter, attempt(AttemptState.SENT))
    assert audited(released, [*notices, failed, posted], T0 + day).failures == frozenset()
    # A letter that did not reach its tray.
    assert audited(released, [*notices, failed, letter], T0 + day).failures == {EscalationFailure.RECIPIENT_UNTOLD}
    # The fax has arrived, so that the releasing person is informed about the letter.
    arrived = replace(tried(fax, attempt(AttemptState.DELIVERED)), state=NotificationState.DELIVERED)
    assert audited(released, [*notices, arrived, queued], T0 + day).failures == frozenset()


@pytest.mark.parametrize("by", [AUTOMATIC, "Pegawai Portal"])
def test_queued_letter_released_by_unreachable_person_is_reported_to_noc(by: str) -> None:
    released, notices, fax, letter = released_incident(by)
    failed, queued = (
        replace(fax, state=NotificationState.FAILED),
        replace(tried(letter, QUEUED), state=NotificationState.SENT),
    )
    assert audited(released, [*notices, failed, queued], T0 + MINUTE).failed_since == {
        EscalationFailure.RECIPIENT_UNTOLD: T0
    }
    over = apply(released, Resolve(dedup_key="JCM", at=T0 + MINUTE, ended_at=T0 + MINUTE))
    assert EscalationFailure.RECIPIENT_UNTOLD in audited(over, [*notices, failed, queued], T0 + 2 * MINUTE).failures
    assert audited(released, [*notices, fax, queued], T0 + MINUTE).failures == frozenset()


@pytest.mark.parametrize("incident_type", IncidentType)
def test_escalation_failure_of_noc_incident_opens_no_noc_incident(incident_type: IncidentType) -> None:
    assert needs_noc_incident(incident(incident_type)) is (
        incident_type not in {IncidentType.MONITORING_FAULT, *ABOUT_NOTIFICATIONS}
    )


def test_overdue_action_key_is_stable_between_audits() -> None:
    one = OverdueAction(incident=incident(), action=MissedAction.NOTICE, since=T0, notification_id=3)
    assert one.key == replace(one, since=T0 + MINUTE).key
    assert one.key != replace(one, notification_id=4).key


def test_announcement_not_released_within_half_hour_of_offer_is_unreleased() -> None:
    acknowledged = apply(incident(), Acknowledge(incident_id=1, at=T0, by="Siti Contoh"))
    due = T0 + SNAPSHOT.announcement.release_offered_after + 30 * MINUTE
    assert audited(acknowledged, (), due - SECOND).failures == set()
    assert audited(acknowledged, (), due).failures == {EscalationFailure.UNRELEASED}
    assert audited(acknowledged, (), due).overdue == ()
    released = apply(acknowledged, Release(incident_id=1, at=T0, by="Siti Contoh"))
    assert EscalationFailure.UNRELEASED not in audited(released, (), due).failures
    assert EscalationFailure.UNRELEASED not in audited(replace(acknowledged, flapping=True), (), due).failures, (
        "mail works now and then"
    )


def test_unreleased_not_reported_while_all_offices_are_closed() -> None:
    hours = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))
    ministry = replace(MINISTRY, addresses=(replace(FAX, hours=hours),))
    snapshot = replace(SNAPSHOT, announcement=AnnouncementPlan(recipients=(ministry,)))
    evening = T0 + timedelta(hours=5)
    acknowledged = replace(
        apply(incident(snapshot=snapshot), Acknowledge(incident_id=1, at=T0, by="Siti Contoh")), since=evening
    )
    opens = hours.first_open_time(evening)
    assert EscalationFailure.UNRELEASED not in audited(acknowledged, (), opens).failures
    assert EscalationFailure.UNRELEASED in audited(acknowledged, (), opens + RELEASE_DEADLINE).failures
