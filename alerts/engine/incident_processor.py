"""Processing of incidents within one database transaction: all decisions that are due now.

An incident has two plans: the escalation notifies staff step by step, the announcement notifies recipients outside.
Decided gateway calls are stored as attempts, returned in the result, and made after the commit. Processing is
idempotent: with the same store and time it writes nothing new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from alerts.decide.ack_timeout import AckReminderDue, AckTimedOut, AckValid, NotAcknowledged, check_acknowledgement
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
    BUNDLE_INTERVAL,
    SEARCH_WINDOW,
    AlreadyPending,
    JoinBundle,
    SendAtOnce,
    StartBundle,
    bundle,
    bundle_key,
)
from alerts.decide.edit import apply_edit, current_addresses
from alerts.decide.escalation import (
    Escalation,
    EscalationStopped,
    Redial,
    StartStep,
    WaitUntil,
    escalate,
    rewind_escalation,
)
from alerts.decide.followup import follow_up
from alerts.decide.gateway.next_action import decisive_attempt, is_unanswered_call
from alerts.decide.handover import MAX_HANDOVER_AGE, handover_notification, step_rotas
from alerts.decide.release_result import release_result
from alerts.decide.silence import Silence, SilenceLookup
from alerts.decide.state_change import Abandon, Cancel, Notify, WithdrawLetter, conclude
from alerts.engine.event_handler import handle_event, overrides_for
from alerts.engine.notification_processor import NotificationProcessor
from alerts.engine.processing_result import OpenIncident, ProcessingResult, StateChange
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Contact
from alerts.model.delivery import SETTLED, AttemptState, Notification, NotificationDraft, NotificationState
from alerts.model.event import AUTOMATIC, Expire, Release
from alerts.model.incident import Incident, apply, has_become_outage, release_is_offered
from alerts.model.notification import Plan, Purpose
from alerts.model.oncall import Override
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.model.urgency import urgency
from alerts.persistence.store import AuditEntry, UnitOfWork

#: Interval of processing an incident during a silence (a period in which nobody is notified). A silence of one route (a
#: pair of mailboxes that is probed) no longer applies to an incident that has begun to affect other routes.
_SILENCE_CHECK_INTERVAL = timedelta(seconds=30)


class IncidentProcessor:
    """Processor of several incidents, one after the other. It is created for each transaction."""

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        now: datetime,
        new_notification_processor: Callable[[int, ProcessingResult], NotificationProcessor],
        silence_lookup: SilenceLookup,
        is_monitor_only: bool = False,
        policy_for: Callable[[Incident], PolicySnapshot | None] = lambda _: None,
    ) -> None:
        """*new_notification_processor* returns the processor of an incident's notifications in the same transaction.

        *is_monitor_only*: nobody is notified for now. *policy_for* returns the currently configured policy of an open
        incident, or `None` to keep the stored one.
        """
        self._uow = uow
        self._now = now
        self._new_notification_processor = new_notification_processor
        self._silence_lookup = silence_lookup
        self._is_monitor_only = is_monitor_only
        self._policy_for = policy_for
        self._silences: Sequence[Silence] | None = None
        #: Notifications of the current incident; `None` before they are read, and after they have changed.
        self._cached_notifications: Sequence[Notification] | None = None
        #: Recent overrides (replacements of people on rotas), by the names of the rotas, which many incidents share.
        self._overrides: dict[frozenset[str], Sequence[Override]] = {}
        self.result = ProcessingResult()

    async def process(self, incident_id: int, result: ProcessingResult) -> None:
        """Take all actions of one incident that are due. Record them in *result*."""
        self.result = result
        self._cached_notifications = None
        incident = await self._uow.incident(incident_id)
        if incident is None:
            self.result.is_inactive = True
            return
        if self._is_monitor_only:
            await self._process_without_notifying(incident)
            return
        self._processor = self._new_notification_processor(incident_id, result)
        incident = await self._notify(await self._apply_current_policy(incident))
        await self._apply_state_changes(incident)
        await self._notify_release_result(incident)
        for notification in await self._notifications(incident):
            # Only the first incident of a bundle (a notification about several incidents) sends it.
            if notification.state not in SETTLED and notification.leads:
                await self._processor.deliver(notification)
        if self._processor.has_changes:
            self._cached_notifications = None
        notifications = await self._notifications(incident)
        unsent = [
            n for n in notifications if n.state is NotificationState.PENDING and n.due_at <= self._now and n.leads
        ]
        unsent = [n for n in unsent if n.id not in self._processor.blocked_ids]
        if any(n.channel in ON_PAPER for n in unsent) and await self._uow.is_paper_paused():
            # Paused paper is reported separately.
            unsent = [n for n in unsent if n.channel not in ON_PAPER]
        self.result.oldest_pending = min((n.due_at for n in unsent), default=None)
        if incident.is_open:
            self._record_open(incident)
        elif all(self._is_complete(n) for n in notifications):
            await self._deactivate(incident)

    async def _process_without_notifying(self, incident: Incident) -> None:
        """Decide no notifications. Deactivate the incident if it has ended and nobody was notified of it.

        When notifications are allowed again, processing continues from the store.
        """
        if incident.is_open:
            self._record_open(incident)
        elif not await self._notifications(incident):
            await self._deactivate(incident)

    async def _apply_current_policy(self, incident: Incident) -> Incident:
        """Set the currently configured policy of an open incident whose stored policy has nobody to notify.

        Its escalation then starts at the first step. In another incident, only edited people and numbers are applied.
        """
        if not incident.is_open or (policy := self._policy_for(incident)) is None:
            return incident
        if not incident.policy.has_nobody_to_notify:
            return await self._apply_edit(incident, policy)
        incident = replace(incident, policy=policy)
        await self._uow.save_policy(incident)
        await self._add_audit_entry("told from now on", incident, number=incident.number)
        return incident

    async def _apply_edit(self, incident: Incident, current: PolicySnapshot) -> Incident:
        """Apply edited people and numbers to an open incident."""
        current = await self._add_missing_substitutes(incident, current)
        edit = apply_edit(incident, current, await self._notifications(incident), self._now)
        if edit is None:
            return incident
        for notification in edit.withdrawn:
            await self._withdraw(notification)
        if edit.incident.position != incident.position:
            await self._uow.save_incident(edit.incident)
        if edit.incident.policy != incident.policy:
            await self._uow.save_policy(edit.incident)
            await self._add_audit_entry("contacts updated", incident, number=incident.number)
        await self._add(edit.incident, edit.drafts, once=True)
        return edit.incident

    async def _add_missing_substitutes(self, incident: Incident, current: PolicySnapshot) -> PolicySnapshot:
        """Add the incident's substitutes whose override is active to the *current* policy, which may lack them.

        A substitute is a person whom an override puts on call. It may be from an agency that another process probes.
        """
        before, policy = incident.policy.escalation, current.escalation
        missing = {contact.key for contact in before.stand_ins if policy.contact(contact.key) is None}
        if not missing:
            return current
        overrides = await self._uow.overrides({rota.name for rota in policy.rotas}, self._now)
        active = {o.contact.key: o.contact for o in overrides if o.contact.key in missing and self._now < o.ends_at}
        return replace(current, escalation=replace(policy, stand_ins=(*policy.stand_ins, *active.values())))

    def _record_open(self, incident: Incident) -> None:
        self.result.open = OpenIncident(
            agency=incident.policy.agency,
            number=incident.number,
            opened_at=incident.opened_at,
            declared=incident.declared_type,
        )

    async def _deactivate(self, incident: Incident) -> None:
        await self._uow.deactivate_incident(incident.id)
        self.result.is_inactive = True

    async def _notifications(self, incident: Incident) -> Sequence[Notification]:
        if self._cached_notifications is None and _is_unprocessed(incident):
            self._cached_notifications = ()
        elif self._cached_notifications is None:
            self._cached_notifications = await self._uow.notifications(incident.id)
        return self._cached_notifications

    async def _notify(self, incident: Incident) -> Incident:
        """Decide about notifications. During a silence, only about an announcement that was released."""
        silence = await self._active_silence(incident)
        if silence is None:
            incident = await self._notify_handover(await self._check_acknowledgement(incident))
            incident = await self._announce(await self._escalate(incident))
            await self._follow_up(incident)
            return incident
        self.result.wake_at(min(silence.ends_at, self._now + _SILENCE_CHECK_INTERVAL))
        incident = await self._withdraw_unsent(incident)
        # A released announcement is sent despite the silence.
        return await self._announce(incident) if incident.released_at is not None else incident

    async def _active_silence(self, incident: Incident) -> Silence | None:
        if self._silences is None:
            self._silences = await self._uow.silences(self._now)
        return self._silence_lookup(incident, self._silences, self._now)

    async def _withdraw_unsent(self, incident: Incident) -> Incident:
        """Withdraw unsent notifications to staff, and unsent follow-ups, because a silence is active.

        When the silence ends, the escalation repeats its step with current facts. A released announcement is not
        withdrawn.
        """
        withdrawn = [
            notification
            for notification in await self._notifications(incident)
            if notification.state is NotificationState.PENDING and not notification.attempts
            if notification.purpose is Purpose.UPDATE
            or (notification.plan is Plan.ESCALATION and notification.purpose is Purpose.OUTAGE)
        ]
        for notification in withdrawn:
            await self._withdraw(notification)
        steps = [notification for notification in withdrawn if notification.purpose is Purpose.OUTAGE]
        rewound = rewind_escalation(incident, steps, self._now)
        if rewound is not incident:
            await self._uow.save_incident(rewound)
        return rewound

    async def _withdraw(self, notification: Notification) -> None:
        self._cached_notifications = None
        if notification.incident_count > 1:
            await self._processor.remove_incident(notification)
        else:
            await self._processor.set_state(notification, NotificationState.WITHDRAWN)

    async def _check_acknowledgement(self, incident: Incident) -> Incident:
        """Remind the assignee before the acknowledgement expires. Continue the escalation when it has expired."""
        decision = check_acknowledgement(incident, self._now)
        if isinstance(decision, AckReminderDue):
            decision = check_acknowledgement(incident, self._now, await overrides_for(self._uow, incident, self._now))
        match decision:
            case AckReminderDue(drafts=drafts):
                incident = replace(incident, reminded_at=self._now)
                await self._uow.save_incident(incident)
                await self._add(incident, drafts, once=True)
                return await self._check_acknowledgement(incident)
            case AckTimedOut():
                incident = await handle_event(self._uow, Expire(incident_id=incident.id, at=self._now)) or incident
            case AckValid(until=until):
                self.result.wake_at(until)
            case NotAcknowledged():
                pass
        return incident

    async def _escalate(self, incident: Incident) -> Incident:
        while True:
            notifications = await self._notifications(incident)
            match await self._next_step(incident, notifications):
                case StartStep(position=position, drafts=drafts, empty_rotas=empty_rotas, stand_ins=stand_ins):
                    incident = replace(incident, position=position)
                    await self._uow.save_incident(incident)
                    incident = await self._add_substitutes(incident, stand_ins)
                    await self._add(incident, drafts, once=True)
                    await self._record_empty_rotas(incident, empty_rotas)
                case Redial(drafts=drafts, then=then):
                    await self._add(incident, drafts)
                    self.result.wake_at(then)
                    return incident
                case WaitUntil(at=at):
                    self.result.wake_at(at)
                    return incident
                case EscalationStopped():
                    return incident

    async def _next_step(self, incident: Incident, notifications: Sequence[Notification]) -> Escalation:
        decision = escalate(incident, notifications, self._now)
        if not isinstance(decision, StartStep):
            return decision
        # Overrides determine the people of a step, not whether it starts. They are read only for a step that starts,
        # not for hundreds of waiting incidents.
        overrides = await overrides_for(self._uow, incident, self._now)
        return escalate(incident, notifications, self._now, overrides) if overrides else decision

    async def _add_substitutes(self, incident: Incident, stand_ins: Sequence[Contact]) -> Incident:
        """Add substitutes to the incident's policy: their names are needed when they answer."""
        if not stand_ins:
            return incident
        policy = incident.policy.escalation
        policy = replace(policy, stand_ins=(*policy.stand_ins, *stand_ins))
        incident = replace(incident, policy=replace(incident.policy, escalation=policy))
        await self._uow.save_policy(incident)
        return incident

    async def _record_empty_rotas(self, incident: Incident, rotas: Sequence[str]) -> None:
        fallback = incident.policy.escalation.fallback
        for rota in rotas:
            await self._add_audit_entry(
                "nobody is on call", incident, rota=rota, instead=fallback.key if fallback else "nobody"
            )
            self.result.empty_rotas[incident.policy.agency] += 1

    async def _announce(self, incident: Incident) -> Incident:
        match await self._next_announcement(incident):
            case ReleaseNow():
                release = Release(incident_id=incident.id, at=self._now, by=AUTOMATIC)
                incident = apply(incident, release)
                await self._uow.save_incident(incident)
                await self._add_audit_entry("announcement released by itself", incident)
                return await self._announce(incident)
            case Announce(drafts=drafts):
                await self._add(incident, drafts)
            case NotBefore(at=at):
                self.result.wake_at(at)
            case AwaitRelease(at=at, drafts=drafts, stand_ins=stand_ins):
                incident = await self._add_substitutes(incident, stand_ins)
                await self._add(incident, drafts)
                self.result.wake_at(at)
            case NoRecipients() | AwaitStaffNotified():
                pass  # Reports on the notifications to staff will wake the engine.
        return incident

    async def _next_announcement(self, incident: Incident) -> Announcement:
        # Overrides determine to whom the release (approval) of the announcement is offered. They are read only then.
        is_offered = release_is_offered(incident, self._now)
        overrides = await overrides_for(self._uow, incident, self._now) if is_offered else ()
        return announce(incident, await self._notifications(incident), self._now, overrides)

    async def _follow_up(self, incident: Incident) -> None:
        """Create follow-ups, which tell earlier recipients of a change of the incident."""
        decision = follow_up(incident, await self._notifications(incident), self._now)
        await self._add(incident, decision.drafts)
        self.result.wake_at(decision.then)

    async def _notify_handover(self, incident: Incident) -> Incident:
        """Notify people whose on-call shift starts of the open incident."""
        rotas = frozenset(rota.name for rota in step_rotas(incident))
        if not rotas or not incident.is_open:
            return incident
        if rotas not in self._overrides:
            self._overrides[rotas] = await self._uow.overrides(rotas, self._now - MAX_HANDOVER_AGE)
        decision = handover_notification(
            incident, await self._notifications(incident), self._now, self._overrides[rotas]
        )
        incident = await self._add_substitutes(incident, decision.stand_ins)
        await self._add(incident, decision.drafts)
        self.result.wake_at(decision.then)
        return incident

    async def _apply_state_changes(self, incident: Incident) -> None:
        """Withdraw notifications that the incident's present state makes obsolete, and add those that it requires."""
        for conclusion in conclude(incident, await self._notifications(incident), self._now):
            match conclusion:
                case Cancel(notification=notification):
                    await self._withdraw(notification)
                case Abandon(notification=notification):
                    await self._abandon(incident, notification)
                case WithdrawLetter(notification=notification, attempt=attempt):
                    await self._processor.withdraw_letter(notification, attempt)
                    self._cached_notifications = None
                case Notify(draft=draft):
                    await self._add(incident, [draft])

    async def _notify_release_result(self, incident: Incident) -> None:
        """Notify the person who released the announcement of its result, also after the end and during a silence."""
        if incident.released_at is None:
            return
        result = release_result(incident, await self._notifications(incident), self._now)
        await self._add(incident, result.drafts)
        self.result.wake_at(result.then)

    async def _abandon(self, incident: Incident, notification: Notification) -> None:
        self._cached_notifications = None
        if notification.incident_count == 1:
            await self._processor.set_state(notification, NotificationState.UNKNOWN)
        elif not incident.is_open:
            # The other incidents still need the bundle. An ended incident leaves it, and its recovery is notified
            # separately. An acknowledged incident stays, although its assignee may then get the bundle once more.
            await self._processor.remove_incident(notification)

    async def _add(self, incident: Incident, drafts: Sequence[NotificationDraft], *, once: bool = False) -> None:
        """Write notifications that do not exist yet.

        *once*: these drafts are decided only once. If an unsent notification makes such a draft superfluous, the audit
        log records that.
        """
        for draft in drafts:
            if draft.plan is Plan.ESCALATION:
                # The draft may name a number or person that an edit has removed.
                addresses = current_addresses(incident.policy, draft.person, draft.addresses)
                draft = replace(draft, addresses=addresses)  # noqa: PLW2901 - the same draft
            if draft.addresses and not await self._is_decided(incident, draft.key):
                await self._write_notification(incident, draft, once=once)

    async def _is_decided(self, incident: Incident, key: str) -> bool:
        # Most drafts are decided again at each processing. The database is read only for drafts without a notification
        # of the incident: they may be new, or have joined or left a bundle.
        exists = any(notification.key == key for notification in await self._notifications(incident))
        return exists or await self._uow.is_notification_decided(key)

    async def _write_notification(self, incident: Incident, draft: NotificationDraft, *, once: bool) -> None:
        """Write a notification, or add the incident to a waiting one of the same person: a bundle."""
        draft_urgency = urgency(
            draft.plan,
            draft.purpose,
            round=draft.round,
            notified_before=_was_notified(incident, await self._notifications(incident), draft),
        )
        key = bundle_key(draft, draft_urgency)
        recent = await self._uow.bundle_candidates(key, self._now - SEARCH_WINDOW, incident.id) if key else ()
        channel = draft.addresses[0].channel
        not_before: datetime | None = None
        is_repeat_offer = draft.purpose is Purpose.RELEASE and draft.round > 0
        match bundle(recent, self._now, draft.purpose, is_repeat_offer=is_repeat_offer):
            case JoinBundle(notification_id=notification_id) if await self._uow.join_notification(
                notification_id, incident, draft
            ):
                self._cached_notifications = None
                self.result.bundled[channel] += 1
                bundled = {"person": draft.person, "channel": channel, "purpose": draft.purpose}
                await self._add_audit_entry("notice bundled", incident, notification_id, **bundled)
                return
            case JoinBundle():
                # Another engine is sending that bundle at this moment.
                not_before = self._now + BUNDLE_INTERVAL
            case AlreadyPending():
                # Drafts that are decided at each processing would fill the audit log.
                if once:
                    await self._add_audit_entry("notice superseded", incident, person=draft.person, channel=channel)
                return
            case StartBundle(until=until):
                not_before = until
            case SendAtOnce():
                pass
        added = await self._uow.add_notification(
            incident, draft, self._now, urgency=draft_urgency, bundle_key=key, not_before=not_before
        )
        if added is None:
            return
        self._cached_notifications = [*await self._notifications(incident), added]
        self.result.state_changes.append(
            StateChange(channel=channel, purpose=draft.purpose, state=NotificationState.PENDING)
        )
        await self._add_audit_entry(
            f"{draft.purpose} notice decided", incident, added.id, person=draft.person, channel=channel
        )

    async def _add_audit_entry(
        self, event: str, incident: Incident, notification_id: int | None = None, **detail: str
    ) -> None:
        entry = AuditEntry(
            at=self._now,
            actor="engine",
            event=event,
            incident_id=incident.id,
            notification_id=notification_id,
            detail=detail,
        )
        await self._uow.add_audit_entry(entry)

    def _is_complete(self, notification: Notification) -> bool:
        """Whether a notification of an ended incident needs no further processing: settled, or sent and expired."""
        if notification.state in SETTLED:
            return True
        last = decisive_attempt(notification)
        is_in_tray = notification.channel is Channel.LETTER and last is not None and last.state is AttemptState.ACCEPTED
        return notification.state is NotificationState.SENT and not is_in_tray and self._now >= notification.expires_at


