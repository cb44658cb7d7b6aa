"""Bring incidents forward, inside one transaction: decide, and write what follows.

What has to happen outside the transaction (a call of a gateway) is returned as gateway calls, whose attempts are already
written. Nothing here is remembered: asked again with the same store and time, it writes nothing new.
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

#: What is silent for the sake of a route may be more than that route by then.
_LOOK_AGAIN = timedelta(seconds=30)


class IncidentProcessor:
    """Looks at incidents, one after the other, in one transaction. Made anew for each."""

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
        """*mover*: makes the one that moves the notices of an incident, with the same ledger and time.

        *rests*: nobody is told of anything for now. *brief*: whom one tells that opened meanwhile, as it would open now.
        """
        self._ledger = ledger
        self._now = now
        self._made = mover
        self._muter = muter
        self._rests = rests
        self._brief = brief
        self._silences: Sequence[Silence] | None = None
        self._known: Sequence[Notification] | None = None
        #: Those that may have stood lately, by the rotas: hundreds of incidents may name the same.
        self._overrides: dict[frozenset[str], Sequence[Override]] = {}
        self.advance = ProcessingResult()

    async def bring_forward(self, incident_id: int, advance: ProcessingResult) -> None:
        """Take all the steps of one incident that are due, and note in *advance* what came of it."""
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
            # Of a bundle the first incident looks after it.
            if notice.state not in SETTLED and notice.leads:
                await self._mover.deliver(notice)
        if self._mover.has_moved:
            self._known = None
        notices = await self._notices(incident)
        waiting = [n for n in notices if n.state is NotificationState.PENDING and n.due_at <= self._now and n.leads]
        waiting = [n for n in waiting if n.id not in self._mover.waiting]
        if any(n.channel in ON_PAPER for n in waiting) and await self._ledger.is_paper_held():
            # A person is told of that by itself.
            waiting = [n for n in waiting if n.channel not in ON_PAPER]
        self.advance.oldest_pending = min((n.due_at for n in waiting), default=None)
        if incident.is_open:
            self._count(incident)
        elif all(self._owes_nothing(n) for n in notices):
            await self._put_to_rest(incident)

    async def _leave_untold(self, incident: Incident) -> None:
        """Decide nothing and call nobody: when people are told again it goes on from what is stored, as after a stop."""
        if incident.is_open:
            self._count(incident)
        elif not await self._notices(incident):
            await self._put_to_rest(incident)

    async def _briefed(self, incident: Incident) -> Incident:
        """Give an open incident that has nobody to tell those whom it would have if it opened now; else follow an edit.

        Its escalation begins at the first step: none has begun. Of many that wait they hear together.
        """
        if not incident.is_open or (brief := self._brief(incident)) is None:
            return incident
        if not incident.brief.tells_nobody:
            return await self._follow_edit(incident, brief)
        incident = replace(incident, brief=brief)
        await self._ledger.save_brief(incident)
        await self._write("told from now on", incident, number=incident.number)
        return incident

    async def _follow_edit(self, incident: Incident, present: PolicySnapshot) -> Incident:
        """Let people and numbers of an open incident be those of the configuration."""
        present = await self._with_stand_ins(incident, present)
        edit = follow_edit(incident, present, await self._notices(incident), self._now)
        if edit is None:
            return incident
        for notice in edit.withdrawn:
            await self._withdraw(notice)
        if edit.incident.position != incident.position:
            await self._ledger.save_incident(edit.incident)
        if edit.incident.brief != incident.brief:
            await self._ledger.save_brief(edit.incident)
            await self._write("contacts updated", incident, number=incident.number)
        await self._add(edit.incident, edit.drafts, once=True)
        return edit.incident

    async def _with_stand_ins(self, incident: Incident, present: PolicySnapshot) -> PolicySnapshot:
        """Add those whom the configuration does not have, and an override that stands does: another process has its own."""
        before, policy = incident.brief.escalation, present.escalation
        unknown = {each.key: each for each in before.stand_ins if policy.contact(each.key) is None}
        if not unknown:
            return present
        overrides = await self._ledger.overrides({rota.name for rota in policy.rotas}, self._now)
        standing = {o.contact.key: o.contact for o in overrides if o.contact.key in unknown and self._now < o.ends}
        return replace(present, escalation=replace(policy, stand_ins=(*policy.stand_ins, *standing.values())))

    def _count(self, incident: Incident) -> None:
        self.advance.open = OpenIncident(
            agency=incident.brief.agency,
            number=incident.number,
            opened_at=incident.opened_at,
            declared=incident.standing,
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
        self.advance.wake_at(min(silence.ends, self._now + _LOOK_AGAIN))
        incident = await self._fall_silent(incident)
        # What a person has released goes out all the same: they knew better than the silence.
        return await self._announce(incident) if incident.released_at is not None else incident

    async def _silence(self, incident: Incident) -> Silence | None:
        if self._silences is None:
            self._silences = await self._ledger.silences(self._now)
        return self._muter(incident, self._silences, self._now)

    async def _fall_silent(self, incident: Incident) -> Incident:
        """Withdraw what has not left to staff: when the silence ends, the escalation goes on and tells what is true then.

        Also that it lasts, to whomever. What a person has released is another matter.
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
        """Remind whoever has taken it on, and let the escalation go on when they are not heard of."""
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
        # They say whom a step tells and not whether one begins: hundreds of incidents that wait need not read them.
        overrides = await overrides_for(self._ledger, incident, self._now)
        return escalate(incident, notices, self._now, overrides) if overrides else decision

    async def _acquaint(self, incident: Incident, stand_ins: Sequence[Contact]) -> Incident:
        """Let the incident know who stands in for somebody: their names are asked for when they answer."""
        if not stand_ins:
            return incident
        policy = incident.brief.escalation
        policy = replace(policy, stand_ins=(*policy.stand_ins, *stand_ins))
        incident = replace(incident, brief=replace(incident.brief, escalation=policy))
        await self._ledger.save_brief(incident)
        return incident

    async def _note_deserted(self, incident: Incident, rotas: Sequence[str]) -> None:
        fallback = incident.brief.escalation.fallback
        for rota in rotas:
            await self._write("nobody is on call", incident, rota=rota, instead=fallback.key if fallback else "nobody")
            self.advance.deserted[incident.brief.agency] += 1

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
                pass  # What becomes of their notices is heard of.
        return incident

    async def _next_word(self, incident: Incident) -> Announcement:
        # Overrides say whom a release is offered to: what does not wait for one need not read them.
        asks = release_is_offered(incident, self._now)
        overrides = await overrides_for(self._ledger, incident, self._now) if asks else ()
        return announce(incident, await self._notices(incident), self._now, overrides)

    async def _follow_up(self, incident: Incident) -> None:
        """Tell people outside that what they were told of lasts."""
        decision = follow_up(incident, await self._notices(incident), self._now)
        await self._add(incident, decision.drafts)
        self.advance.wake_at(decision.then)

    async def _hand_over(self, incident: Incident) -> Incident:
        """Tell whoever comes on duty what is still open."""
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
        """Tell whoever released the announcement what came of it, also after the end and during a silence."""
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
            # The others still need it. Who acknowledged may get it once more: a recovery is owed to them later.
            await self._mover.leave(notice)

    async def _add(self, incident: Incident, drafts: Sequence[NotificationDraft], *, once: bool = False) -> None:
        """Write notices that were not written before. *once*: nobody will ask for these again."""
        for draft in drafts:
            if draft.plan is Plan.ESCALATION:
                # What was decided before an edit may name a number, or somebody, that is no more.
                addresses = reached_at(incident.brief, draft.person, draft.addresses)
                draft = replace(draft, addresses=addresses)  # noqa: PLW2901 - the same draft, to where it goes
            if draft.addresses and not await self._is_decided(incident, draft.key):
                await self._decide(incident, draft, once=once)

    async def _is_decided(self, incident: Incident, key: str) -> bool:
        # Most is asked for at each look. Only of what is in another's bundle, or has left one, its notice does not tell.
        known = any(notice.key == key for notice in await self._notices(incident))
        return known or await self._ledger.is_decided(key)

    async def _decide(self, incident: Incident, draft: NotificationDraft, *, once: bool) -> None:
        """Write a notice: one of its own, or as a part of one that still waits."""
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
            case JoinBundle(notice_id=notice_id) if await self._ledger.join_notice(notice_id, incident, draft):
                self._known = None
                self.advance.bundled[channel] += 1
                bundled = {"person": draft.person, "channel": channel, "purpose": draft.purpose}
                await self._write("notice bundled", incident, notice_id, **bundled)
                return
            case JoinBundle():
                # Another engine is sending it at this moment.
                not_before = self._now + GROUP_INTERVAL
            case AlreadyPending():
                # A step begins once; what is asked for at each look would be written down at each look.
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

    async def _write(self, event: str, incident: Incident, notice_id: int | None = None, **detail: str) -> None:
        entry = AuditEntry(
            at=self._now, actor="engine", event=event, incident_id=incident.id, notice_id=notice_id, detail=detail
        )
        await self._ledger.journal(entry)

    def _owes_nothing(self, notice: Notification) -> bool:
        """Whether a notice of a resolved incident needs no more looking after: settled, or sent and past its use."""
        if notice.state in SETTLED:
            return True
        last = decisive(notice)
        in_the_tray = notice.channel is Channel.LETTER and last is not None and last.state is AttemptState.ACCEPTED
        return notice.state is NotificationState.SENT and not in_the_tray and self._now >= notice.expires_at


