"""Decide what whoever released an announcement is told of its delivery. Pure: the caller passes the time.

What went out together is a batch: the announcement, a follow-up, the recovery, the correction. Of each batch one message
says how many arrived and whom it did not reach, once no gateway works on it any more; of a follow-up, a recovery or a
correction, and after the end, only where somebody was not reached. One more says how many letters are not posted at the end of the next workday. Results of
several agencies that come within `RESULT_INTERVAL` go out as one message (`alerts.decide.bundle`).

Where nobody of the staff released it (`releaser`), the operations centre is told of what was not delivered
(`alerts.decide.auditor`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.decide.escalation import facts
from alerts.decide.followup import is_known
from alerts.decide.paper import post_by
from alerts.model.channel import Channel
from alerts.model.contact import Contact
from alerts.model.delivery import SETTLED, Notification, NotificationDraft, NotificationState
from alerts.model.incident import Incident
from alerts.model.notification import Plan, Purpose

#: After that a result is of no use to the person.
EXPIRY = timedelta(hours=12)
#: Where the agency's office hours are not known.
_A_WORKDAY = timedelta(days=1)
#: Digits of a number by which an officer knows the line. More would be blocked in an SMS.
_TAIL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseResult:
    """What is to be told now, and when something may be due again by itself."""

    drafts: tuple[NotificationDraft, ...] = ()
    then: datetime | None = None


def release_result(incident: Incident, notices: Sequence[Notification], now: datetime) -> ReleaseResult:
    """Decide about an incident, given its notices. Asking again changes nothing: drafts carry unique keys."""
    person = releaser(incident)
    if person is None:
        return ReleaseResult()
    drafts, then = list[NotificationDraft](), list[datetime]()
    for begun, batch in _batches(notices).items():
        sent = [n for n in batch if n.channel is not Channel.LETTER]
        letters = [n for n in batch if n.channel is Channel.LETTER]
        ends = [_over_at(incident, n) for n in sent]
        if any(at > now for at in ends):
            then.append(max(ends))
        elif draft := _delivered(incident, person, sent, begun, now):
            drafts.append(draft)
        if late := _unposted(incident, letters, now):
            drafts.append(_draft(incident, person, begun, now, unposted=len(late), issued_at=begun[1]))
        else:
            then += [at for n in letters if not _is_done(n) and (at := post_until(incident, n)) > now]
    return ReleaseResult(drafts=tuple(drafts), then=min(then, default=None))


def releaser(incident: Incident) -> Contact | None:
    """Return who of the staff released the announcement and can be told by SMS or call; `None`: nobody."""
    person = incident.brief.escalation.named(incident.released_by or "")
    return person if person is not None and person.addresses_on([Channel.SMS, Channel.VOICE]) else None


def undelivered(incident: Incident, notices: Sequence[Notification], now: datetime) -> Sequence[Notification]:
    """Return the notices to people outside that did not arrive, letters that should have been posted by *now* among them."""
    outside = [n for n in notices if n.plan is Plan.ANNOUNCEMENT]
    late = _unposted(incident, [n for n in outside if n.channel is Channel.LETTER], now)
    return [n for n in outside if n.state is NotificationState.FAILED or n in late]


def post_until(incident: Incident, notice: Notification) -> datetime:
    """Return until when a letter is to be posted."""
    hours = incident.brief.announcement.updates
    return notice.created_at + _A_WORKDAY if hours is None else post_by(notice.created_at, hours)


#: Why notices went out, and when that was decided.
_Begun = tuple[Purpose, datetime]


def _batches(notices: Sequence[Notification]) -> Mapping[_Begun, Sequence[Notification]]:
    found: dict[_Begun, list[Notification]] = {}
    for n in notices:
        if n.plan is Plan.ANNOUNCEMENT and n.state is not NotificationState.WITHDRAWN:
            found.setdefault((n.purpose, n.facts.noticed_at), []).append(n)
    return found


def _over_at(incident: Incident, notice: Notification) -> datetime:
    """Return when nothing more becomes of a notice; what is settled is over since it was decided on.

    One without a receipt is waited for until it expires. What became of one of unknown fate a person finds out, who has a
    workday for it.
    """
    if notice.state is NotificationState.UNKNOWN:
        return post_until(incident, notice)
    return notice.created_at if notice.state in SETTLED else notice.expires_at


def _is_done(letter: Notification) -> bool:
    return letter.has_arrived or letter.state is NotificationState.WITHDRAWN


def _unposted(incident: Incident, letters: Sequence[Notification], now: datetime) -> Sequence[Notification]:
    """Return the letters that are in a tray, or not even there, though a workday is over."""
    return [n for n in letters if not _is_done(n) and now >= post_until(incident, n)]


def _delivered(
    incident: Incident, person: Contact, sent: Sequence[Notification], begun: _Begun, now: datetime
) -> NotificationDraft | None:
    arrived = [n for n in sent if is_known(n)]
    lost = [n for n in sent if not is_known(n)]
    is_news = bool(lost) or (begun[0] is Purpose.OUTAGE and incident.is_open)
    if not sent or not is_news:
        return None
    return _draft(incident, person, begun, now, arrived=len(arrived), undelivered=tuple(map(_called, lost)))


def _called(notice: Notification) -> str:
    """Return who was not reached, with the last digits of the number that did not take it."""
    whom = notice.addressee.organisation if notice.addressee else notice.person
    tail = "".join(filter(str.isdecimal, notice.addresses[0].number))[-_TAIL:]
    return f"{whom} (no. {tail})" if tail else whom


def _draft(
    incident: Incident,
    person: Contact,
    begun: _Begun,
    now: datetime,
    *,
    arrived: int = 0,
    undelivered: tuple[str, ...] = (),
    unposted: int = 0,
    issued_at: datetime | None = None,
) -> NotificationDraft:
    purpose, at = begun
    told = facts(incident, Plan.ESCALATION, Purpose.RESULT, now)
    what = "unposted" if unposted else "delivered"
    return NotificationDraft(
        incident_id=incident.id,
        person=person.key,
        language=person.language,
        facts=replace(told, arrived=arrived, undelivered=undelivered, unposted=unposted, first_noticed_at=issued_at),
        expires_at=now + EXPIRY,
        addresses=person.addresses_on([Channel.SMS, Channel.VOICE]),
        once=f"{purpose}/{at.isoformat(timespec='seconds')}/{what}",
    )
