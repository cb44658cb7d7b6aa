"""Make the moves of notices, inside a transaction: write what follows, heed the brakes, leave the calls of gateways."""

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
    """Moves the notices of one incident. Made anew for each look at it."""

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
        """*under_way*: ids of the attempts whose gateway is being called at this moment, each with whether we wait for that."""
        self._ledger = ledger
        self._pool = pool
        self._policy = policy
        self._now = now
        self._under_way = under_way
        self._preference, self._trying = pool.preference(now), pool.preference(now, trying=True)
        self._advance = advance
        self._incident_id = incident_id
        #: Whether the notices are not any more as they were read.
        self.has_moved = False
        #: Ids of notices that wait for other notices: no gateway and no decision of ours delays them.
        self.waiting = set[int]()

    async def deliver(self, notice: Notification) -> None:
        """Make the moves of one notice until it has to wait for something."""
        while True:
            # Whoever has not heard yet is told by what is sure to arrive.
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
                    # A step whose contacts all failed makes way for the next at once.
                    self._advance.wake_at(self._now)
                    return
                case Wait(until=until):
                    self._advance.wake_at(until)
            await self.enter(notice, shown_state(notice))
            return

    async def _call_instead(self, notice: Notification) -> Address | None:
        """Return where to call somebody of the staff who sent STOP."""
        incident = await self._ledger.incident(notice.incident_id) if wants_call_instead(notice, self._now) else None
        person = incident.brief.escalation.contact(notice.person) if incident is not None else None
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
            return  # Whoever lets it go has everything looked at again.
        if notice.urgency not in ALWAYS_GOES and await self._is_held(notice, gateway):
            return
        if await self._is_telephone_busy(notice) or await self._waits_for_staff(notice):
            return
        if not self._take(gateway, f"notice {notice.id}", priority(notice.urgency, notice.due_at, notice.id)):
            return  # It is looked at again when its turn comes.
        lease = self._now + self._policy.lease_on(notice.channel)
        # What joins a bundle later is not in what is sent now.
        await self._ledger.lock_notice(notice.id)
        whole = await self._whole(notice)
        response = await self._response(whole, gateway)
        delivery = whole.deliveries[-1]
        attempt = await self._ledger.add_attempt(delivery, gateway, self._now, look_at=lease, response=response)
        tried = replace(delivery, attempts=(*delivery.attempts, attempt))
        whole = replace(whole, deliveries=(*whole.deliveries[:-1], tried))
        self._pool.note_use(gateway, self._now)
        doubted = {"doubted": ", ".join(before)} if (before := self._pool.doubted_before(gateway)) else {}
        await self._write(notice, "attempt written", reference=attempt.reference, gateway=gateway, **doubted)
        self._advance.calls.append(GatewayCall(kind=CallKind.SEND, notice=whole, attempt=attempt))
        self._advance.wake_at(lease)

    async def _has_stopped(self, notice: Notification, gateway: str) -> bool:
        """Whether the person wants no SMS on this phone; then it is written down as failed, and the next address tried."""
        address = notice.deliveries[-1].address
        if address.channel is not Channel.SMS:
            return False
        known = await self._ledger.responses.sms_number(address.number)
        if known.stopped_at is None:
            return False
        attempt = await self._ledger.add_attempt(notice.deliveries[-1], gateway, self._now, look_at=self._now)
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
        """Return the code by which the person can answer an SMS about an outage; nothing where no answer is heard."""
        address = notice.deliveries[-1].address
        asked = notice.purpose in {Purpose.OUTAGE, Purpose.REMINDER} or notice.facts.is_handover
        answerable = notice.plan is Plan.ESCALATION and asked
        if address.channel is not Channel.SMS or not answerable or not self._pool.hears_people(gateway):
            return ""
        return printed(await self._ledger.responses.code_for(address.number, notice, self._now))

    async def _whole(self, notice: Notification) -> Notification:
        """Return a notice with all that it tells of."""
        return notice if notice.tells_of == len(notice.parts) else await self._ledger.notice(notice.id)

    async def _is_telephone_busy(self, notice: Notification) -> bool:
        """Whether another call of ours occupies the telephone. Its end makes this one due, and meanwhile it cannot expire.

        The transaction excludes those of other engines, so that no two calls to a telephone begin.
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
        """Whether a notice to somebody outside waits for one to staff, in any of its incidents."""
        if notice.plan is not Plan.ANNOUNCEMENT or notice.attempts:
            return False
        for incident_id in (await self._whole(notice)).incident_ids:
            if waits_for_staff(notice, await self._ledger.notices(incident_id)):
                self.waiting.add(notice.id)
                # Another incident may send the notice to staff, and its end does not make this incident due.
                self._advance.wake_at(self._now + self._policy.lease / 2)
                return True
        return False

    async def _is_held(self, notice: Notification, gateway: str) -> bool:
        """Whether a brake holds a notice back. Counted is what the store says was taken: nothing in memory."""
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
            # It was taken out of the configuration: nobody is left to ask.
            lost = replace(attempt, state=AttemptState.NO_TRACE, ended_at=self._now)
            await self._ledger.save_attempt(lost)
            self._advance.stirred.update(await freed_by(self._ledger, notice, lost))
            gone = {"reference": attempt.reference, "why": f"{attempt.gateway} is not configured any more"}
            await self._write(notice, "ask: no_trace", **gone)
            self._advance.wake_at(self._now)
            return
        interval = self._policy.lease if kind is CallKind.ASK else self._policy.check_every[notice.channel]
        asking = replace(attempt, asked=attempt.asked + 1, look_at=self._now + interval)
        if await self._call(kind, notice, asking, due_at=attempt.look_at):
            await self._ledger.save_attempt(asking)
        self._advance.wake_at(asking.look_at)

    async def take_back(self, notice: Notification, attempt: Attempt) -> None:
        """Have a letter taken out of its tray before a clerk posts it."""
        if attempt.gateway in self._pool:
            await self._call(CallKind.WITHDRAW, notice, attempt)
            self._advance.wake_at(self._now + self._policy.lease)
        else:
            # Nobody can take it out of that tray any more, or say whether it was posted: a person looks, and what is owed to
            # its reader is told.
            await self.enter(notice, NotificationState.UNKNOWN)
            self._advance.wake_at(self._now)

    async def _call(
        self, kind: CallKind, notice: Notification, attempt: Attempt, due_at: datetime | None = None
    ) -> bool:
        """Leave a call to be made about an attempt; return whether it can be made now.

        *due_at*: since when it waits for a slot. It must not change from look to look: whoever is looked at would go behind
        all others each time, and none would ever go.
        """
        if attempt.id in self._under_way:
            self._under_way[attempt.id] = True
            return False
        if any(attempt.id == e.attempt.id for e in self._advance.calls):
            return False
        # What became of it may decide whether it is sent again; whether it has arrived can wait for all else.
        rank = len(RANK) if kind is CallKind.CHECK else RANK[notice.urgency]
        if not self._take(attempt.gateway, f"attempt {attempt.id}", (rank, due_at or attempt.look_at, notice.id)):
            return False
        self._advance.calls.append(GatewayCall(kind=kind, notice=await self._whole(notice), attempt=attempt))
        return True

    def _take(self, gateway: str, what: str, wanted: Priority) -> bool:
        if not self._pool.take(gateway, incident_id=self._incident_id, what=what, priority=wanted):
            return False
        # At once: whatever breaks from here on, it is known that there is one to give back.
        self._advance.taken.append(gateway)
        return True

    async def enter(self, notice: Notification, state: NotificationState) -> None:
        """Write that a notice has come into a state, if it is another than before."""
        if state is notice.state:
            return
        self.has_moved = True
        await self._ledger.settle(notice.id, state)
        self._advance.entered.append(StateChange(channel=notice.channel, purpose=notice.purpose, state=state))
        await self._write(notice, f"notice {state}", person=notice.person, purpose=notice.purpose)
        # Their next steps may begin at once, and whoever released hears what came of it. What else went well they find when
        # they are due.
        is_news = state is NotificationState.FAILED or (notice.plan is Plan.ANNOUNCEMENT and state in SETTLED)
        if notice.tells_of > 1 and is_news:
            self._advance.stirred.update((await self._whole(notice)).incident_ids)

    async def leave(self, notice: Notification) -> None:
        """Take this incident out of a bundle that still has others to tell of."""
        await self._ledger.leave_notice(notice.id, self._incident_id, self._now)
        await self._write(notice, "left a bundle", person=notice.person, purpose=notice.purpose)
        if notice.leads and (other := await self._ledger.lead_of(notice.id)) is not None:
            self._advance.stirred.add(other)  # It looks after the notice from now on.

    async def _write(self, notice: Notification, event: str, **detail: str) -> None:
        entry = AuditEntry(
            at=self._now,
            actor="engine",
            event=event,
            incident_id=self._incident_id,
            notice_id=notice.id,
            detail={**detail, "channel": notice.channel},
        )
        await self._ledger.journal(entry)


def _settled(notice: Notification, state: NotificationState) -> NotificationState:
    """Return where a notice that has come to its end belongs: what only a brake held too long has not failed."""
    held = notice.not_before is not None and notice.urgency not in ALWAYS_GOES
    if state is NotificationState.FAILED and held and notice.last_attempt is None:
        return NotificationState.WITHDRAWN
    return state