def _is_untold(incident: Incident) -> bool:
    """Whether nothing can have been decided about an incident yet."""
    at = incident.position
    # Who takes it on before its first step is reminded all the same, and called about the release.
    is_untouched = incident.heard_at is None and incident.released_at is None
    return incident.is_open and at.step < 0 and at.wave == 0 and is_untouched


def _has_heard(incident: Incident, notices: Sequence[Notification], draft: NotificationDraft) -> bool:
    """Whether a person was told, or is about to be, of what an incident is about now.

    Also if an earlier step has rung them in vain: else whoever sleeps would be rung without any limit. A step itself calls as
    often as it says.
    """
    place = draft.wave, draft.round, draft.step
    return any(
        n.plan is draft.plan
        and n.purpose is Purpose.OUTAGE
        and n.person == draft.person
        and not has_got_worse(incident, n.facts.matter)
        and (
            n.state not in {NotificationState.FAILED, NotificationState.WITHDRAWN}
            or (_has_rung(n) and (n.wave, n.round, n.step) != place)
        )
        for n in notices
    )


def _has_rung(notice: Notification) -> bool:
    calls = (d.attempts for d in notice.deliveries if d.address.channel is Channel.VOICE)
    return any(rang_in_vain(attempt) for attempts in calls for attempt in attempts)
