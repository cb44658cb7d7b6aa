"""Incident processing within one database transaction.

Gateway calls are returned and made after the commit; their attempts are stored already. Processing is idempotent: with
the same store and time it writes nothing new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from alerts.decide.ack_timeout import AckReminderDue, AckTimedOut, AckValid, NotAcknowledged, promise
from alerts.decide.announcement import (
    Announce,
    Announcement,
    AwaitRelease,
    AwaitStaffNotified,
    NoRecipients,
    NotBefore,
    ReleaseNow,
    announce,
)
from alerts.decide.bundle import (
    GROUP_INTERVAL,
    REACH,
    AlreadyPending,
    JoinBundle,
    SendAtOnce,
    StartBundle,
    bundle,
    gathering,
)
from alerts.decide.edit import follow_edit, reached_at
from alerts.decide.escalation import (
    Escalation,
    EscalationStopped,
    Redial,
    StartStep,
    WaitUntil,
    escalate,
    put_back,
)
from alerts.decide.followup import follow_up
from alerts.decide.gateway.next_action import decisive, rang_in_vain
from alerts.decide.handover import LOOKS_BACK, come_on_duty, rotas_of
from alerts.decide.release_result import release_result
from alerts.decide.silence import Muter, Silence
from alerts.decide.state_change import Abandon, Cancel, Notify, WithdrawLetter, conclude
from alerts.engine.event_handler import overrides_for, take_in
from alerts.engine.notification_processor import NotificationProcessor
from alerts.engine.processing_result import OpenIncident, ProcessingResult, StateChange
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Contact
from alerts.model.delivery import SETTLED, AttemptState, Notification, NotificationDraft, NotificationState
from alerts.model.event import AUTOMATIC, Expire, Release
from alerts.model.incident import Incident, apply, has_got_worse, release_is_offered
from alerts.model.notification import Plan, Purpose
from alerts.model.oncall import Override
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.model.urgency import urgency
from alerts.persistence.store import AuditEntry, UnitOfWork

#: A silence of a route may end because the incident has become more than that route.
_LOOK_AGAIN = timedelta(seconds=30)


class IncidentProcessor:
    """Processes incidents one after the other in one transaction. Created for each transaction."""

    def __init__(
        self,
        *,
        ledger: UnitOfWork,
        now: datetime,
        mover: Callable[[int, ProcessingResult], NotificationProcessor],
        muter: Muter,
        rests: bool = False,
        brief: Callable[[Incident], PolicySnapshot | None] = lambda _: None,
    ) -> None:
        """*mover*: creates the processor of an incident's notifications, with the same unit of work and time.

        *rests*: nobody is notified for now. *brief*: returns the policy of an incident that opened meanwhile.
        """
        self._ledger = ledger
        self._now = now
        self._made = mover
        self._muter = muter
        self._rests = rests
        self._brief = brief
        self._silences: Sequence[Silence] | None = None
        self._known: Sequence[Notification] | None = None
        #: Recent overrides by rotas: hundreds of incidents may share them.
        self._overrides: dict[frozenset[str], Sequence[Override]] = {}
        self.advance = ProcessingResult()

    async def bring_forward(self, incident_id: int, advance: ProcessingResult) -> None:
        """Process all due steps of one incident. Record the result in *advance*."""
        self.advance = advance
        self._known = None
        incident = await self._ledger.incident(incident_id)
        if incident is None:
            self.advance.at_rest = True
            return
        if self._rests:
            await self._leave_untold(incident)
            return
        self._mover = self._made(incident_id, advance)
        incident = await self._tell(await self._briefed(incident))
        await self._conclude(incident)
        await self._tell_result(incident)
        for notice in await self._notices(incident):
            # The first incident sends the bundle, so that it is sent once.
            if notice.state not in SETTLED and notice.leads:
                await self._mover.deliver(notice)
        if self._mover.has_moved:
            self._known = None
        notices = await self._notices(incident)
        waiting = [n for n in notices if n.state is NotificationState.PENDING and n.due_at <= self._now and n.leads]
        waiting = [n for n in waiting if n.id not in self._mover.waiting]
        if any(n.channel in ON_PAPER for n in waiting) and await self._ledger.is_paper_held():
            # Paused paper has a notification of its own.
            waiting = [n for n in waiting if n.channel not in ON_PAPER]
        self.advance.oldest_pending = min((n.due_at for n in waiting), default=None)
        if incident.is_open:
            self._count(incident)
        elif all(self._owes_nothing(n) for n in notices):
            await self._put_to_rest(incident)

    async def _leave_untold(self, incident: Incident) -> None:
        """Decide nothing and make no calls: processing continues from the store when notifications are allowed again."""
        if incident.is_open:
            self._count(incident)
        elif not await self._notices(incident):
            await self._put_to_rest(incident)

    async def _briefed(self, incident: Incident) -> Incident:
        """Set the current policy of an open incident without any; otherwise apply an edit of the configuration.

        Its escalation starts at the first step. Many such incidents are bundled.
        """
        if not incident.is_open or (brief := self._brief(incident)) is None:
            return incident
        if not incident.policy.has_nobody_to_notify:
            return await self._follow_edit(incident, brief)
        incident = replace(incident, policy=brief)
        await self._ledger.save_brief(incident)
        await self._write("told from now on", incident, number=incident.number)
        return incident

    async def _follow_edit(self, incident: Incident, present: PolicySnapshot) -> Incident:
        """Apply edited people and numbers to an open incident."""
        present = await self._with_stand_ins(incident, present)
        edit = follow_edit(incident, present, await self._notices(incident), self._now)
        if edit is None:
            return incident
        for notice in edit.withdrawn:
            await self._withdraw(notice)
        if edit.incident.position != incident.position:
            await self._ledger.save_incident(edit.incident)
        if edit.incident.policy != incident.policy:
            await self._ledger.save_brief(edit.incident)
            await self._write("contacts updated", incident, number=incident.number)
        await self._add(edit.incident, edit.drafts, once=True)
        return edit.incident

    async def _with_stand_ins(self, incident: Incident, present: PolicySnapshot) -> PolicySnapshot:
        """Add people whom only an active override names: another process has their configuration."""
        before, policy = incident.policy.escalation, present.escalation
        unknown = {each.key: each for each in before.stand_ins if policy.contact(each.key) is None}
        if not unknown:
            return present
        overrides = await self._ledger.overrides({rota.name for rota in policy.rotas}, self._now)
        standing = {o.contact.key: o.contact for o in overrides if o.contact.key in unknown and self._now < o.ends_at}
        return replace(present, escalation=replace(policy, stand_ins=(*policy.stand_ins, *standing.values())))

    def _count(self, incident: Incident) -> None:
        self.advance.open = OpenIncident(
            agency=incident.policy.agency,
            number=incident.number,
            opened_at=incident.opened_at,
            declared=incident.declared_type,
        )

    async def _put_to_rest(self, incident: Incident) -> None:
        await self._ledger.put_to_rest(incident.id)
        self.advance.at_rest = True

    async def _notices(self, incident: Incident) -> Sequence[Notification]:
        if self._known is None and _is_untold(incident):
            self._known = ()
        elif self._known is None:
            self._known = await self._ledger.notices(incident.id)
        return self._known

    async def _tell(self, incident: Incident) -> Incident:
        silence = await self._silence(incident)
        if silence is None:
            incident = await self._hand_over(await self._hold_to_promise(incident))
            incident = await self._announce(await self._escalate(incident))
            await self._follow_up(incident)
            return incident
        self.advance.wake_at(min(silence.ends_at, self._now + _LOOK_AGAIN))
        incident = await self._fall_silent(incident)
        # A person's release goes out despite a silence.
        return await self._announce(incident) if incident.released_at is not None else incident

    async def _silence(self, incident: Incident) -> Silence | None:
        if self._silences is None:
            self._silences = await self._ledger.silences(self._now)
        return self._muter(incident, self._silences, self._now)

    async def _fall_silent(self, incident: Incident) -> Incident:
        """Withdraw unsent notifications to staff: when the silence ends the escalation continues with current facts.

        Follow-ups are withdrawn too; a released announcement is not.
        """
        withheld = [
            notice
            for notice in await self._notices(incident)
            if notice.state is NotificationState.PENDING and not notice.attempts
            if notice.purpose is Purpose.UPDATE or (notice.plan is Plan.ESCALATION and notice.purpose is Purpose.OUTAGE)
        ]
        for notice in withheld:
            await self._withdraw(notice)
        steps = [notice for notice in withheld if notice.purpose is Purpose.OUTAGE]
        back = put_back(incident, steps, self._now)
        if back is not incident:
            await self._ledger.save_incident(back)
        return back

    async def _withdraw(self, notice: Notification) -> None:
        self._known = None
        if notice.tells_of > 1:
            await self._mover.leave(notice)
        else:
            await self._mover.enter(notice, NotificationState.WITHDRAWN)

    async def _hold_to_promise(self, incident: Incident) -> Incident:
        """Remind the assignee, and continue the escalation if there is no answer."""
        decision = promise(incident, self._now)
        if isinstance(decision, AckReminderDue):
            decision = promise(incident, self._now, await overrides_for(self._ledger, incident, self._now))
        match decision:
            case AckReminderDue(drafts=drafts):
                incident = replace(incident, reminded_at=self._now)
                await self._ledger.save_incident(incident)
                await self._add(incident, drafts, once=True)
                return await self._hold_to_promise(incident)
            case AckTimedOut():
                incident = await take_in(self._ledger, Expire(incident_id=incident.id, at=self._now)) or incident
            case AckValid(until=until):
                self.advance.wake_at(until)
            case NotAcknowledged():
                pass
        return incident

    async def _escalate(self, incident: Incident) -> Incident:
        while True:
            notices = await self._notices(incident)
            match await self._next_step(incident, notices):
                case StartStep(position=position, drafts=drafts, deserted=deserted, stand_ins=stand_ins):
                    incident = replace(incident, position=position)
                    await self._ledger.save_incident(incident)
                    incident = await self._acquaint(incident, stand_ins)
                    await self._add(incident, drafts, once=True)
                    await self._note_deserted(incident, deserted)
                case Redial(drafts=drafts, then=then):
                    await self._add(incident, drafts)
                    self.advance.wake_at(then)
                    return incident
                case WaitUntil(at=at):
                    self.advance.wake_at(at)
                    return incident
                case EscalationStopped():
                    return incident

    async def _next_step(self, incident: Incident, notices: Sequence[Notification]) -> Escalation:
        decision = escalate(incident, notices, self._now)
        if not isinstance(decision, StartStep):
            return decision
        # Overrides determine the people of a step, not whether it starts: hundreds of waiting incidents need not read
        # them.
        overrides = await overrides_for(self._ledger, incident, self._now)
        return escalate(incident, notices, self._now, overrides) if overrides else decision

    async def _acquaint(self, incident: Incident, stand_ins: Sequence[Contact]) -> Incident:
        """Add substitutes to the incident's policy: their names are needed when they answer."""
        if not stand_ins:
            return incident
        policy = incident.policy.escalation
        policy = replace(policy, stand_ins=(*policy.stand_ins, *stand_ins))
        incident = replace(incident, policy=replace(incident.policy, escalation=policy))
        await self._ledger.save_brief(incident)
        return incident

    async def _note_deserted(self, incident: Incident, rotas: Sequence[str]) -> None:
        fallback = incident.policy.escalation.fallback
        for rota in rotas:
            await self._write("nobody is on call", incident, rota=rota, instead=fallback.key if fallback else "nobody")
            self.advance.deserted[incident.policy.agency] += 1

    async def _announce(self, incident: Incident) -> Incident:
        match await self._next_word(incident):
            case ReleaseNow():
                release = Release(incident_id=incident.id, at=self._now, by=AUTOMATIC)
                incident = apply(incident, release)
                await self._ledger.save_incident(incident)
                await self._write("announcement released by itself", incident)
                return await self._announce(incident)
            case Announce(drafts=drafts):
                await self._add(incident, drafts)
            case NotBefore(at=at):
                self.advance.wake_at(at)
            case AwaitRelease(at=at, drafts=drafts, stand_ins=stand_ins):
                incident = await self._acquaint(incident, stand_ins)
                await self._add(incident, drafts)
                self.advance.wake_at(at)
            case NoRecipients() | AwaitStaffNotified():
                pass  # Reports on their notifications will wake the engine.
        return incident

    async def _next_word(self, incident: Incident) -> Announcement:
        # Overrides determine to whom a release is offered: without an offer they need not be read.
        asks = release_is_offered(incident, self._now)
        overrides = await overrides_for(self._ledger, incident, self._now) if asks else ()
        return announce(incident, await self._notices(incident), self._now, overrides)

    async def _follow_up(self, incident: Incident) -> None:
        """Create follow-ups for recipients outside."""
        decision = follow_up(incident, await self._notices(incident), self._now)
        await self._add(incident, decision.drafts)
        self.advance.wake_at(decision.then)

    async def _hand_over(self, incident: Incident) -> Incident:
        """Notify people who come on duty of the open incident."""
        rotas = frozenset(rota.name for rota in rotas_of(incident))
        if not rotas or not incident.is_open:
            return incident
        if rotas not in self._overrides:
            self._overrides[rotas] = await self._ledger.overrides(rotas, self._now - LOOKS_BACK)
        decision = come_on_duty(incident, await self._notices(incident), self._now, self._overrides[rotas])
        incident = await self._acquaint(incident, decision.stand_ins)
        await self._add(incident, decision.drafts)
        self.advance.wake_at(decision.then)
        return incident

    async def _conclude(self, incident: Incident) -> None:
        for conclusion in conclude(incident, await self._notices(incident), self._now):
            match conclusion:
                case Cancel(notice=notice):
                    await self._withdraw(notice)
                case Abandon(notice=notice):
                    await self._give_up(incident, notice)
                case WithdrawLetter(notice=notice, attempt=attempt):
                    await self._mover.take_back(notice, attempt)
                    self._known = None
                case Notify(draft=draft):
                    await self._add(incident, [draft])

    async def _tell_result(self, incident: Incident) -> None:
        """Notify the person who released of the result, also after the end and during a silence."""
        if incident.released_at is None:
            return
        result = release_result(incident, await self._notices(incident), self._now)
        await self._add(incident, result.drafts)
        self.advance.wake_at(result.then)

    async def _give_up(self, incident: Incident, notice: Notification) -> None:
        self._known = None
        if notice.tells_of == 1:
            await self._mover.enter(notice, NotificationState.UNKNOWN)
        elif not incident.is_open:
            # Other recipients still need it. A person who acknowledged may get it once more: a recovery follows later.
            await self._mover.leave(notice)

    async def _add(self, incident: Incident, drafts: Sequence[NotificationDraft], *, once: bool = False) -> None:
        """Write notifications that do not exist yet. *once*: they are not requested again."""
        for draft in drafts:
            if draft.plan is Plan.ESCALATION:
                # A draft from before an edit may name a removed number or person.
                addresses = reached_at(incident.policy, draft.person, draft.addresses)
                draft = replace(draft, addresses=addresses)  # noqa: PLW2901 - the same draft, to where it goes
            if draft.addresses and not await self._is_decided(incident, draft.key):
                await self._decide(incident, draft, once=once)

    async def _is_decided(self, incident: Incident, key: str) -> bool:
        # Most are requested at each processing. The database is needed only for those that joined or left a bundle.
        known = any(notice.key == key for notice in await self._notices(incident))
        return known or await self._ledger.is_decided(key)

    async def _decide(self, incident: Incident, draft: NotificationDraft, *, once: bool) -> None:
        """Write a notification: one of its own, or a part of one that waits."""
        presses = urgency(
            draft.plan,
            draft.purpose,
            round=draft.round,
            heard_before=_has_heard(incident, await self._notices(incident), draft),
        )
        key = gathering(draft, presses)
        recent = await self._ledger.gathered(key, self._now - REACH, incident.id) if key else ()
        channel = draft.addresses[0].channel
        not_before: datetime | None = None
        is_turn = draft.purpose is Purpose.RELEASE and draft.round > 0
        match bundle(recent, self._now, draft.purpose, is_turn=is_turn):
            case JoinBundle(notification_id=notification_id) if await self._ledger.join_notice(
                notification_id, incident, draft
            ):
                self._known = None
                self.advance.bundled[channel] += 1
                bundled = {"person": draft.person, "channel": channel, "purpose": draft.purpose}
                await self._write("notice bundled", incident, notification_id, **bundled)
                return
            case JoinBundle():
                # Another engine is sending it at this moment.
                not_before = self._now + GROUP_INTERVAL
            case AlreadyPending():
                # A step starts once; other requests would be logged at each processing.
                if once:
                    await self._write("notice superseded", incident, person=draft.person, channel=channel)
                return
            case StartBundle(until=until):
                not_before = until
            case SendAtOnce():
                pass
        added = await self._ledger.add_notice(
            incident, draft, self._now, urgency=presses, gathering=key, not_before=not_before
        )
        if added is None:
            return
        self._known = [*await self._notices(incident), added]
        self.advance.entered.append(
            StateChange(channel=channel, purpose=draft.purpose, state=NotificationState.PENDING)
        )
        await self._write(f"{draft.purpose} notice decided", incident, added.id, person=draft.person, channel=channel)

    async def _write(self, event: str, incident: Incident, notification_id: int | None = None, **detail: str) -> None:
        entry = AuditEntry(
            at=self._now,
            actor="engine",
            event=event,
            incident_id=incident.id,
            notification_id=notification_id,
            detail=detail,
        )
        await self._ledger.journal(entry)

    def _owes_nothing(self, notice: Notification) -> bool:
        """Whether a notification of a resolved incident needs no further processing: settled, or sent and expired."""
        if notice.state in SETTLED:
            return True
        last = decisive(notice)
        in_the_tray = notice.channel is Channel.LETTER and last is not None and last.state is AttemptState.ACCEPTED
        return notice.state is NotificationState.SENT and not in_the_tray and self._now >= notice.expires_at


