"""Result of a release, for the person who released. Pure: the caller passes the time.

Notifications that were sent together are a batch: the announcement, a follow-up, the recovery, the correction. One
message per batch states how many arrived and who was not reached, after the gateways have finished; for a follow-up, a
recovery or a correction, and after the end, only if somebody was not reached. Another states how many letters are
unposted at the end of the next workday. Results of several agencies within `RESULT_INTERVAL` are bundled
(`alerts.decide.bundle`).

Without a releasing staff member (`releaser`), the operations centre is notified of failures (`alerts.decide.auditor`).
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

#: Expiry of a result.
EXPIRY = timedelta(hours=12)
#: For agencies without known office hours.
_A_WORKDAY = timedelta(days=1)
#: Last digits that identify a number to an officer. More would be blocked in an SMS.
_TAIL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseResult:
    """Notifications due now, and the time of the next."""

    drafts: tuple[NotificationDraft, ...] = ()
    then: datetime | None = None


def release_result(incident: Incident, notices: Sequence[Notification], now: datetime) -> ReleaseResult:
    """Decide about an incident with its notifications. Idempotent: drafts have unique keys."""
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
    """Return the staff member who released the announcement and is reachable by SMS or call; `None` without any."""
    person = incident.policy.escalation.named(incident.released_by or "")
    return person if person is not None and person.addresses_on([Channel.SMS, Channel.VOICE]) else None


def undelivered(incident: Incident, notices: Sequence[Notification], now: datetime) -> Sequence[Notification]:
    """Return the failed notifications outside, including letters that should have been posted by *now*."""
    outside = [n for n in notices if n.plan is Plan.ANNOUNCEMENT]
    late = _unposted(incident, [n for n in outside if n.channel is Channel.LETTER], now)
    return [n for n in outside if n.state is NotificationState.FAILED or n in late]


def post_until(incident: Incident, notice: Notification) -> datetime:
    """Return when a letter must be posted."""
    hours = incident.policy.announcement.updates
    return notice.created_at + _A_WORKDAY if hours is None else post_by(notice.created_at, hours)


#: Purpose of notifications and the time of their decision.
_Begun = tuple[Purpose, datetime]


def _batches(notices: Sequence[Notification]) -> Mapping[_Begun, Sequence[Notification]]:
    found: dict[_Begun, list[Notification]] = {}
    for n in notices:
        if n.plan is Plan.ANNOUNCEMENT and n.state is not NotificationState.WITHDRAWN:
            found.setdefault((n.purpose, n.facts.notified_at), []).append(n)
    return found


def _over_at(incident: Incident, notice: Notification) -> datetime:
    """Return when a notification is final; a settled one is final since its decision.

    Without a receipt it is final when it expires. A person has a workday to find out the unknown result of another.
    """
    if notice.state is NotificationState.UNKNOWN:
        return post_until(incident, notice)
    return notice.created_at if notice.state in SETTLED else notice.expires_at


def _is_done(letter: Notification) -> bool:
    return letter.has_arrived or letter.state is NotificationState.WITHDRAWN


def _unposted(incident: Incident, letters: Sequence[Notification], now: datetime) -> Sequence[Notification]:
    """Return the letters that are still in a tray, or not even there, after a workday."""
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
    """Return who was not reached, with the last digits of the failed number."""
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
        facts=replace(told, arrived=arrived, undelivered=undelivered, unposted=unposted, first_notified_at=issued_at),
        expires_at=now + EXPIRY,
        addresses=person.addresses_on([Channel.SMS, Channel.VOICE]),
        once=f"{purpose}/{at.isoformat(timespec='seconds')}/{what}",
    )
