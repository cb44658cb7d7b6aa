"""Processing of notifications within a transaction: next actions, rate limits, gateway calls to make."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace
from datetime import datetime, timedelta

from alerts.decide.announcement import waits_for_staff
from alerts.decide.gateway.next_action import (
    AskForReceipt,
    DeliveryPolicy,
    FallBack,
    Finish,
    Reconcile,
    Try,
    Wait,
    next_move,
    shown_state,
    wants_call_instead,
)
from alerts.decide.gateway.rate_limit import CONTACT_LIMITS, RateLimitScope, free_at, minute_limit, telephone_free_at
from alerts.decide.response import printed
from alerts.engine.event_handler import freed_by
from alerts.engine.gateway_call import CallKind, GatewayCall
from alerts.engine.gateway_pool import GatewayPool
from alerts.engine.processing_result import ProcessingResult, StateChange
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Address
from alerts.model.delivery import SETTLED, Attempt, AttemptState, Notification, NotificationState
from alerts.model.gateway import CALL_LASTS, ErrorClass
from alerts.model.notification import Plan, Purpose
from alerts.model.urgency import ALWAYS_GOES, NEVER_TOO_MANY, RANK, Priority, priority
from alerts.persistence.store import AuditEntry, UnitOfWork


class NotificationProcessor:
    """Processes the notifications of one incident. Created for each processing."""

    def __init__(
        self,
        incident_id: int,
        advance: ProcessingResult,
        *,
        ledger: UnitOfWork,
        pool: GatewayPool,
        policy: DeliveryPolicy,
        now: datetime,
        under_way: MutableMapping[int, bool],
    ) -> None:
        """*under_way*: ids of attempts with a gateway call at this moment, each with whether its end is awaited."""
        self._ledger = ledger
        self._pool = pool
        self._policy = policy
        self._now = now
        self._under_way = under_way
        self._preference, self._trying = pool.preference(now), pool.preference(now, trying=True)
        self._advance = advance
        self._incident_id = incident_id
        #: Whether notifications have changed since they were read.
        self.has_moved = False
        #: Ids of notifications that wait for others, not for a gateway or a decision.
        self.waiting = set[int]()

    async def deliver(self, notice: Notification) -> None:
        """Take the next actions of one notification until it has to wait."""
        while True:
            # A first notification uses the most reliable gateway.
            preference = self._preference if notice.urgency in ALWAYS_GOES else self._trying
            match next_move(notice, preference, self._policy, self._now):
                case FallBack(to=address):
                    delivery = await self._ledger.add_delivery(notice.id, address)
                    notice = replace(notice, deliveries=(*notice.deliveries, delivery))
                    continue
                case Try(gateway=gateway):
                    await self._try(notice, gateway)
                case Reconcile(attempt=attempt):
                    await self._question(CallKind.ASK, notice, attempt)
                case AskForReceipt(attempt=attempt):
                    await self._question(CallKind.CHECK, notice, attempt)
                case Finish(state=NotificationState.FAILED) if (call := await self._call_instead(notice)) is not None:
                    delivery = await self._ledger.add_delivery(notice.id, call)
                    notice = replace(notice, deliveries=(*notice.deliveries, delivery))
                    continue
                case Finish(state=state):
                    await self.enter(notice, _settled(notice, state))
                    # After a step whose contacts all failed the next one starts at once.
                    self._advance.wake_at(self._now)
                    return
                case Wait(until=until):
                    self._advance.wake_at(until)
            await self.enter(notice, shown_state(notice))
            return

    async def _call_instead(self, notice: Notification) -> Address | None:
        """Return the number to call for a staff member who sent STOP."""
        incident = await self._ledger.incident(notice.incident_id) if wants_call_instead(notice, self._now) else None
        person = incident.policy.escalation.contact(notice.person) if incident is not None else None
        tried = {delivery.address for delivery in notice.deliveries}
        numbers = person.addresses_on([Channel.VOICE]) if person is not None else ()
        return next((number for number in numbers if number not in tried), None)

    async def _try(self, notice: Notification, gateway: str) -> None:
        if await self._has_stopped(notice, gateway):
            return
        if notice.not_before is not None and self._now < notice.not_before:
            self._advance.wake_at(notice.not_before)
            return
        if notice.channel in ON_PAPER and await self._ledger.is_paper_held():
            return  # Releasing it triggers processing.
        if notice.urgency not in ALWAYS_GOES and await self._is_held(notice, gateway):
            return
        if await self._is_telephone_busy(notice) or await self._waits_for_staff(notice):
            return
        if not self._take(gateway, f"notice {notice.id}", priority(notice.urgency, notice.due_at, notice.id)):
            return  # It is processed when its turn comes.
        lease = self._now + self._policy.lease_on(notice.channel)
        # A notification that joins the bundle later is not in the sent message.
        await self._ledger.lock_notice(notice.id)
        whole = await self._whole(notice)
        response = await self._response(whole, gateway)
        delivery = whole.deliveries[-1]
        attempt = await self._ledger.add_attempt(delivery, gateway, self._now, query_at=lease, response=response)
        tried = replace(delivery, attempts=(*delivery.attempts, attempt))
        whole = replace(whole, deliveries=(*whole.deliveries[:-1], tried))
        self._pool.note_use(gateway, self._now)
        doubted = {"doubted": ", ".join(before)} if (before := self._pool.doubted_before(gateway)) else {}
        await self._write(notice, "attempt written", reference=attempt.reference, gateway=gateway, **doubted)
        self._advance.calls.append(GatewayCall(kind=CallKind.SEND, notice=whole, attempt=attempt))
        self._advance.wake_at(lease)

    async def _has_stopped(self, notice: Notification, gateway: str) -> bool:
        """Whether the person has opted out of SMS on this phone; then the attempt fails, and the next address is used."""
        address = notice.deliveries[-1].address
        if address.channel is not Channel.SMS:
            return False
        known = await self._ledger.responses.sms_number(address.number)
        if known.stopped_at is None:
            return False
        attempt = await self._ledger.add_attempt(notice.deliveries[-1], gateway, self._now, query_at=self._now)
        refused = "the person has asked for no SMS (STOP)"
        stopped = replace(
            attempt,
            state=AttemptState.FAILED,
            error=ErrorClass.PERMANENT,
            code="STOP",
            detail=refused,
            ended_at=self._now,
        )
        await self._ledger.save_attempt(stopped)
        await self._write(notice, "not sent: STOP", reference=attempt.reference)
        self._advance.wake_at(self._now)
        return True

    async def _response(self, notice: Notification, gateway: str) -> str:
        """Return the code for a reply to an SMS about an outage; "" if replies are not received."""
        address = notice.deliveries[-1].address
        asked = notice.purpose in {Purpose.OUTAGE, Purpose.REMINDER} or notice.facts.is_handover
        answerable = notice.plan is Plan.ESCALATION and asked
        if address.channel is not Channel.SMS or not answerable or not self._pool.hears_people(gateway):
            return ""
        return printed(await self._ledger.responses.code_for(address.number, notice, self._now))

    async def _whole(self, notice: Notification) -> Notification:
        """Return a notification with all its incidents."""
        return notice if notice.tells_of == len(notice.parts) else await self._ledger.notice(notice.id)

    async def _is_telephone_busy(self, notice: Notification) -> bool:
        """Whether another call occupies the telephone. The end of that call makes this one due, and meanwhile it does not expire.

        The transaction excludes other engines, so that no two calls to a telephone start.
        """
        address = notice.deliveries[-1].address
        if address.channel is not Channel.VOICE:
            return False
        under_way = await self._ledger.calls_under_way(self._now - CALL_LASTS, address)
        free = telephone_free_at([began for _, began in under_way], self._now)
        if free <= self._now:
            return False
        self.waiting.add(notice.id)
        if notice.expires_at <= free:
            await self._ledger.reopen_notice(notice.id, free + CALL_LASTS)
        self._advance.wake_at(free)
        return True

    async def _waits_for_staff(self, notice: Notification) -> bool:
        """Whether a notification to a recipient waits for one to staff, in any of its incidents."""
        if notice.plan is not Plan.ANNOUNCEMENT or notice.attempts:
            return False
        for incident_id in (await self._whole(notice)).incident_ids:
            if waits_for_staff(notice, await self._ledger.notices(incident_id)):
                self.waiting.add(notice.id)
                # Another incident may send the notification to staff, and its end does not wake this incident.
                self._advance.wake_at(self._now + self._policy.lease / 2)
                return True
        return False

    async def _is_held(self, notice: Notification, gateway: str) -> bool:
        """Whether a rate limit delays a notification. The store counts, not memory."""
        address, now = notice.deliveries[-1].address, self._now
        until, brake = now, RateLimitScope.CONTACT
        limits = () if notice.urgency in NEVER_TOO_MANY else CONTACT_LIMITS.get(address.channel, ())
        if limits:
            taken = await self._ledger.taken_since(now - max(limit.within for limit in limits), address=address)
            until = free_at(taken, limits, now)
        per_minute = self._pool[gateway].per_minute
        if per_minute is not None and until <= now:
            taken = await self._ledger.taken_since(now - timedelta(minutes=1), gateway=gateway)
            until, brake = free_at(taken, minute_limit(per_minute), now), RateLimitScope.GATEWAY
        if until <= now:
            return False
        self._advance.held[notice.channel, brake] += 1
        self.has_moved = True
        await self._ledger.hold(notice.id, until)
        await self._write(notice, "notice held", brake=brake, until=until.isoformat())
        self._advance.wake_at(until)
        return True

    async def _question(self, kind: CallKind, notice: Notification, attempt: Attempt) -> None:
        if kind is CallKind.ASK and attempt.gateway not in self._pool and attempt.id not in self._under_way:
            # The gateway was removed from the configuration and cannot be queried.
            lost = replace(attempt, state=AttemptState.NOT_FOUND, ended_at=self._now)
            await self._ledger.save_attempt(lost)
            self._advance.stirred.update(await freed_by(self._ledger, notice, lost))
            gone = {"reference": attempt.reference, "why": f"{attempt.gateway} is not configured any more"}
            await self._write(notice, "ask: not_found", **gone)
            self._advance.wake_at(self._now)
            return
        interval = self._policy.lease if kind is CallKind.ASK else self._policy.check_every[notice.channel]
        asking = replace(attempt, queries=attempt.queries + 1, query_at=self._now + interval)
        if await self._call(kind, notice, asking, due_at=attempt.query_at):
            await self._ledger.save_attempt(asking)
        self._advance.wake_at(asking.query_at)

    async def take_back(self, notice: Notification, attempt: Attempt) -> None:
        """Withdraw a letter from its tray before a clerk posts it."""
        if attempt.gateway in self._pool:
            await self._call(CallKind.WITHDRAW, notice, attempt)
            self._advance.wake_at(self._now + self._policy.lease)
        else:
            # The letter cannot be withdrawn, and its posting is unknown: a person decides, and follow-ups to its reader
            # are due.
            await self.enter(notice, NotificationState.UNKNOWN)
            self._advance.wake_at(self._now)

    async def _call(
        self, kind: CallKind, notice: Notification, attempt: Attempt, due_at: datetime | None = None
    ) -> bool:
        """Add a gateway call about an attempt; return whether it can be made now.

        *due_at*: since when it waits for a slot. It must be the same at each processing, or the waiter would move to
        the end of the queue each time.
        """
        if attempt.id in self._under_way:
            self._under_way[attempt.id] = True
            return False
        if any(attempt.id == e.attempt.id for e in self._advance.calls):
            return False
        # A query may decide about resending; a status check has the lowest priority.
        rank = len(RANK) if kind is CallKind.CHECK else RANK[notice.urgency]
        if not self._take(attempt.gateway, f"attempt {attempt.id}", (rank, due_at or attempt.query_at, notice.id)):
            return False
        self._advance.calls.append(GatewayCall(kind=kind, notice=await self._whole(notice), attempt=attempt))
        return True

    def _take(self, gateway: str, what: str, wanted: Priority) -> bool:
        if not self._pool.take(gateway, incident_id=self._incident_id, what=what, priority=wanted):
            return False
        # Record the slot at once, so that it is released after any error.
        self._advance.taken.append(gateway)
        return True

    async def enter(self, notice: Notification, state: NotificationState) -> None:
        """Write the notification's state if it has changed."""
        if state is notice.state:
            return
        self.has_moved = True
        await self._ledger.settle(notice.id, state)
        self._advance.entered.append(StateChange(channel=notice.channel, purpose=notice.purpose, state=state))
        await self._write(notice, f"notice {state}", person=notice.person, purpose=notice.purpose)
        # The next steps of the other incidents may be due, and the result of a release. Other changes are read when
        # they are due.
        is_news = state is NotificationState.FAILED or (notice.plan is Plan.ANNOUNCEMENT and state in SETTLED)
        if notice.tells_of > 1 and is_news:
            self._advance.stirred.update((await self._whole(notice)).incident_ids)

    async def leave(self, notice: Notification) -> None:
        """Remove this incident from a bundle with others."""
        await self._ledger.leave_notice(notice.id, self._incident_id, self._now)
        await self._write(notice, "left a bundle", person=notice.person, purpose=notice.purpose)
        if notice.leads and (other := await self._ledger.lead_of(notice.id)) is not None:
            self._advance.stirred.add(other)  # It sends the notification from now on.

    async def _write(self, notice: Notification, event: str, **detail: str) -> None:
        entry = AuditEntry(
            at=self._now,
            actor="engine",
            event=event,
            incident_id=self._incident_id,
            notification_id=notice.id,
            detail={**detail, "channel": notice.channel},
        )
        await self._ledger.journal(entry)


def _settled(notice: Notification, state: NotificationState) -> NotificationState:
    """Return the final state of a notification: one that was throttled too long has not failed."""
    held = notice.not_before is not None and notice.urgency not in ALWAYS_GOES
    if state is NotificationState.FAILED and held and notice.last_attempt is None:
        return NotificationState.WITHDRAWN
    return state