def _is_untold(incident: Incident) -> bool:
    """Whether nothing can have been decided about an incident yet."""
    at = incident.position
    # An incident that was acknowledged before its first step still has reminders and offers of the release.
    is_untouched = incident.last_response_at is None and incident.released_at is None
    return incident.is_open and at.step < 0 and at.restarts == 0 and is_untouched


def _has_heard(incident: Incident, notices: Sequence[Notification], draft: NotificationDraft) -> bool:
    """Whether a person was notified, or is about to be, of the incident's present state.

    Also if an earlier step called in vain: otherwise a sleeping person would be called without limit. A step itself
    calls as often as configured.
    """
    place = draft.restarts, draft.round, draft.step
    return any(
        n.plan is draft.plan
        and n.purpose is Purpose.OUTAGE
        and n.person == draft.person
        and not has_got_worse(incident, n.facts.type)
        and (
            n.state not in {NotificationState.FAILED, NotificationState.WITHDRAWN}
            or (_has_rung(n) and (n.restarts, n.round, n.step) != place)
        )
        for n in notices
    )


def _has_rung(notice: Notification) -> bool:
    calls = (d.attempts for d in notice.deliveries if d.address.channel is Channel.VOICE)
    return any(rang_in_vain(attempt) for attempts in calls for attempt in attempts)
