"""Consequences of an acknowledgement, a recovery or a correction for an incident's notifications. Pure.

A recovery goes to those who were notified of the outage, by the same channels, and to nobody else. Unsent notifications
are cancelled; a letter in the tray is withdrawn and needs no recovery letter. After a false alarm the same people get a
correction instead of a recovery. After closing without a recovery, staff are notified of the closing, and nobody
outside. An incident that ended before any notification to staff is reported to them once, as past.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.decide.announcement import expiry
from alerts.decide.escalation import facts, staff_addresses
from alerts.decide.followup import is_known, next_enclosure, to_reader
from alerts.decide.gateway.next_action import CAME_TO_NOTHING, decisive
from alerts.hours.elapsed import is_recent
from alerts.model.channel import Channel
from alerts.model.delivery import (
    DOUBTFUL,
    SETTLED,
    Attempt,
    AttemptState,
    Notification,
    NotificationDraft,
    NotificationState,
)
from alerts.model.event import AUTOMATIC
from alerts.model.incident import Incident, IncidentState, has_got_worse
from alerts.model.notification import OF_TELLING, Plan, Purpose


@dataclass(frozen=True, slots=True)
class Cancel:
    """Not sent yet and no longer needed."""

    notice: Notification


@dataclass(frozen=True, slots=True)
class Abandon:
    """Perhaps sent, and no longer needed: it is not sent again."""

    notice: Notification


@dataclass(frozen=True, slots=True)
class WithdrawLetter:
    """In the tray: withdraw it before a clerk posts it."""

    notice: Notification
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Notify:
    """A follow-up that is due to a person who was notified: the assignee, the end, or the correction.

    Or a past incident that staff were not notified of in time.
    """

    draft: NotificationDraft


Conclusion = Cancel | Abandon | WithdrawLetter | Notify

#: How long the name of the assignee is news; after that staff have asked, or sleep again.
NEWS_FOR = timedelta(minutes=15)


def conclude(incident: Incident, notices: Sequence[Notification], now: datetime) -> Iterator[Conclusion]:
    """Yield the consequences for the notifications of an acknowledged or ended incident.

    For another one only offers of a completed release are cancelled.
    """
    if incident.state is IncidentState.TRIGGERED:
        notices = [notice for notice in notices if notice.purpose is Purpose.RELEASE]
    over = incident.state is IncidentState.RESOLVED
    told_late = over and incident.false_alarm_at is None and not incident.closed_without_recovery
    unheard = told_late and not _may_have_heard(incident, notices)
    told: set[str] = set()
    for notice in notices:
        needless = is_concluded(incident, notice) or _ends_nothing(notice, notices)
        # A handover notification remains true and is the only one its reader got.
        if not needless and not notice.facts.is_handover:
            continue
        last = decisive(notice)
        if needless and notice.state not in SETTLED:
            if last is None or last.state in CAME_TO_NOTHING:
                yield Abandon(notice) if _is_doubtful(notice) else Cancel(notice)
            elif over and notice.channel is Channel.LETTER and last.state is AttemptState.ACCEPTED:
                # An error means that the tray was not reachable: retry after a pause.
                if last.error is None or now >= last.query_at:
                    yield WithdrawLetter(notice, last)
                continue
            elif last.state in _UNDER_WAY:
                continue
        tells_of_it = notice.purpose is Purpose.OUTAGE or notice.facts.is_handover
        if over and tells_of_it and (notice.was_told or (unheard and _was_to_be_told(notice))):
            draft = _last_word(incident, notice, notices, now)
        elif not over and tells_of_it and notice.was_told:
            draft = _who_has_it(incident, notice, now)
        else:
            continue
        if draft and draft.key not in told:
            told.add(draft.key)
            yield Notify(draft)


def _may_have_heard(incident: Incident, notices: Sequence[Notification]) -> bool:
    """Whether any staff member may have been notified of the incident."""
    staff = [n for n in notices if n.plan is Plan.ESCALATION and n.purpose is Purpose.OUTAGE]
    calling = (last for n in staff if (last := n.last_attempt) and last.state is AttemptState.CALLING)
    return incident.acknowledged_at is not None or any(n.was_told for n in staff) or any(calling)


def _was_to_be_told(notice: Notification) -> bool:
    """Whether a notification to staff was still needed at the end, and not silenced."""
    last = decisive(notice)
    return (
        notice.plan is Plan.ESCALATION
        and notice.state is not NotificationState.WITHDRAWN
        and (last is None or last.state in CAME_TO_NOTHING)
        and notice.facts.type not in OF_TELLING
    )


def is_concluded(incident: Incident, notice: Notification) -> bool:
    """Whether an acknowledged or ended incident no longer needs *notice*."""
    match notice.purpose:
        case Purpose.OUTAGE:
            return not incident.is_open or notice.plan is Plan.ESCALATION
        case Purpose.RECOVERY | Purpose.CLOSED:
            # After a false alarm nothing has recovered.
            return incident.false_alarm_at is not None
        case Purpose.UPDATE:
            return not incident.is_open
        case Purpose.TAKEN:
            return not incident.is_open or incident.acknowledged_at is None
        case Purpose.REMINDER:
            return not incident.is_open or incident.reminded_at is None
        case Purpose.RELEASE:
            return not incident.is_open or incident.released_at is not None
        case Purpose.RESULT:
            # Full success does not matter after the end.
            return not incident.is_open and not notice.facts.undelivered and not notice.facts.unposted
        case _:
            return False


def _ends_nothing(notice: Notification, notices: Sequence[Notification]) -> bool:
    """Whether a letter reports the end to a reader without an earlier letter, because that was never posted."""
    if notice.purpose not in {Purpose.RECOVERY, Purpose.CORRECTION} or notice.channel is not Channel.LETTER:
        return False
    told = to_reader(notices, notice.person, Channel.LETTER)
    return notice.plan is Plan.ANNOUNCEMENT and not any(n.was_told for n in told)


#: States that decide whether a recovery is due; a letter may still be withdrawn.
_UNDER_WAY = frozenset({AttemptState.CALLING, AttemptState.UNKNOWN})


def _is_doubtful(notice: Notification) -> bool:
    """Whether an attempt may have been sent without a trace. A call without a key press was certainly made."""
    return any(a.state in DOUBTFUL for a in notice.attempts)


def _last_word(
    incident: Incident, notice: Notification, notices: Sequence[Notification], now: datetime
) -> NotificationDraft | None:
    purpose = Purpose.RECOVERY if incident.false_alarm_at is None else Purpose.CORRECTION
    if incident.closed_without_recovery:
        if notice.plan is Plan.ANNOUNCEMENT:
            return None  # A closing without a recovery says nothing about mail.
        purpose = Purpose.CLOSED
    if notice.plan is Plan.ESCALATION:
        addresses = staff_addresses(incident, notice)
        expires_at = now + timedelta(hours=2)
    else:
        addresses = notice.addresses
        expires_at = expiry(notice.addresses[0], now)
    if not addresses:
        return None
    first_noticed_at = notice.created_at if _is_known(notice) else None
    told = facts(incident, notice.plan, purpose, now, first_notified_at=first_noticed_at)
    if purpose is Purpose.CLOSED and incident.closed is not None and incident.closed.by != AUTOMATIC:
        told = replace(told, by=incident.closed.by)
    if notice.plan is Plan.ANNOUNCEMENT:
        told = replace(told, enclosure=next_enclosure(incident, notices, notice.person, purpose))
        if purpose is Purpose.RECOVERY and (last := _last_known(notice, notices)) is not None:
            told = replace(told, first_notified_at=last.created_at, cited=last.facts.enclosure or 1)
    return NotificationDraft(
        incident_id=incident.id,
        person=notice.person,
        language=notice.language,
        facts=told,
        expires_at=expires_at,
        addresses=addresses,
        addressee=notice.addressee,
    )


def _who_has_it(incident: Incident, notice: Notification, now: datetime) -> NotificationDraft | None:
    """Return the notification of the assignee's name to a staff member; `None` for the assignee."""
    by, at = incident.acknowledged_by or "", incident.acknowledged_at
    person, holder = incident.policy.escalation.contact(notice.person), incident.policy.escalation.named(by)
    # People notified before the previous assignee do not need each new name.
    is_long_ago = notice.restarts < incident.position.restarts - 1 or has_got_worse(incident, notice.facts.type)
    if at is None or person is None or person == holder or is_long_ago:
        return None
    # By SMS only: it must not wake anybody.
    addresses = person.addresses_on([Channel.SMS])
    if not addresses or not is_recent(at, now, NEWS_FOR):
        return None
    return NotificationDraft(
        incident_id=incident.id,
        person=person.key,
        language=person.language,
        facts=replace(facts(incident, Plan.ESCALATION, Purpose.TAKEN, now), by=by),
        expires_at=at + 2 * NEWS_FOR,
        addresses=addresses,
        restarts=incident.position.restarts,
        once=at.isoformat(timespec="seconds"),
    )


def _last_known(notice: Notification, notices: Sequence[Notification]) -> Notification | None:
    """Return the latest notification that the reader of *notice* is known to have."""
    return next((n for n in reversed(to_reader(notices, notice.person, notice.channel)) if is_known(n)), None)


def _is_known(notice: Notification) -> bool:
    """Whether a follow-up may cite *notice*: a page that may not have arrived is never cited."""
    return is_known(notice) if notice.plan is Plan.ANNOUNCEMENT else notice.was_told
