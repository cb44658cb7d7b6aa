"""Processing of an inbound SMS within one transaction: acknowledgement, escalation, opt-out, and the reply.

People answer an SMS by its response code, such as "1", or by the number of an incident. `alerts.decide.response`
interprets the text; `alerts.engine.event_handler` applies the answer. A sender to whom no SMS was ever addressed gets
no reply: it would reveal that the number is in use, and two machines would reply to each other for ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from alerts.decide.escalation import next_notification_at
from alerts.decide.gateway.latency import NotificationLatency
from alerts.decide.response import Acknowledgement, OptIn, OptOut, Unrecognised, format_code, parse_reply
from alerts.engine.event_handler import acknowledge_notification, acknowledgement_latencies, escalate_notification
from alerts.model.channel import Channel
from alerts.model.delivery import Notification, NotificationIncident
from alerts.model.gateway import AckResult, InboundSms
from alerts.model.incident import Incident, has_become_outage
from alerts.model.notification import Language
from alerts.model.number import matches_number
from alerts.persistence.store import AuditEntry, SmsNumber, UnitOfWork

log = structlog.get_logger()

#: Maximum number of replies to SMS without an effect from one number. An SMS with an effect starts the count anew.
MAX_UNRECOGNISED_REPLIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsReply:
    """Reply to send."""

    #: Key of the text below `sms.response`: "taken" for the text `sms.response.taken`.
    situation: str
    language: Language
    #: Values of the text's placeholders.
    values: dict[str, str] = field(repr=False)
    #: Time in the text: the end of the acknowledgement or, after an escalation, the next notification to staff.
    stated_time: datetime | None = None
    #: Ids of the incidents that the SMS changed.
    incident_ids: tuple[int, ...] = ()
    #: For metrics: how long the acknowledgement took; empty without one, or if it only extends an earlier one.
    ack_latencies: Sequence[NotificationLatency] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answerable:
    """Notification that was sent to the phone with a response code, and that the person can answer."""

    #: Response code: the number by which this phone answers the notification.
    code: int
    notification: Notification

    @property
    def number(self) -> str:
        """The first incident's number, and the count of the notification's other incidents: "JCM-01 (+2)"."""
        more = len(self.notification.parts) - 1
        first = self.notification.parts[0].facts.number
        return first if not more else f"{first} (+{more})"

    def with_parts(self, parts: Sequence[NotificationIncident]) -> _Answerable:
        """Return a copy that is about these incidents only."""
        return replace(self, notification=replace(self.notification, parts=tuple(parts)))

    def matching(self, quoted: str) -> Mapping[str, _Answerable]:
        """Return, by incident number, a copy for each incident whose number the person may mean by *quoted*."""
        parts = self.notification.parts
        return {
            part.facts.number: self.with_parts([part])
            for part in parts
            if matches_number(quoted, part.facts.number, part.facts.office.short)
        }

    def reply(self, situation: str, **more: str) -> SmsReply:
        values = {"agency": self.notification.parts[0].facts.office.short, "number": self.number, **more}
        return SmsReply(situation=situation, language=self.notification.language, values=values)


async def receive_sms(uow: UnitOfWork, gateway: str, sms: InboundSms, now: datetime) -> SmsReply | None:
    """Process an SMS. Return the reply; `None`: no reply, for example to a repeated SMS or an unknown sender."""
    # A sender name may contain characters that the database cannot store. Without this check such an SMS would fail at
    # each poll, and all later SMS with it.
    if not sms.sender.isprintable() or not await uow.responses.has_sms_to(sms.sender):
        log.info("SMS from an unknown number ignored", gateway=gateway)
        return None
    if not await uow.add_callback(gateway, sms.event_id, now):
        return None
    answerables = await _find_answerables(uow, sms.sender)
    sms_number = await uow.responses.sms_number(sms.sender)
    match parse_reply(sms.text):
        case OptOut():
            return await _record_opt_out(uow, sms.sender, sms_number, answerables, now, is_opt_out=True)
        case OptIn():
            return await _record_opt_out(uow, sms.sender, sms_number, answerables, now, is_opt_out=False)
        case Acknowledgement() as reply:
            answered = await _find_answered(uow, reply, answerables)
            if len(answered) > 1:
                return await _reply_without_effect(uow, sms.sender, sms_number, answered[0], "several")
            if answered and reply.escalates:
                return await _escalate(uow, sms.sender, answered[0], sms_number, now)
            if answered:
                return await _acknowledge(uow, sms.sender, answered[0], sms_number, now, gateway=gateway)
        case Unrecognised():
            pass
    unanswered = [answerable for answerable in answerables if await _needs_answer(uow, answerable)]
    if unanswered:
        return await _reply_without_effect(uow, sms.sender, sms_number, unanswered[0], "unclear")
    if answerables:
        return await _reply_without_effect(uow, sms.sender, sms_number, answerables[0], "nothing")
    return None


async def _find_answered(
    uow: UnitOfWork, reply: Acknowledgement, answerables: Sequence[_Answerable]
) -> Sequence[_Answerable]:
    """Return the notifications that a reply answers; several if it is ambiguous.

    A reply with a code or incident number answers the notification with it. A reply without both answers the
    notifications that need an answer or, if there are none, the newest notification.
    """
    if reply.code is not None:
        coded = [answerable for answerable in answerables if answerable.code == reply.code][:1]
        if not coded or reply.number is None or coded[0].matching(reply.number):
            return coded
        # The code and the incident number belong to different notifications.
        return [*coded, *(answerable for answerable in answerables if answerable.matching(reply.number))]
    if reply.number is not None:
        named: dict[str, _Answerable] = {}
        for answerable in reversed(answerables):
            named |= answerable.matching(reply.number)
        return list(named.values())
    unanswered = [each for each in answerables if await _needs_answer(uow, each, includes_own=reply.escalates)]
    return unanswered or list(answerables[:1])


async def _find_answerables(uow: UnitOfWork, sender: str) -> Sequence[_Answerable]:
    """Return the notifications sent to the phone with a response code, the newest first."""
    answerables = []
    for coded in await uow.responses.coded_notifications(sender):
        # A notification without incidents, which was never sent, raises `LookupError`.
        with contextlib.suppress(LookupError):
            notification = await uow.notification(coded.notification_id)
            answerables.append(_Answerable(code=coded.code, notification=notification))
    return answerables


async def _needs_answer(uow: UnitOfWork, answerable: _Answerable, *, includes_own: bool = False) -> bool:
    """Whether the person should answer the notification.

    That is so if one of its incidents is unacknowledged and has not become worse since the notification.
    *includes_own*: incidents that the person has acknowledged count as unacknowledged.
    """
    for part in answerable.notification.parts:
        incident = await uow.incident(part.incident_id)
        if incident is None or not incident.is_open:
            continue
        # A reminder asks the assignee for another acknowledgement.
        counts_own = includes_own or incident.reminded_at is not None
        is_own = counts_own and incident.acknowledged_by == incident.acting_name(part.person)
        if incident.acknowledged_at is not None and not is_own:
            continue
        if not has_become_outage(incident, part.facts.type):
            return True
    return False


async def _acknowledge(
    uow: UnitOfWork, sender: str, answerable: _Answerable, sms_number: SmsNumber, now: datetime, *, gateway: str
) -> SmsReply | None:
    result = await acknowledge_notification(uow, answerable.notification, now)
    incidents = [(part, await uow.incident(part.incident_id)) for part in answerable.notification.parts]
    # The reply names only the incidents with this result. The notification's other incidents may have ended, or have
    # another assignee.
    matching = [(part, incident) for part, incident in incidents if incident and _has_result(result, part, incident)]
    by, is_false_alarm = "", False
    if matching:
        answerable = answerable.with_parts([part for part, _ in matching])
        by = matching[0][1].acknowledged_by or ""
        is_false_alarm = all(incident.false_alarm_at is not None for _, incident in matching)
    if result in {AckResult.TAKEN, AckResult.PROLONGED}:
        await uow.responses.save_sms_number(sender, replace(sms_number, unrecognised=0))
        ends = (incident.acknowledged_until for _, incident in matching)
        until = max((at for at in ends if at is not None), default=None)
        situation = "taken" if result is AckResult.TAKEN else "prolonged"
        return replace(
            answerable.reply(situation, by=by),
            stated_time=until,
            incident_ids=tuple(answerable.notification.incident_ids),
            ack_latencies=await acknowledgement_latencies(
                uow, answerable.notification, result, now, channel=Channel.SMS, gateway=gateway
            ),
        )
    # A repeated acknowledgement counts as an SMS without an effect, because a machine that answers every SMS would
    # otherwise get confirmations for ever. Its reply ("already") names the assignee.
    situations = {AckResult.AGAIN: "already", AckResult.ALREADY: "already", AckResult.WORSE: "worse"}
    situation = situations.get(result, "corrected" if is_false_alarm else "over")
    return await _reply_without_effect(uow, sender, sms_number, answerable, situation, by=by)


async def _escalate(
    uow: UnitOfWork, sender: str, answerable: _Answerable, sms_number: SmsNumber, now: datetime
) -> SmsReply | None:
    incidents = [(part, await uow.incident(part.incident_id)) for part in answerable.notification.parts]
    result = await escalate_notification(uow, answerable.notification, now)
    if result in {AckResult.ESCALATED, AckResult.NOBODY_LEFT}:
        escalated = [
            part
            for part, incident in incidents
            if incident is not None
            and incident.is_open
            and incident.acknowledged_by in {None, incident.acting_name(part.person)}
        ]
        await uow.responses.save_sms_number(sender, replace(sms_number, unrecognised=0))
        changed_incidents = [await uow.incident(part.incident_id) for part in escalated]
        next_at = min((next_notification_at(each) for each in changed_incidents if each is not None), default=None)
        reply = answerable.with_parts(escalated).reply(str(result))
        return replace(reply, incident_ids=tuple(part.incident_id for part in escalated), stated_time=next_at)
    if result is AckResult.ALREADY:
        by = next((i.acknowledged_by for _, i in incidents if i is not None and i.acknowledged_by), "")
        return await _reply_without_effect(uow, sender, sms_number, answerable, "already", by=by)
    return await _reply_without_effect(uow, sender, sms_number, answerable, "over")


def _has_result(result: AckResult, part: NotificationIncident, incident: Incident) -> bool:
    """Whether *result*, the result for a notification, applies to this incident of the notification."""
    match result:
        case AckResult.TAKEN | AckResult.PROLONGED | AckResult.AGAIN:
            return incident.is_open and incident.acknowledged_by == incident.acting_name(part.person)
        case AckResult.ALREADY:
            return incident.is_open and incident.acknowledged_by is not None
        case AckResult.WORSE:
            return incident.is_open and has_become_outage(incident, part.facts.type)
        case _:
            return True


async def _reply_without_effect(
    uow: UnitOfWork, sender: str, sms_number: SmsNumber, answerable: _Answerable, situation: str, *, by: str = ""
) -> SmsReply | None:
    """Return the reply to an SMS without an effect; `None` after `MAX_UNRECOGNISED_REPLIES` (it may be a machine)."""
    if sms_number.unrecognised >= MAX_UNRECOGNISED_REPLIES:
        return None
    await uow.responses.save_sms_number(sender, replace(sms_number, unrecognised=sms_number.unrecognised + 1))
    return answerable.reply(situation, response=format_code(answerable.code), by=by)


async def _record_opt_out(
    uow: UnitOfWork,
    sender: str,
    sms_number: SmsNumber,
    answerables: Sequence[_Answerable],
    now: datetime,
    *,
    is_opt_out: bool,
) -> SmsReply | None:
    """Record STOP or START of a number. The audit log names the person, not the number.

    A reply is returned only if the stored state changes, because two machines could otherwise send STOP to each other
    for ever.
    """
    await uow.responses.save_sms_number(
        sender, replace(sms_number, stopped_at=now if is_opt_out else None, unrecognised=0)
    )
    event = "no more SMS wanted" if is_opt_out else "SMS wanted again"
    person, incident_id, situation = "somebody", None, "stopped_unreached" if is_opt_out else "started"
    if answerables:
        notification = answerables[0].notification
        incident = await uow.incident(notification.incident_id)
        contact = incident.policy.escalation.contact(notification.person) if incident else None
        person = contact.name if contact else notification.person
        if is_opt_out and contact is not None and contact.addresses_on([Channel.VOICE]):
            situation = "stopped"
        incident_id = notification.incident_id
    log.warning(event, person=person)
    await uow.add_audit_entry(AuditEntry(at=now, actor=person, event=event, incident_id=incident_id))
    has_changed = (sms_number.stopped_at is not None) is not is_opt_out
    return answerables[0].reply(situation) if answerables and has_changed else None
