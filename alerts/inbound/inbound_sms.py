"""What an SMS from a person does to the store, inside one transaction, and what it is answered.

What its text means is decided in `alerts.decide.response`, what an acknowledgement does in `alerts.engine.event_handler`. A
sender whom no SMS was ever meant for is not answered: it would tell a stranger that this number is alive, and two
machines would answer each other for ever.
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

#: How often a number is answered about an SMS that did nothing, until one does something or the number is asked to answer
#: again.
MOST_PUZZLED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsReply:
    """What to answer: a text below `sms.response`, and what it tells."""

    situation: str
    language: Language
    told: dict[str, str] = field(repr=False)
    #: Until when the acknowledgement stands; where nobody is left to tell, when they are told again.
    until: datetime | None = None
    #: The incidents that it changed.
    concerned: tuple[int, ...] = ()
    #: That they have taken it on, if they have by this.
    tellings: Sequence[NotificationLatency] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alert:
    """A notice that the phone was sent with a code."""

    code: int
    notice: Notification

    @property
    def number(self) -> str:
        more = len(self.notice.parts) - 1
        first = self.notice.parts[0].facts.number
        return first if not more else f"{first} (+{more})"

    def about(self, parts: Sequence[NotificationIncident]) -> _Alert:
        """Return it with these of its parts only."""
        return replace(self, notice=replace(self.notice, parts=tuple(parts)))

    def alone(self, quoted: str) -> Mapping[str, _Alert]:
        """Return what it tells of the incidents that may be *quoted* so, by number. Who names one takes on that one."""
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
    """Take in an SMS, and return what to answer, or `None`: it came before, is a stranger's, or needs no answer."""
    # A name in the place of a number may hold what no database keeps; it must not keep those behind it from being heard.
    if not said.sender.isprintable() or not await ledger.responses.knows(said.sender):
        log.info("an SMS from an unknown number was ignored", gateway=gateway)
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
    """Return which of *alerts* an answer is about: what it names, or all that wait for one; the newest if none does."""
    if meaning.code is not None:
        coded = [alert for alert in alerts if alert.code == meaning.code][:1]
        if not coded or meaning.number is None or coded[0].alone(meaning.number):
            return coded
        # Whoever quotes another alert's number beside the code is asked which they mean.
        return [*coded, *(alert for alert in alerts if alert.alone(meaning.number))]
    if meaning.number is not None:
        named: dict[str, _Alert] = {}
        for alert in reversed(alerts):
            named |= alert.alone(meaning.number)
        return list(named.values())
    waiting = [alert for alert in alerts if await _waits(ledger, alert, had=meaning.hands_on)]
    return waiting or list(alerts[:1])


async def _alerts(ledger: UnitOfWork, number: str) -> Sequence[_Alert]:
    """Return what the phone was told of, the newest first. A code that was given anew stands for its newest notice."""
    alerts = []
    for told in await ledger.responses.told(number):
        # A bundle that never left may have nothing to tell any more.
        with contextlib.suppress(LookupError):
            alerts.append(_Alert(code=told.code, notice=await ledger.notice(told.notice_id)))
    return alerts


async def _waits(ledger: UnitOfWork, alert: _Alert, *, had: bool = False) -> bool:
    """Whether anything in it waits for somebody to take it on, and has not got worse since.

    *had*: or is this person's already.
    """
    for part in alert.notice.parts:
        incident = await ledger.incident(part.incident_id)
        if incident is None or not incident.is_open:
            continue
        # Whoever has it was asked to say so again.
        asked = had or incident.reminded_at is not None
        theirs = asked and incident.acknowledged_by == incident.holder_name(part.person)
        if incident.acknowledged_at is not None and not theirs:
            continue
        if not has_got_worse(incident, part.facts.matter):
            return True
    return False


