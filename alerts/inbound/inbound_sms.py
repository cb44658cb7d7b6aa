"""Effects of an inbound SMS on the store, within one transaction, and the reply.

`alerts.decide.response` interprets the text; `alerts.engine.event_handler` applies an acknowledgement. A sender to whom
no SMS was ever addressed gets no reply: it would reveal that the number is in use, and two machines would reply to each
other for ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from alerts.decide.escalation import told_again_at
from alerts.decide.gateway.latency import NotificationLatency
from alerts.decide.response import Acknowledgement, OptIn, OptOut, Unrecognised, printed, understand
from alerts.engine.event_handler import acknowledge, hand_on, taken_on
from alerts.model.channel import Channel
from alerts.model.delivery import Notification, NotificationIncident
from alerts.model.gateway import AckResult, InboundSms
from alerts.model.incident import Incident, has_got_worse
from alerts.model.notification import Language
from alerts.model.number import is_quoted
from alerts.persistence.store import AuditEntry, SmsNumber, UnitOfWork

log = structlog.get_logger()

#: Replies to SMS without an effect, per number, until one has an effect or the number asks for replies again.
MOST_PUZZLED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsReply:
    """Reply to send: a text below `sms.response` and its values."""

    situation: str
    language: Language
    told: dict[str, str] = field(repr=False)
    #: End of the acknowledgement; if no step is left, when the next round starts.
    until: datetime | None = None
    #: The incidents that it changed.
    concerned: tuple[int, ...] = ()
    #: Latencies of acknowledgement, if this reply acknowledged.
    tellings: Sequence[NotificationLatency] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alert:
    """A notification with a code that the phone received."""

    code: int
    notice: Notification

    @property
    def number(self) -> str:
        more = len(self.notice.parts) - 1
        first = self.notice.parts[0].facts.number
        return first if not more else f"{first} (+{more})"

    def about(self, parts: Sequence[NotificationIncident]) -> _Alert:
        """Return a copy with these incidents only."""
        return replace(self, notice=replace(self.notice, parts=tuple(parts)))

    def alone(self, quoted: str) -> Mapping[str, _Alert]:
        """Return the incidents that *quoted* may name, by number. A quoted number acknowledges that incident only."""
        parts = self.notice.parts
        return {
            part.facts.number: self.about([part])
            for part in parts
            if is_quoted(quoted, part.facts.number, part.facts.office.short)
        }

    def react(self, situation: str, **more: str) -> SmsReply:
        told = {"agency": self.notice.parts[0].facts.office.short, "number": self.number, **more}
        return SmsReply(situation=situation, language=self.notice.language, told=told)


async def receive(ledger: UnitOfWork, gateway: str, said: InboundSms, now: datetime) -> SmsReply | None:
    """Process an SMS. Return the reply, or `None` for a repeated SMS, an unknown sender, or without need."""
    # A sender name may contain characters that no database stores; it must not block the SMS after it.
    if not said.sender.isprintable() or not await ledger.responses.knows(said.sender):
        log.info("SMS from an unknown number ignored", gateway=gateway)
        return None
    if not await ledger.first_heard(gateway, said.event_id, now):
        return None
    alerts = await _alerts(ledger, said.sender)
    known = await ledger.responses.sms_number(said.sender)
    match understand(said.text):
        case OptOut():
            return await _note_stop(ledger, said.sender, known, alerts, now, stopped=True)
        case OptIn():
            return await _note_stop(ledger, said.sender, known, alerts, now, stopped=False)
        case Acknowledgement() as meaning:
            meant = await _meant(ledger, meaning, alerts)
            if len(meant) > 1:
                return await _puzzled(ledger, said.sender, known, meant[0], "several")
            if meant and meaning.hands_on:
                return await _hand_on(ledger, said.sender, meant[0], known, now)
            if meant:
                return await _accept(ledger, said.sender, meant[0], known, now, gateway=gateway)
        case Unrecognised():
            pass
    waiting = [alert for alert in alerts if await _waits(ledger, alert)]
    if waiting:
        return await _puzzled(ledger, said.sender, known, waiting[0], "unclear")
    return await _puzzled(ledger, said.sender, known, alerts[0], "nothing") if alerts else None


async def _meant(ledger: UnitOfWork, meaning: Acknowledgement, alerts: Sequence[_Alert]) -> Sequence[_Alert]:
    """Return the *alerts* that an answer refers to: those that it names, or all that wait for one; otherwise the newest."""
    if meaning.code is not None:
        coded = [alert for alert in alerts if alert.code == meaning.code][:1]
        if not coded or meaning.number is None or coded[0].alone(meaning.number):
            return coded
        # A number beside another alert's code is ambiguous, so the person is asked.
        return [*coded, *(alert for alert in alerts if alert.alone(meaning.number))]
    if meaning.number is not None:
        named: dict[str, _Alert] = {}
        for alert in reversed(alerts):
            named |= alert.alone(meaning.number)
        return list(named.values())
    waiting = [alert for alert in alerts if await _waits(ledger, alert, had=meaning.hands_on)]
    return waiting or list(alerts[:1])


async def _alerts(ledger: UnitOfWork, number: str) -> Sequence[_Alert]:
    """Return the notifications sent to the phone, the newest first. A reused code refers to its newest notification."""
    alerts = []
    for told in await ledger.responses.told(number):
        # A bundle that was never sent may be empty.
        with contextlib.suppress(LookupError):
            alerts.append(_Alert(code=told.code, notice=await ledger.notice(told.notification_id)))
    return alerts


async def _waits(ledger: UnitOfWork, alert: _Alert, *, had: bool = False) -> bool:
    """Whether an incident in it needs acknowledgement and has not become worse since.

    *had*: or is acknowledged by this person already.
    """
    for part in alert.notice.parts:
        incident = await ledger.incident(part.incident_id)
        if incident is None or not incident.is_open:
            continue
        # The person was asked to confirm the acknowledgement.
        asked = had or incident.reminded_at is not None
        theirs = asked and incident.acknowledged_by == incident.assignee_name(part.person)
        if incident.acknowledged_at is not None and not theirs:
            continue
        if not has_got_worse(incident, part.facts.type):
            return True
    return False


async def _accept(
    ledger: UnitOfWork, number: str, alert: _Alert, known: SmsNumber, now: datetime, *, gateway: str
) -> SmsReply | None:
    result = await acknowledge(ledger, alert.notice, now)
    told = [(part, await ledger.incident(part.incident_id)) for part in alert.notice.parts]
    # Name the incidents of a bundle that the answer applies to: others may be over or somebody else's.
    held = [(part, incident) for part, incident in told if incident is not None and _holds(result, part, incident)]
    by, corrected = "", False
    if held:
        alert, by = alert.about([part for part, _ in held]), held[0][1].acknowledged_by or ""
        corrected = all(incident.false_alarm_at is not None for _, incident in held)
    if result in {AckResult.TAKEN, AckResult.PROLONGED}:
        await ledger.responses.save_sms_number(number, replace(known, unrecognised=0))
        until = max((i.acknowledged_until for _, i in held if i.acknowledged_until is not None), default=None)
        situation = "taken" if result is AckResult.TAKEN else "prolonged"
        return replace(
            alert.react(situation, by=by),
            until=until,
            concerned=tuple(alert.notice.incident_ids),
            tellings=await taken_on(ledger, alert.notice, result, now, channel=Channel.SMS, gateway=gateway),
        )
    # The text names the assignee. An earlier acknowledgement is not confirmed again: a machine would be thanked for
    # ever.
    before = dict.fromkeys((AckResult.AGAIN, AckResult.ALREADY), "already")
    over = "corrected" if corrected else "over"
    situation = {**before, AckResult.WORSE: "worse"}.get(result, over)
    return await _puzzled(ledger, number, known, alert, situation, by=by)


async def _hand_on(ledger: UnitOfWork, number: str, alert: _Alert, known: SmsNumber, now: datetime) -> SmsReply | None:
    told = [(part, await ledger.incident(part.incident_id)) for part in alert.notice.parts]
    result = await hand_on(ledger, alert.notice, now)
    if result in {AckResult.ESCALATED, AckResult.NOBODY_LEFT}:
        mine = [
            p for p, i in told if i is not None and i.is_open and i.acknowledged_by in {None, i.assignee_name(p.person)}
        ]
        await ledger.responses.save_sms_number(number, replace(known, unrecognised=0))
        after = [await ledger.incident(part.incident_id) for part in mine]
        again = min((told_again_at(each) for each in after if each is not None), default=None)
        reaction = alert.about(mine).react(str(result))
        return replace(reaction, concerned=tuple(part.incident_id for part in mine), until=again)
    if result is AckResult.ALREADY:
        by = next((i.acknowledged_by for _, i in told if i is not None and i.acknowledged_by), "")
        return await _puzzled(ledger, number, known, alert, "already", by=by)
    return await _puzzled(ledger, number, known, alert, "over")


def _holds(result: AckResult, part: NotificationIncident, incident: Incident) -> bool:
    """Whether an answer applies to one of the incidents of a notification."""
    match result:
        case AckResult.TAKEN | AckResult.PROLONGED | AckResult.AGAIN:
            return incident.is_open and incident.acknowledged_by == incident.assignee_name(part.person)
        case AckResult.ALREADY:
            return incident.is_open and incident.acknowledged_by is not None
        case AckResult.WORSE:
            return incident.is_open and has_got_worse(incident, part.facts.type)
        case _:
            return True


async def _puzzled(
    ledger: UnitOfWork, number: str, known: SmsNumber, alert: _Alert, situation: str, *, by: str = ""
) -> SmsReply | None:
    """Reply to an SMS without an effect, a few times only: the sender may be a machine that says OK to everything."""
    if known.unrecognised >= MOST_PUZZLED:
        return None
    await ledger.responses.save_sms_number(number, replace(known, unrecognised=known.unrecognised + 1))
    return alert.react(situation, response=printed(alert.code), by=by)


async def _note_stop(
    ledger: UnitOfWork, number: str, known: SmsNumber, alerts: Sequence[_Alert], now: datetime, *, stopped: bool
) -> SmsReply | None:
    """Record STOP or START of a number. The audit log names the person, not the number.

    A reply is sent on a change only: two machines that send STOP to each other do so once.
    """
    await ledger.responses.save_sms_number(number, replace(known, stopped_at=now if stopped else None, unrecognised=0))
    event = "no more SMS wanted" if stopped else "SMS wanted again"
    person, incident_id, situation = "somebody", None, "stopped_unreached" if stopped else "started"
    if alerts:
        notice = alerts[0].notice
        incident = await ledger.incident(notice.incident_id)
        contact = incident.policy.escalation.contact(notice.person) if incident else None
        person = contact.name if contact else notice.person
        if stopped and contact is not None and contact.addresses_on([Channel.VOICE]):
            situation = "stopped"
        incident_id = notice.incident_id
    log.warning(event, person=person)
    await ledger.journal(AuditEntry(at=now, actor=person, event=event, incident_id=incident_id))
    has_changed = (known.stopped_at is not None) is not stopped
    return alerts[0].react(situation) if alerts and has_changed else None