def _is_unprocessed(incident: Incident) -> bool:
    """Whether no notification of an incident can have been decided yet."""
    position = incident.position
    # An incident that was acknowledged before its first step may have reminders and offers of the release.
    is_unanswered = incident.last_response_at is None and incident.released_at is None
    return incident.is_open and position.step < 0 and position.restarts == 0 and is_unanswered


def _was_notified(incident: Incident, notifications: Sequence[Notification], draft: NotificationDraft) -> bool:
    """Whether a person was notified, or is about to be, of the incident's present state.

    An unanswered call of an earlier step counts, too. Otherwise each later call would be a first notification, which no
    rate limit delays, and a sleeping person would be called without limit. Calls of the same step do not count, because
    a step calls as often as configured.
    """
    step = draft.restarts, draft.round, draft.step
    return any(
        n.plan is draft.plan
        and n.purpose is Purpose.OUTAGE
        and n.person == draft.person
        and not has_become_outage(incident, n.facts.type)
        and (
            n.state not in {NotificationState.FAILED, NotificationState.WITHDRAWN}
            or (_has_unanswered_call(n) and (n.restarts, n.round, n.step) != step)
        )
        for n in notifications
    )


def _has_unanswered_call(notification: Notification) -> bool:
    calls = (d.attempts for d in notification.deliveries if d.address.channel is Channel.VOICE)
    return any(is_unanswered_call(attempt) for attempts in calls for attempt in attempts)