async def _accept(
    ledger: UnitOfWork, number: str, alert: _Alert, known: SmsNumber, now: datetime, *, gateway: str
) -> SmsReply | None:
    result = await acknowledge(ledger, alert.notice, now)
    told = [(part, await ledger.incident(part.incident_id)) for part in alert.notice.parts]
    # Of a bundle the answer names what it holds for: the rest may be over, or another's.
    held = [(part, incident) for part, incident in told if incident is not None and _holds(result, part, incident)]
    by, corrected = "", False
    if held:
        alert, by = alert.about([part for part, _ in held]), held[0][1].acknowledged_by or ""
        corrected = all(incident.corrected_at is not None for _, incident in held)
    if result in {AckResult.TAKEN, AckResult.PROLONGED}:
        await ledger.responses.save_sms_number(number, replace(known, puzzled=0))
        until = max((i.acknowledged_until for _, i in held if i.acknowledged_until is not None), default=None)
        situation = "taken" if result is AckResult.TAKEN else "prolonged"
        return replace(
            alert.react(situation, by=by),
            until=until,
            concerned=tuple(alert.notice.incident_ids),
            tellings=await taken_on(ledger, alert.notice, result, now, channel=Channel.SMS, gateway=gateway),
        )
    # The text names who has it. What they had taken on before is not "taken" anew: a machine would be thanked for ever.
    before = dict.fromkeys((AckResult.AGAIN, AckResult.ALREADY), "already")
    over = "corrected" if corrected else "over"
    situation = {**before, AckResult.WORSE: "worse"}.get(result, over)
    return await _puzzled(ledger, number, known, alert, situation, by=by)


async def _hand_on(ledger: UnitOfWork, number: str, alert: _Alert, known: SmsNumber, now: datetime) -> SmsReply | None:
    told = [(part, await ledger.incident(part.incident_id)) for part in alert.notice.parts]
    result = await hand_on(ledger, alert.notice, now)
    if result in {AckResult.HANDED_ON, AckResult.NOBODY_LEFT}:
        mine = [
            p for p, i in told if i is not None and i.is_open and i.acknowledged_by in {None, i.holder_name(p.person)}
        ]
        await ledger.responses.save_sms_number(number, replace(known, puzzled=0))
        after = [await ledger.incident(part.incident_id) for part in mine]
        again = min((told_again_at(each) for each in after if each is not None), default=None)
        reaction = alert.about(mine).react(str(result))
        return replace(reaction, concerned=tuple(part.incident_id for part in mine), until=again)
    if result is AckResult.ALREADY:
        by = next((i.acknowledged_by for _, i in told if i is not None and i.acknowledged_by), "")
        return await _puzzled(ledger, number, known, alert, "already", by=by)
    return await _puzzled(ledger, number, known, alert, "over")


def _holds(result: AckResult, part: NotificationIncident, incident: Incident) -> bool:
    """Whether an answer holds for one of the incidents that a notice tells of."""
    match result:
        case AckResult.TAKEN | AckResult.PROLONGED | AckResult.AGAIN:
            return incident.is_open and incident.acknowledged_by == incident.holder_name(part.person)
        case AckResult.ALREADY:
            return incident.is_open and incident.acknowledged_by is not None
        case AckResult.WORSE:
            return incident.is_open and has_got_worse(incident, part.facts.matter)
        case _:
            return True


async def _puzzled(
    ledger: UnitOfWork, number: str, known: SmsNumber, alert: _Alert, situation: str, *, by: str = ""
) -> SmsReply | None:
    """Answer what did nothing, a few times only: the other side may be a machine that says OK to everything."""
    if known.puzzled >= MOST_PUZZLED:
        return None
    await ledger.responses.save_sms_number(number, replace(known, puzzled=known.puzzled + 1))
    return alert.react(situation, response=printed(alert.code), by=by)


async def _note_stop(
    ledger: UnitOfWork, number: str, known: SmsNumber, alerts: Sequence[_Alert], now: datetime, *, stopped: bool
) -> SmsReply | None:
    """Note that a number wants no SMS, or wants them again. Whose it is stands in the journal, the number does not.

    Answered when it changes something: two machines that send STOP to each other do so once.
    """
    await ledger.responses.save_sms_number(number, replace(known, stopped_at=now if stopped else None, puzzled=0))
    event = "no more SMS wanted" if stopped else "SMS wanted again"
    person, incident_id, situation = "somebody", None, "stopped_unreached" if stopped else "started"
    if alerts:
        notice = alerts[0].notice
        incident = await ledger.incident(notice.incident_id)
        contact = incident.brief.escalation.contact(notice.person) if incident else None
        person = contact.name if contact else notice.person
        if stopped and contact is not None and contact.addresses_on([Channel.VOICE]):
            situation = "stopped"
        incident_id = notice.incident_id
    log.warning(event, person=person)
    await ledger.journal(AuditEntry(at=now, actor=person, event=event, incident_id=incident_id))
    has_changed = (known.stopped_at is not None) is not stopped
    return alerts[0].react(situation) if alerts and has_changed else None
