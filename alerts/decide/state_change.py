"""Decide what an acknowledgement, a recovery and a correction mean for the notices of an incident. Pure.

Recovery is told to those who were told of the outage, by the way they were told, and to nobody else. What has not
left is withdrawn; a letter still in the tray is taken back and then needs no recovery letter. After a false alarm the
same people get a correction, and no recovery besides. When it was closed and nobody says that mail works again, staff hear
that it is closed, and people outside nothing. What was over before any notice had left for staff is told to them
all the same, once, as something that was.
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
    """Whether it was sent cannot be found out, and it is no longer needed: it is not sent again."""

    notice: Notification


@dataclass(frozen=True, slots=True)
class WithdrawLetter:
    """Lies in the tray: take it back before a clerk posts it."""

    notice: Notification
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Notify:
    """A person was told of the outage, and is owed this: who has taken it on, that it is over, or that there was none.

    Or staff could not be told of it in time, and are owed that there was one.
    """

    draft: NotificationDraft


Conclusion = Cancel | Abandon | WithdrawLetter | Notify

#: Who has taken it on is news for so long; after that they have asked, or sleep again.
NEWS_FOR = timedelta(minutes=15)


def conclude(incident: Incident, notices: Sequence[Notification], now: datetime) -> Iterator[Conclusion]:
    """Yield what is owed to the notices of an incident that was acknowledged or is over.

    While it is neither, nothing but that an offer to release what was released is needed no more.
    """
    if incident.state is IncidentState.TRIGGERED:
        notices = [notice for notice in notices if notice.purpose is Purpose.RELEASE]
    over = incident.state is IncidentState.RESOLVED
    told_late = over and incident.corrected_at is None and not incident.ended_untold
    unheard = told_late and not _may_have_heard(incident, notices)
    told: set[str] = set()
    for notice in notices:
        needless = is_concluded(incident, notice) or _ends_nothing(notice, notices)
        # Who came on duty later was told by no notice but that; it stays true when somebody takes the incident on.
        if not needless and not notice.facts.is_handover:
            continue
        last = decisive(notice)
        if needless and notice.state not in SETTLED:
            if last is None or last.state in CAME_TO_NOTHING:
                yield Abandon(notice) if _is_doubtful(notice) else Cancel(notice)
            elif over and notice.channel is Channel.LETTER and last.state is AttemptState.ACCEPTED:
                # An error: it was tried, and the tray could not be reached. Again after a pause.
                if last.error is None or now >= last.look_at:
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
    """Whether anybody of the staff may have heard of an incident, or hear of it at this moment."""
    staff = [n for n in notices if n.plan is Plan.ESCALATION and n.purpose is Purpose.OUTAGE]
    calling = (last for n in staff if (last := n.last_attempt) and last.state is AttemptState.CALLING)
    return incident.acknowledged_at is not None or any(n.was_told for n in staff) or any(calling)


def _was_to_be_told(notice: Notification) -> bool:
    """Whether a notice to staff was still wanted when it was over: not one that somebody has silenced."""
    last = decisive(notice)
    return (
        notice.plan is Plan.ESCALATION
        and notice.state is not NotificationState.WITHDRAWN
        and (last is None or last.state in CAME_TO_NOTHING)
        and notice.facts.matter not in OF_TELLING
    )


def is_concluded(incident: Incident, notice: Notification) -> bool:
    """Whether *notice* is no longer needed by an incident that was acknowledged or is over."""
    match notice.purpose:
        case Purpose.OUTAGE:
            return not incident.is_open or notice.plan is Plan.ESCALATION
        case Purpose.RECOVERY | Purpose.CLOSED:
            # Nothing has recovered: nothing was broken.
            return incident.corrected_at is not None
        case Purpose.UPDATE:
            return not incident.is_open
        case Purpose.TAKEN:
            return not incident.is_open or incident.acknowledged_at is None
        case Purpose.REMINDER:
            return not incident.is_open or incident.reminded_at is None
        case Purpose.RELEASE:
            return not incident.is_open or incident.released_at is not None
        case Purpose.RESULT:
            # That all arrived is of no interest when it is over.
            return not incident.is_open and not notice.facts.undelivered and not notice.facts.unposted
        case _:
            return False


def _ends_nothing(notice: Notification, notices: Sequence[Notification]) -> bool:
    """Whether a letter tells the end to somebody who got none about the beginning: a clerk had not posted it after all."""
    if notice.purpose not in {Purpose.RECOVERY, Purpose.CORRECTION} or notice.channel is not Channel.LETTER:
        return False
    told = to_reader(notices, notice.person, Channel.LETTER)
    return notice.plan is Plan.ANNOUNCEMENT and not any(n.was_told for n in told)


#: What becomes of these decides whether a recovery is owed; a letter among them may still be taken back.
_UNDER_WAY = frozenset({AttemptState.CALLING, AttemptState.UNKNOWN})


def _is_doubtful(notice: Notification) -> bool:
    """Whether an attempt may have left without a trace. A call in which no key was pressed is no doubt: it was made."""
    return any(a.state in DOUBTFUL for a in notice.attempts)


def _last_word(
    incident: Incident, notice: Notification, notices: Sequence[Notification], now: datetime
) -> NotificationDraft | None:
    purpose = Purpose.RECOVERY if incident.corrected_at is None else Purpose.CORRECTION
    if incident.ended_untold:
        if notice.plan is Plan.ANNOUNCEMENT:
            return None  # Whether they can write to the agency again nobody has said.
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
    told = facts(incident, notice.plan, purpose, now, first_noticed_at=first_noticed_at)
    if purpose is Purpose.CLOSED and incident.closed is not None and incident.closed.by != AUTOMATIC:
        told = replace(told, by=incident.closed.by)
    if notice.plan is Plan.ANNOUNCEMENT:
        told = replace(told, enclosure=next_enclosure(incident, notices, notice.person, purpose))
        if purpose is Purpose.RECOVERY and (last := _last_known(notice, notices)) is not None:
            told = replace(told, first_noticed_at=last.created_at, cited=last.facts.enclosure or 1)
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
    """Return what tells somebody of the staff who has taken on what they were told of; nothing to who it is."""
    by, at = incident.acknowledged_by or "", incident.acknowledged_at
    person, holder = incident.brief.escalation.contact(notice.person), incident.brief.escalation.named(by)
    # Whoever was told before the last of them had it need not hear of each who has it next.
    is_long_ago = notice.wave < incident.position.wave - 1 or has_got_worse(incident, notice.facts.matter)
    if at is None or person is None or person == holder or is_long_ago:
        return None
    # By SMS or not at all: it rings nobody out of bed.
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
        wave=incident.position.wave,
        once=at.isoformat(timespec="seconds"),
    )


def _last_known(notice: Notification, notices: Sequence[Notification]) -> Notification | None:
    """Return what the reader of *notice* outside is known to have got last; it is what they have at hand."""
    return next((n for n in reversed(to_reader(notices, notice.person, notice.channel)) if is_known(n)), None)


def _is_known(notice: Notification) -> bool:
    """Whether the reader is to be reminded of *notice*: a page never cites one that may not have arrived."""
    return is_known(notice) if notice.plan is Plan.ANNOUNCEMENT else notice.was_told
