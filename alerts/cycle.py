"""Bring one incident forward, inside one transaction: decide, and write what follows.

What has to happen outside the transaction (a call of a gateway) is returned as errands, whose attempts are already
written. Nothing here is remembered: asked again with the same store and time, it writes nothing new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime

from alerts.announcement import Announce, AwaitOfficer, Nobody, NotBefore, ReleaseNow, announce
from alerts.channel import Channel
from alerts.conclusion import Cancel, GiveUp, TakeBack, TellRecovery, conclude
from alerts.delivery import SETTLED, Attempt, AttemptState, Draft, Notice, NoticeState
from alerts.errand import Deed, Errand
from alerts.escalation import AtRest, Exhausted, StartStep, WaitUntil, escalate
from alerts.event import Release
from alerts.exchange import Exchange
from alerts.incident import Incident, apply
from alerts.move import Ask, Check, DeliveryPolicy, FallBack, Settle, Try, Wait, decisive, next_move, shown_state
from alerts.notice import Purpose
from alerts.store import Entry, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """A notice came into a state; for those who count."""

    channel: Channel
    purpose: Purpose
    state: NoticeState


@dataclass(slots=True)
class Advance:
    """What came of bringing an incident forward."""

    errands: list[Errand] = field(default_factory=list)
    entered: list[Entered] = field(default_factory=list)
    #: When there is something to do again.
    wake: datetime | None = None
    oldest_pending: datetime | None = None
    #: Open incidents by agency.
    open: Counter[str] = field(default_factory=Counter)

    def wake_at(self, at: datetime | None) -> None:
        """Remember the earliest time at which something is due."""
        if at is not None and (self.wake is None or at < self.wake):
            self.wake = at

    def merge(self, other: Advance) -> None:
        """Take in what came of another incident."""
        self.errands += other.errands
        self.entered += other.entered
        self.wake_at(other.wake)
        self.open += other.open
        if other.oldest_pending and (self.oldest_pending is None or other.oldest_pending < self.oldest_pending):
            self.oldest_pending = other.oldest_pending


class Cycle:
    """One pass over one incident. Made anew for each transaction."""

    def __init__(
        self, ledger: Ledger, exchange: Exchange, policy: DeliveryPolicy, now: datetime, under_way: AbstractSet[int]
    ) -> None:
        self._ledger = ledger
        self._exchange = exchange
        self._policy = policy
        self._now = now
        #: Ids of the attempts whose gateway is being called at this moment.
        self._under_way = under_way
        self._preference = exchange.preference(now)
        self.advance = Advance()

    async def bring_forward(self, incident_id: int) -> None:
        """Take all the steps that are due; what came of it is in `advance`."""
        incident = await self._ledger.incident(incident_id)
        if incident is None:
            return
        incident = await self._escalate(incident)
        incident = await self._announce(incident)
        await self._conclude(incident)
        for notice in await self._ledger.notices(incident.id):
            if notice.state not in SETTLED:
                await self._deliver(notice)
        notices = await self._ledger.notices(incident.id)
        self.advance.oldest_pending = min(
            (n.created_at for n in notices if n.state is NoticeState.PENDING), default=None
        )
        if incident.is_open:
            self.advance.open[incident.brief.agency] += 1
        elif all(self._owes_nothing(n) for n in notices):
            await self._ledger.put_to_rest(incident.id)

    async def _escalate(self, incident: Incident) -> Incident:
        while True:
            notices = await self._ledger.notices(incident.id)
            match escalate(incident, notices, self._now):
                case StartStep(position=position, drafts=drafts):
                    incident = replace(incident, position=position)
                    await self._ledger.save_incident(incident)
                    await self._add(incident, drafts)
                case WaitUntil(at=at):
                    self.advance.wake_at(at)
                    return incident
                case Exhausted() | AtRest():
                    return incident

    async def _announce(self, incident: Incident) -> Incident:
        match announce(incident, self._now):
            case ReleaseNow():
                release = Release(incident_id=incident.id, at=self._now, by="automatic")
                incident = apply(incident, release)
                await self._ledger.save_incident(incident)
                await self._write("announcement released by itself", incident)
                return await self._announce(incident)
            case Announce(drafts=drafts):
                await self._add(incident, drafts)
            case NotBefore(at=at):
                self.advance.wake_at(at)
            case AwaitOfficer() | Nobody():
                pass
        return incident

    async def _conclude(self, incident: Incident) -> None:
        for conclusion in conclude(incident, await self._ledger.notices(incident.id), self._now):
            match conclusion:
                case Cancel(notice=notice):
                    await self._enter(notice, NoticeState.WITHDRAWN)
                case GiveUp(notice=notice):
                    await self._enter(notice, NoticeState.UNKNOWN)
                case TakeBack(notice=notice, attempt=attempt):
                    self._errand(Deed.WITHDRAW, notice, attempt)
                    self.advance.wake_at(self._now + self._policy.lease)
                case TellRecovery(draft=draft):
                    await self._add(incident, [draft])

    async def _deliver(self, notice: Notice) -> None:
        """Make the moves of one notice until it has to wait for something."""
        while True:
            match next_move(notice, self._preference, self._policy, self._now):
                case FallBack(to=address):
                    await self._ledger.add_delivery(notice.id, address)
                    notice = await self._ledger.notice(notice.id)
                    continue
                case Try(gateway=gateway):
                    await self._try(notice, gateway)
                case Ask(attempt=attempt):
                    await self._question(Deed.ASK, notice, attempt)
                case Check(attempt=attempt):
                    await self._question(Deed.CHECK, notice, attempt)
                case Settle(state=state):
                    await self._enter(notice, state)
                    # A step whose contacts all failed makes way for the next at once.
                    self.advance.wake_at(self._now)
                    return
                case Wait(until=until):
                    self.advance.wake_at(until)
            await self._enter(notice, shown_state(notice))
            return

    async def _try(self, notice: Notice, gateway: str) -> None:
        if not self._exchange.take(gateway):
            return  # The cycle runs again when a slot is given back.
        lease = self._now + self._policy.lease
        attempt = await self._ledger.add_attempt(notice.deliveries[-1], gateway, self._now, look_at=lease)
        notice = await self._ledger.notice(notice.id)
        self.advance.errands.append(Errand(deed=Deed.SEND, notice=notice, attempt=attempt))
        self.advance.wake_at(lease)

    async def _question(self, deed: Deed, notice: Notice, attempt: Attempt) -> None:
        if deed is Deed.ASK and attempt.gateway not in self._exchange and attempt.id not in self._under_way:
            # It was taken out of the configuration: nobody is left to ask.
            await self._ledger.save_attempt(replace(attempt, state=AttemptState.NO_TRACE, ended_at=self._now))
            self.advance.wake_at(self._now)
            return
        interval = self._policy.lease if deed is Deed.ASK else self._policy.check_every[notice.channel]
        asking = replace(attempt, asked=attempt.asked + 1, look_at=self._now + interval)
        if self._errand(deed, notice, asking):
            await self._ledger.save_attempt(asking)
        self.advance.wake_at(asking.look_at)

    def _errand(self, deed: Deed, notice: Notice, attempt: Attempt) -> bool:
        if attempt.id in self._under_way or any(attempt.id == e.attempt.id for e in self.advance.errands):
            return False
        if not self._exchange.take(attempt.gateway):
            return False
        self.advance.errands.append(Errand(deed=deed, notice=notice, attempt=attempt))
        return True

    async def _enter(self, notice: Notice, state: NoticeState) -> None:
        if state is notice.state:
            return
        await self._ledger.settle(notice.id, state)
        self.advance.entered.append(Entered(channel=notice.channel, purpose=notice.purpose, state=state))
        entry = Entry(
            at=self._now,
            actor="engine",
            event=f"notice {state}",
            incident_id=notice.incident_id,
            notice_id=notice.id,
            detail={"person": notice.person, "purpose": notice.purpose, "channel": notice.channel},
        )
        await self._ledger.journal(entry)

    async def _add(self, incident: Incident, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            if draft.addresses and await self._ledger.add_notice(incident, draft, self._now):
                channel = draft.addresses[0].channel
                self.advance.entered.append(Entered(channel=channel, purpose=draft.purpose, state=NoticeState.PENDING))
                await self._write(f"{draft.purpose} notice decided", incident, person=draft.person, channel=channel)

    async def _write(self, event: str, incident: Incident, **detail: str) -> None:
        entry = Entry(at=self._now, actor="engine", event=event, incident_id=incident.id, detail=detail)
        await self._ledger.journal(entry)

    def _owes_nothing(self, notice: Notice) -> bool:
        """Whether a notice of a resolved incident needs no more looking after: settled, or sent and past its use."""
        if notice.state in SETTLED:
            return True
        last = decisive(notice)
        in_the_tray = notice.channel is Channel.LETTER and last is not None and last.state is AttemptState.ACCEPTED
        return notice.state is NoticeState.SENT and not in_the_tray and self._now >= notice.expires_at
