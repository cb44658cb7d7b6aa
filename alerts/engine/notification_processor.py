"""Processing of an incident's notifications within a transaction.

`NotificationProcessor` applies rate limits and other reasons to wait, and decides the gateway calls. The calls are made
after the commit. The texts of audit entries ("notice held") and the keys of their details ("brake", "doubted") never
change, because the audit log is a hash chain.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace
from datetime import datetime, timedelta

from alerts.decide.announcement import must_wait_for_staff
from alerts.decide.gateway.next_action import (
    DeliveryPolicy,
    FallBack,
    Finish,
    QueryReceipt,
    Reconcile,
    Try,
    Wait,
    needs_call_instead,
    next_action,
    unsettled_state,
)
from alerts.decide.gateway.rate_limit import CONTACT_LIMITS, RateLimitScope, free_at, minute_limit, telephone_free_at
from alerts.decide.response import format_code
from alerts.engine.event_handler import incidents_freed_by_call
from alerts.engine.gateway_call import CallKind, GatewayCall
from alerts.engine.gateway_pool import GatewayPool
from alerts.engine.processing_result import ProcessingResult, StateChange
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Address
from alerts.model.delivery import SETTLED, Attempt, AttemptState, Notification, NotificationState
from alerts.model.gateway import MAX_CALL_DURATION, ErrorClass
from alerts.model.notification import Plan, Purpose
from alerts.model.urgency import RANK, UNLIMITED, UNLIMITED_PER_PERSON, Priority, priority
from alerts.persistence.store import AuditEntry, UnitOfWork


class NotificationProcessor:
    """Processor of the notifications of one incident. It is created each time the incident is processed."""

    def __init__(
        self,
        incident_id: int,
        result: ProcessingResult,
        *,
        uow: UnitOfWork,
        pool: GatewayPool,
        policy: DeliveryPolicy,
        now: datetime,
        active_calls: MutableMapping[int, bool],
    ) -> None:
        """*active_calls*: by id of each attempt with a running gateway call, whether another call waits for its end."""
        self._uow = uow
        self._pool = pool
        self._policy = policy
        self._now = now
        self._active_calls = active_calls
        self._preference, self._retry_preference = pool.preference(now), pool.preference(now, is_retry=True)
        self._result = result
        self._incident_id = incident_id
        #: Whether notifications have changed since they were read.
        self.has_changes = False
        #: Ids of notifications that wait for another call to their telephone to end, or for a notification to staff.
        self.blocked_ids = set[int]()

    async def deliver(self, notification: Notification) -> None:
        """Take the next actions of one notification until it has to wait."""
        while True:
            # A gateway with overdue receipts is tested by repeated messages, and not by a first notification or another
            # urgent one (`UNLIMITED`: exempt from rate limits).
            preference = self._preference if notification.urgency in UNLIMITED else self._retry_preference
            match next_action(notification, preference, self._policy, self._now):
                case FallBack(to=address):
                    delivery = await self._uow.add_delivery(notification.id, address)
                    notification = replace(notification, deliveries=(*notification.deliveries, delivery))
                    continue
                case Try(gateway=gateway):
                    await self._send(notification, gateway)
                case Reconcile(attempt=attempt):
                    await self._query(CallKind.FIND, notification, attempt)
                case QueryReceipt(attempt=attempt):
                    await self._query(CallKind.CHECK, notification, attempt)
                case Finish(state=NotificationState.FAILED) if (
                    number := await self._number_to_call(notification)
                ) is not None:
                    delivery = await self._uow.add_delivery(notification.id, number)
                    notification = replace(notification, deliveries=(*notification.deliveries, delivery))
                    continue
                case Finish(state=state):
                    await self.set_state(notification, _final_state(notification, state))
                    # If all notifications of a step have failed, the next step starts at once.
                    self._result.wake_at(self._now)
                    return
                case Wait(until=until):
                    self._result.wake_at(until)
            await self.set_state(notification, unsettled_state(notification))
            return

    async def _number_to_call(self, notification: Notification) -> Address | None:
        """Return an untried number to call, for a staff member who has opted out of SMS (STOP)."""
        incident = (
            await self._uow.incident(notification.incident_id) if needs_call_instead(notification, self._now) else None
        )
        person = incident.policy.escalation.contact(notification.person) if incident is not None else None
        tried = {delivery.address for delivery in notification.deliveries}
        numbers = person.addresses_on([Channel.VOICE]) if person is not None else ()
        return next((number for number in numbers if number not in tried), None)

    async def _send(self, notification: Notification, gateway: str) -> None:
        """Decide an attempt by *gateway*, unless the notification has to wait."""
        if await self._has_opted_out(notification, gateway):
            return
        if notification.not_before is not None and self._now < notification.not_before:
            self._result.wake_at(notification.not_before)
            return
        if notification.channel in ON_PAPER and await self._uow.is_paper_paused():
            return  # The incident is processed again when a person confirms that fax and letters may continue.
        if notification.urgency not in UNLIMITED and await self._is_throttled(notification, gateway):
            return
        if await self._is_telephone_busy(notification) or await self._waits_for_staff(notification):
            return
        if not self._take_slot(
            gateway, f"notice {notification.id}", priority(notification.urgency, notification.due_at, notification.id)
        ):
            return  # The incident is processed again when a slot is free.
        # When the lease ends, the gateway is queried about the attempt, unless its result is known.
        lease_ends_at = self._now + self._policy.lease_for(notification.channel)
        # From now on the message is fixed: the lock prevents further incidents from joining the notification.
        await self._uow.lock_notification(notification.id)
        full_notification = await self._with_all_incidents(notification)
        response = await self._response_code(full_notification, gateway)
        delivery = full_notification.deliveries[-1]
        attempt = await self._uow.add_attempt(delivery, gateway, self._now, query_at=lease_ends_at, response=response)
        attempted = replace(delivery, attempts=(*delivery.attempts, attempt))
        full_notification = replace(full_notification, deliveries=(*full_notification.deliveries[:-1], attempted))
        self._pool.record_use(gateway, self._now)
        # Preferred gateways with overdue delivery receipts.
        skipped = self._pool.skipped_gateways(gateway)
        detail = {"doubted": ", ".join(skipped)} if skipped else {}
        await self._add_audit_entry(
            notification, "attempt written", reference=attempt.reference, gateway=gateway, **detail
        )
        self._result.calls.append(GatewayCall(kind=CallKind.SEND, notification=full_notification, attempt=attempt))
        self._result.wake_at(lease_ends_at)

    async def _has_opted_out(self, notification: Notification, gateway: str) -> bool:
        """Whether the person has opted out of SMS to the current number. If so, store a failed attempt."""
        address = notification.deliveries[-1].address
        if address.channel is not Channel.SMS:
            return False
        sms_number = await self._uow.responses.sms_number(address.number)
        if sms_number.stopped_at is None:
            return False
        attempt = await self._uow.add_attempt(notification.deliveries[-1], gateway, self._now, query_at=self._now)
        failed = replace(
            attempt,
            state=AttemptState.FAILED,
            error=ErrorClass.PERMANENT,
            code="STOP",
            detail="the person has opted out of SMS (STOP)",
            ended_at=self._now,
        )
        await self._uow.save_attempt(failed)
        await self._add_audit_entry(notification, "not sent: STOP", reference=attempt.reference)
        self._result.wake_at(self._now)
        return True

    async def _response_code(self, notification: Notification, gateway: str) -> str:
        """Return the code that the person sends back to acknowledge this SMS ("1A"); "" if a reply is not possible."""
        address = notification.deliveries[-1].address
        asks_for_reply = notification.purpose in {Purpose.OUTAGE, Purpose.REMINDER} or notification.facts.is_handover
        is_answerable = notification.plan is Plan.ESCALATION and asks_for_reply
        if address.channel is not Channel.SMS or not is_answerable or not self._pool.receives_replies(gateway):
            return ""
        return format_code(await self._uow.responses.assign_response_code(address.number, notification, self._now))

    async def _with_all_incidents(self, notification: Notification) -> Notification:
        """Return a notification with all its incidents, because it was read with the processed incident only."""
        return (
            notification
            if notification.incident_count == len(notification.parts)
            else await self._uow.notification(notification.id)
        )

    async def _is_telephone_busy(self, notification: Notification) -> bool:
        """Whether the telephone is in another call. If so, let *notification* wait for the end of that call.

        The notification does not expire while it waits. Two engines do not call the same telephone, because only one
        engine at a time has a write transaction.
        """
        address = notification.deliveries[-1].address
        if address.channel is not Channel.VOICE:
            return False
        calls = await self._uow.telephone_calls_under_way(self._now - MAX_CALL_DURATION, address)
        free_from = telephone_free_at([began for _, began in calls], self._now)
        if free_from <= self._now:
            return False
        self.blocked_ids.add(notification.id)
        if notification.expires_at <= free_from:
            await self._uow.reopen_notification(notification.id, free_from + MAX_CALL_DURATION)
        self._result.wake_at(free_from)
        return True

    async def _waits_for_staff(self, notification: Notification) -> bool:
        """Whether an announcement must wait, because staff are not notified yet of one of its incidents."""
        if notification.plan is not Plan.ANNOUNCEMENT or notification.attempts:
            return False
        for incident_id in (await self._with_all_incidents(notification)).incident_ids:
            if must_wait_for_staff(notification, await self._uow.notifications(incident_id)):
                self.blocked_ids.add(notification.id)
                # Check again soon: the notification to staff may belong to another incident of the bundle, and when it
                # is sent, only that incident is processed.
                self._result.wake_at(self._now + self._policy.lease / 2)
                return True
        return False

    async def _is_throttled(self, notification: Notification, gateway: str) -> bool:
        """Whether a rate limit delays the notification. If so, store the delay.

        Messages are counted in the database, so that the limits apply to all engines together.
        """
        address, now = notification.deliveries[-1].address, self._now
        until, scope = now, RateLimitScope.CONTACT
        limits = () if notification.urgency in UNLIMITED_PER_PERSON else CONTACT_LIMITS.get(address.channel, ())
        if limits:
            accepted = await self._uow.accepted_attempt_times(
                now - max(limit.within for limit in limits), address=address
            )
            until = free_at(accepted, limits, now)
        per_minute = self._pool[gateway].per_minute
        if per_minute is not None and until <= now:
            accepted = await self._uow.accepted_attempt_times(now - timedelta(minutes=1), gateway=gateway)
            until, scope = free_at(accepted, minute_limit(per_minute), now), RateLimitScope.GATEWAY
        if until <= now:
            return False
        self._result.throttled[notification.channel, scope] += 1
        self.has_changes = True
        await self._uow.throttle(notification.id, until)
        await self._add_audit_entry(notification, "notice held", brake=scope, until=until.isoformat())
        self._result.wake_at(until)
        return True

    async def _query(self, kind: CallKind, notification: Notification, attempt: Attempt) -> None:
        """Decide a query about *attempt*: FIND (has the gateway received the message?) or CHECK (delivery status)."""
        if kind is CallKind.FIND and attempt.gateway not in self._pool and attempt.id not in self._active_calls:
            # The gateway was removed from the configuration and cannot be queried.
            lost = replace(attempt, state=AttemptState.NOT_FOUND, ended_at=self._now)
            await self._uow.save_attempt(lost)
            self._result.affected_incidents.update(await incidents_freed_by_call(self._uow, notification, lost))
            detail = {"reference": attempt.reference, "why": f"{attempt.gateway} is not configured any more"}
            await self._add_audit_entry(notification, "ask: not_found", **detail)
            self._result.wake_at(self._now)
            return
        interval = self._policy.lease if kind is CallKind.FIND else self._policy.check_interval[notification.channel]
        queried = replace(attempt, queries=attempt.queries + 1, query_at=self._now + interval)
        if await self._add_call(kind, notification, queried, due_at=attempt.query_at):
            await self._uow.save_attempt(queried)
        self._result.wake_at(queried.query_at)

    async def withdraw_letter(self, notification: Notification, attempt: Attempt) -> None:
        """Withdraw a letter from its tray before a clerk posts it."""
        if attempt.gateway in self._pool:
            await self._add_call(CallKind.WITHDRAW, notification, attempt)
            self._result.wake_at(self._now + self._policy.lease)
        else:
            # The tray is no longer configured: the letter cannot be withdrawn, and it is unknown whether a clerk posts
            # it. A person must find out and set the status.
            await self.set_state(notification, NotificationState.UNKNOWN)
            self._result.wake_at(self._now)

    async def _add_call(
        self, kind: CallKind, notification: Notification, attempt: Attempt, due_at: datetime | None = None
    ) -> bool:
        """Decide a gateway call about an attempt. Return `False` if it cannot be made now.

        *due_at*: since when the call waits for a slot of the gateway. It must be the same at each processing: otherwise
        the call would move to the end of the queue each time.
        """
        if attempt.id in self._active_calls:
            self._active_calls[attempt.id] = True
            return False
        if any(attempt.id == call.attempt.id for call in self._result.calls):
            return False
        # A query about an unknown result has the urgency of its message, because resending depends on the result. A
        # status query has the lowest priority.
        rank = len(RANK) if kind is CallKind.CHECK else RANK[notification.urgency]
        if not self._take_slot(
            attempt.gateway, f"attempt {attempt.id}", (rank, due_at or attempt.query_at, notification.id)
        ):
            return False
        self._result.calls.append(
            GatewayCall(kind=kind, notification=await self._with_all_incidents(notification), attempt=attempt)
        )
        return True

    def _take_slot(self, gateway: str, call_key: str, slot_priority: Priority) -> bool:
        if not self._pool.take_slot(gateway, incident_id=self._incident_id, call_key=call_key, priority=slot_priority):
            return False
        # Record the slot at once, so that it is released after any error.
        self._result.taken_slots.append(gateway)
        return True

    async def set_state(self, notification: Notification, state: NotificationState) -> None:
        """Write the state of a notification if it has changed."""
        if state is notification.state:
            return
        self.has_changes = True
        await self._uow.set_notification_state(notification.id, state)
        self._result.state_changes.append(
            StateChange(channel=notification.channel, purpose=notification.purpose, state=state)
        )
        await self._add_audit_entry(
            notification, f"notice {state}", person=notification.person, purpose=notification.purpose
        )
        # Process the other incidents of a bundle now, if the change may have consequences for them: after a failure,
        # their next step may be due; after a final state of an announcement, the report on its release.
        affects_others = state is NotificationState.FAILED or (
            notification.plan is Plan.ANNOUNCEMENT and state in SETTLED
        )
        if notification.incident_count > 1 and affects_others:
            self._result.affected_incidents.update((await self._with_all_incidents(notification)).incident_ids)

    async def remove_incident(self, notification: Notification) -> None:
        """Remove the processed incident from a bundle (a notification about several incidents)."""
        await self._uow.leave_notification(notification.id, self._incident_id, self._now)
        await self._add_audit_entry(
            notification, "left a bundle", person=notification.person, purpose=notification.purpose
        )
        # If this was the first incident of the bundle (`leads`), the bundle is sent when the next one is processed.
        if notification.leads and (next_sender := await self._uow.sending_incident(notification.id)) is not None:
            self._result.affected_incidents.add(next_sender)

    async def _add_audit_entry(self, notification: Notification, event: str, **detail: str) -> None:
        entry = AuditEntry(
            at=self._now,
            actor="engine",
            event=event,
            incident_id=self._incident_id,
            notification_id=notification.id,
            detail={**detail, "channel": notification.channel},
        )
        await self._uow.add_audit_entry(entry)


def _final_state(notification: Notification, state: NotificationState) -> NotificationState:
    """Return the final state: WITHDRAWN instead of FAILED for a notification that expired unsent while it waited.

    It waited because of a rate limit, or for other incidents to join.
    """
    is_throttled = notification.not_before is not None and notification.urgency not in UNLIMITED
    if state is NotificationState.FAILED and is_throttled and notification.last_attempt is None:
        return NotificationState.WITHDRAWN
    return state
