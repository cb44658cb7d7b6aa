"""Processing of incidents within one database transaction: all decisions that are due now.

An incident has two plans: the escalation notifies staff step by step; the announcement notifies recipients (offices
outside) after a person has released (approved) it. Decided gateway calls are stored as attempts, returned in the
result, and made after the commit. Processing is idempotent: repeated with the same database and time, it writes nothing
new. The texts of audit entries ("notice bundled") never change, because the audit log is a hash chain.
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
from alerts.decide.state_change import Abandon, Cancel, Notify, WithdrawLetter, consequences
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

#: Interval of processing an incident during a silence (a time in which nobody is notified). The silence may end early:
#: a silence of one route (a pair of mailboxes that is probed) ends for an incident that begins to affect other routes.
_SILENCE_CHECK_INTERVAL = timedelta(seconds=30)


class IncidentProcessor:
    """Processor of the incidents of one transaction, one after the other."""

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

        *silence_lookup* returns the active silence of an incident. *is_monitor_only*: nobody is notified for now.
        *policy_for* returns the currently configured policy of an open incident, or `None` to keep the stored one.
        """
        self._uow = uow
        self._now = now
        self._new_notification_processor = new_notification_processor
        self._silence_lookup = silence_lookup
        self._is_monitor_only = is_monitor_only
        self._policy_for = policy_for
        #: Silences that have not ended; `None` before they are read.
        self._silences: Sequence[Silence] | None = None
        #: Notifications of the current incident; `None` before they are read, and after they have changed.
        self._cached_notifications: Sequence[Notification] | None = None
        #: Recent overrides (replacements of people on call) by the names of the rotas. Many incidents have the same
        #: rotas.
        self._overrides: dict[frozenset[str], Sequence[Override]] = {}
        #: Result of the current incident.
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
        self._notification_processor = self._new_notification_processor(incident_id, result)
        incident = await self._notify(await self._apply_current_policy(incident))
        await self._apply_state_changes(incident)
        await self._notify_release_result(incident)
        for notification in await self._notifications(incident):
            # A bundle (a notification about several incidents) is sent when its first incident is processed (`leads`).
            if notification.state not in SETTLED and notification.leads:
                await self._notification_processor.deliver(notification)
        if self._notification_processor.has_changes:
            self._cached_notifications = None
        notifications = await self._notifications(incident)
        # A metric shows the age of the oldest notification that is unsent although it has no reason to wait.
        unsent = [
            n for n in notifications if n.state is NotificationState.PENDING and n.due_at <= self._now and n.leads
        ]
        unsent = [n for n in unsent if n.id not in self._notification_processor.blocked_ids]
        if any(n.channel in ON_PAPER for n in unsent) and await self._uow.is_paper_paused():
            # A metric of its own shows that letters and faxes are paused.
            unsent = [n for n in unsent if n.channel not in ON_PAPER]
        self.result.oldest_pending = min((n.due_at for n in unsent), default=None)
        if incident.is_open:
            self._record_open(incident)
        elif all(self._is_complete(n) for n in notifications):
            await self._deactivate(incident)

    async def _process_without_notifying(self, incident: Incident) -> None:
        """Record an open incident, or deactivate an ended incident of which nobody was notified.

        When notifications are allowed again, normal processing continues from the stored state.
        """
        if incident.is_open:
            self._record_open(incident)
        elif not await self._notifications(incident):
            await self._deactivate(incident)

    async def _apply_current_policy(self, incident: Incident) -> Incident:
        """Apply the currently configured policy to an open incident.

        If the stored policy has nobody to notify, it is replaced, and the escalation starts at the first step.
        Otherwise only edited people and numbers are applied.
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
        await self._add(edit.incident, edit.drafts, is_decided_once=True)
        return edit.incident

    async def _add_missing_substitutes(self, incident: Incident, current: PolicySnapshot) -> PolicySnapshot:
        """Add the incident's substitutes whose override has not ended to the *current* policy, which may lack them.

        A substitute (`stand_ins`) is a person whom an override puts on call. The substitute may belong to an agency
        that another process probes, so that this process does not know the agency's contacts.
        """
        stored, new = incident.policy.escalation, current.escalation
        missing = {contact.key for contact in stored.stand_ins if new.contact(contact.key) is None}
        if not missing:
            return current
        overrides = await self._uow.overrides({rota.name for rota in new.rotas}, self._now)
        active = {o.contact.key: o.contact for o in overrides if o.contact.key in missing and self._now < o.ends_at}
        return replace(current, escalation=replace(new, stand_ins=(*new.stand_ins, *active.values())))

    def _record_open(self, incident: Incident) -> None:
        self.result.open_incident = OpenIncident(
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
        """Decide which notifications to send. During a silence, send only an announcement that was released."""
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
        """Withdraw unsent notifications of the outage to staff, and unsent follow-ups, because a silence is active.

        When the silence ends, the escalation repeats the step. A released announcement is not withdrawn.
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
        of_steps = [notification for notification in withdrawn if notification.purpose is Purpose.OUTAGE]
        rewound = rewind_escalation(incident, of_steps, self._now)
        if rewound is not incident:
            await self._uow.save_incident(rewound)
        return rewound

    async def _withdraw(self, notification: Notification) -> None:
        self._cached_notifications = None
        if notification.incident_count > 1:
            await self._notification_processor.remove_incident(notification)
        else:
            await self._notification_processor.set_state(notification, NotificationState.WITHDRAWN)

    async def _check_acknowledgement(self, incident: Incident) -> Incident:
        """Remind the assignee before the acknowledgement expires. Continue the escalation when it has expired."""
        decision = check_acknowledgement(incident, self._now)
        if isinstance(decision, AckReminderDue):
            # The reminder names who is notified after the expiry, which depends on the overrides.
            decision = check_acknowledgement(incident, self._now, await overrides_for(self._uow, incident, self._now))
        match decision:
            case AckReminderDue(drafts=drafts):
                incident = replace(incident, reminded_at=self._now)
                await self._uow.save_incident(incident)
                await self._add(incident, drafts, is_decided_once=True)
                return await self._check_acknowledgement(incident)
            case AckTimedOut():
                incident = await handle_event(self._uow, Expire(incident_id=incident.id, at=self._now)) or incident
            case AckValid(until=until):
                # Until a reminder is due or, after the reminder, until the acknowledgement expires.
                self.result.wake_at(until)
            case NotAcknowledged():
                pass
        return incident

    async def _escalate(self, incident: Incident) -> Incident:
        """Start the escalation steps and repeat the calls that are due."""
        while True:
            notifications = await self._notifications(incident)
            match await self._next_step(incident, notifications):
                case StartStep(position=position, drafts=drafts, empty_rotas=empty_rotas, stand_ins=stand_ins):
                    incident = replace(incident, position=position)
                    await self._uow.save_incident(incident)
                    incident = await self._add_substitutes(incident, stand_ins)
                    await self._add(incident, drafts, is_decided_once=True)
                    await self._record_empty_rotas(incident, empty_rotas)
                case Redial(drafts=drafts, next_at=next_at):
                    await self._add(incident, drafts)
                    self.result.wake_at(next_at)
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
        # Overrides determine the people of a step, not whether it starts. Read them only when a step starts, because
        # hundreds of incidents may wait for their next step.
        overrides = await overrides_for(self._uow, incident, self._now)
        return escalate(incident, notifications, self._now, overrides) if overrides else decision

    async def _add_substitutes(self, incident: Incident, stand_ins: Sequence[Contact]) -> Incident:
        """Add substitutes to the incident's policy, in which their names are looked up when they respond."""
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
        """Create the notifications of the announcement that are due, or ask staff for its release."""
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
            case AwaitStaffNotified():
                pass  # The engine processes the incident again when a notification to staff has a result.
            case NoRecipients():
                pass
        return incident

    async def _next_announcement(self, incident: Incident) -> Announcement:
        # Overrides determine which staff are asked for the release. Read them only when staff may be asked.
        is_offered = release_is_offered(incident, self._now)
        overrides = await overrides_for(self._uow, incident, self._now) if is_offered else ()
        return announce(incident, await self._notifications(incident), self._now, overrides)

    async def _follow_up(self, incident: Incident) -> None:
        """Create follow-ups, which inform people who were notified before that the outage continues or has changed."""
        decision = follow_up(incident, await self._notifications(incident), self._now)
        await self._add(incident, decision.drafts)
        self.result.wake_at(decision.next_at)

    async def _notify_handover(self, incident: Incident) -> Incident:
        """Notify people who come on call while the incident is open."""
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
        self.result.wake_at(decision.next_at)
        return incident

    async def _apply_state_changes(self, incident: Incident) -> None:
        """Withdraw the notifications that the incident's state makes obsolete, and add the ones that it requires."""
        for consequence in consequences(incident, await self._notifications(incident), self._now):
            match consequence:
                # Cancel: the notification was not sent. Abandon: it may have been sent, and must not be resent.
                case Cancel(notification=notification):
                    await self._withdraw(notification)
                case Abandon(notification=notification):
                    await self._abandon(incident, notification)
                case WithdrawLetter(notification=notification, attempt=attempt):
                    await self._notification_processor.withdraw_letter(notification, attempt)
                    self._cached_notifications = None
                case Notify(draft=draft):
                    await self._add(incident, [draft])

    async def _notify_release_result(self, incident: Incident) -> None:
        """Notify the person who released the announcement of its result, even after the end or during a silence."""
        if incident.released_at is None:
            return
        result = release_result(incident, await self._notifications(incident), self._now)
        await self._add(incident, result.drafts)
        self.result.wake_at(result.next_at)

    async def _abandon(self, incident: Incident, notification: Notification) -> None:
        self._cached_notifications = None
        if notification.incident_count == 1:
            await self._notification_processor.set_state(notification, NotificationState.UNKNOWN)
        elif not incident.is_open:
            # The bundle is still needed for other incidents. An ended incident leaves it, and its recovery is a
            # separate notification. An acknowledged incident stays in the bundle, which its assignee may get twice.
            await self._notification_processor.remove_incident(notification)

    async def _add(
        self, incident: Incident, drafts: Sequence[NotificationDraft], *, is_decided_once: bool = False
    ) -> None:
        """Write notifications that do not exist yet.

        *is_decided_once*: these drafts are decided once, and not again at each processing. If an unsent notification
        makes such a draft superfluous, an audit entry records that; for other drafts there would be too many entries.
        """
        for draft in drafts:
            if draft.plan is Plan.ESCALATION:
                # The draft may have an address or person that an edit has removed.
                addresses = current_addresses(incident.policy, draft.person, draft.addresses)
                draft = replace(draft, addresses=addresses)  # noqa: PLW2901 - the same draft
            if draft.addresses and not await self._is_decided(incident, draft.key):
                await self._write_notification(incident, draft, is_decided_once=is_decided_once)

    async def _is_decided(self, incident: Incident, key: str) -> bool:
        # Most drafts are decided again at each processing, and the incident has their notification already. Query the
        # database only for other drafts, which may be new, or have joined or left a bundle.
        exists = any(notification.key == key for notification in await self._notifications(incident))
        return exists or await self._uow.is_notification_decided(key)

    async def _write_notification(self, incident: Incident, draft: NotificationDraft, *, is_decided_once: bool) -> None:
        """Write a notification, or add the incident to a waiting notification of the same person (a bundle)."""
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
        # The round of a request for the release counts the earlier requests, which went to other people.
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
                # The join has failed, because another engine is just sending that bundle.
                not_before = self._now + BUNDLE_INTERVAL
            case AlreadyPending():
                if is_decided_once:
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
    """Whether the incident certainly has no notifications yet, so that the database need not be queried."""
    position = incident.position
    # An incident that was acknowledged before its first step may have reminders and requests for the release. Before
    # the first step, `position.step` is -1.
    is_unanswered = incident.last_response_at is None and incident.released_at is None
    return incident.is_open and position.step < 0 and position.restarts == 0 and is_unanswered


def _was_notified(incident: Incident, notifications: Sequence[Notification], draft: NotificationDraft) -> bool:
    """Whether the reader of *draft* was notified of the incident before, or is about to be.

    If the incident is an outage, a notification of the degradation before it does not count. An unanswered call of
    another step counts: otherwise each later call would be a first notification, which no rate limit delays, and a
    sleeping person would be called without limit. A call of the same step does not count: a step calls as often as
    configured.
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
