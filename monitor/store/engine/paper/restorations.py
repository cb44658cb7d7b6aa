"""Restorations of the store from an older copy: its position, the numbers that are skipped, and the confirmations."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from alerts.model.delivery import NotificationState
from alerts.model.incident import IncidentState
from alerts.model.notification import Plan
from alerts.persistence.restoration import (
    SEE_FIRST,
    DetectionMethod,
    HighWaterMark,
    Restoration,
    StorePosition,
    highest,
    pages_left_out,
)
from monitor.store.backend.repository import Repository
from monitor.store.engine import audit
from monitor.store.schema.rows import FACTS, from_row
from monitor.store.schema.tables import (
    attempt,
    audit_log,
    counter,
    delivery,
    incident,
    notification,
    notification_incident,
    process,
    restoration,
)

_OPEN = restoration.c.confirmed_at.is_(None)
#: The restoration that is not confirmed.
_WAITING = select(restoration).where(_OPEN).limit(1)


class SqlRestorations(Repository):
    """Restorations, in a transaction of the caller."""

    async def standing(self, heads: Collection[int]) -> StorePosition:
        """Return the position of the store, and the hashes of its entries at *heads*."""
        head = await audit.head(self._connection)
        wanted = select(audit_log.c.id, audit_log.c.hash, audit_log.c.at).where(
            audit_log.c.id.in_({1, head.number, *heads})
        )
        rows = {row.id: row for row in await self._connection.execute(wanted)}
        beats = (await self._connection.execute(select(process.c.heartbeat_at, process.c.stopped_at))).all()
        heard = [at for beat in beats for at in beat if at is not None]
        heard += [rows[head.number].at] if head.number in rows else []
        return StorePosition(
            chain=rows[1].hash if 1 in rows else "",
            head=head,
            hashes={number: row.hash for number, row in rows.items()},
            received_at=max(heard, default=None),
            following={row.name: row.next for row in await self._connection.execute(select(counter))},
        )

    async def lives(self, since: datetime) -> bool:
        """Whether any process has written since then that it runs and has not stopped."""
        living = select(process.c.name).where(process.c.heartbeat_at > since, process.c.stopped_at.is_(None)).limit(1)
        return (await self._connection.execute(living)).first() is not None

    async def all(self) -> Sequence[Restoration]:
        """Return all restorations, oldest first."""
        return [_of(row) for row in await self._connection.execute(select(restoration).order_by(restoration.c.id))]

    async def waiting(self) -> Restoration | None:
        """Return the unconfirmed restoration; `None`: there is none, and paper is sent."""
        row = (await self._connection.execute(_WAITING)).one_or_none()
        return None if row is None else _of(row)

    async def begin(
        self,
        how: DetectionMethod,
        at: datetime,
        since: datetime | None,
        *,
        by: str = "",
        numbers: Mapping[str, int] | None = None,
        pages: Mapping[str, int] | None = None,
    ) -> None:
        """Hold paper from now on. The numbers to skip are not determined yet."""
        values = {"how": how, "noticed_at": at, "since": since, "by": by, "confirmed_by": "", "reason": ""}
        values |= {"numbers": dict(numbers or {}), "pages": dict(pages or {})}
        await self._connection.execute(insert(restoration).values(**values))

    async def put_back(
        self, at: datetime, heard: datetime | None, *, by: str, numbers: Mapping[str, int], pages: Mapping[str, int]
    ) -> None:
        """Hold paper because a person reports that the store is a copy. The numbers to skip are not determined yet.

        It may be a copy of a store in which paper was held. What was determined then is not enough: more numbers were
        assigned since.
        """
        since = heard
        if (waiting := await self.waiting()) is not None:
            since = waiting.since or heard
            if waiting.skipped is None:  # No service has started since: the same report again.
                numbers, pages = highest([waiting.numbers, numbers]), highest([waiting.pages, pages])
                await self._connection.execute(delete(restoration).where(restoration.c.id == waiting.id))
            else:
                await self.confirm(waiting, at, by, "a copy was put back again")
        await self.begin(DetectionMethod.RESTORED, at, since, by=by, numbers=numbers, pages=pages)

    async def found_out(self, of: Restoration, how: DetectionMethod) -> None:
        """Record that a store that was taken for a stopped one is an older copy."""
        await self._change(of, how=how)

    async def leave_out(
        self, of: Restoration, numbers: Mapping[str, tuple[int, int]], marks: Collection[HighWaterMark]
    ) -> None:
        """Continue after these numbers, and after the pages that a high-water mark or a person reports."""
        left: dict[str, tuple[int, int]] = dict(of.skipped or {})
        for prefix, (first, last) in numbers.items():
            left[prefix] = (left.get(prefix, (first, last))[0], last)
            moved = update(counter).where(counter.c.name == prefix).values(next=last + 1)
            if not (await self._connection.execute(moved)).rowcount:
                await self._connection.execute(insert(counter).values(name=prefix, next=last + 1))
        written = {prefix: list(both) for prefix, both in sorted(left.items())}
        await self._change(of, skipped=written)
        active = select(incident.c.id, incident.c.number, incident.c.skipped_pages).where(_active())
        for row in (await self._connection.execute(active)).all():
            after = pages_left_out(row.number, marks, of.pages)
            if after > row.skipped_pages:
                pages = update(incident).where(incident.c.id == row.id).values(skipped_pages=after)
                await self._connection.execute(pages)
                await self._number_anew(row.id, after)

    async def _number_anew(self, incident_id: int, after: int) -> None:
        """Renumber the pages about an incident that were decided and never attempted, to numbers after *after*."""
        tried = select(delivery.c.notification_id).join(attempt, attempt.c.delivery_id == delivery.c.id)
        waits = (
            (notification_incident.c.incident_id == incident_id)
            & (notification.c.state == NotificationState.PENDING)
            & (notification.c.plan == Plan.ANNOUNCEMENT)
            & notification.c.id.not_in(tried.where(delivery.c.notification_id == notification.c.id))
        )
        both = select(notification.c.id, notification.c.facts, notification_incident.c.facts.label("part"))
        both = both.join(notification_incident, notification_incident.c.notification_id == notification.c.id).where(
            waits
        )
        for row in (await self._connection.execute(both)).all():
            part = notification_incident.c.notification_id == row.id, notification_incident.c.incident_id == incident_id
            anew = _behind(row.part, after)
            await self._connection.execute(update(notification_incident).where(*part).values(facts=anew))
            if row.facts == row.part:
                await self._connection.execute(
                    update(notification).where(notification.c.id == row.id).values(facts=anew)
                )

    async def look_first(self, now: datetime) -> None:
        """Hold notifications of staff for a while: the probes first check whether what the copy contains is still true."""
        waits = incident.c.state != IncidentState.RESOLVED
        begun = update(incident).where(_active(), waits).values(step_since=now)
        heard = update(incident).where(_active(), waits, incident.c.last_response_at.is_not(None))
        await self._connection.execute(begun)
        await self._connection.execute(heard.values(last_response_at=now, reminded_at=None))
        pending = update(notification).where(notification.c.state == NotificationState.PENDING)
        await self._connection.execute(pending.values(not_before=now + SEE_FIRST))

    async def give_after_all(self, of: Restoration) -> None:
        """Assign the skipped numbers after all, where no later one was assigned: nothing was lost."""
        left: dict[str, list[int]] = {}
        for prefix, (first, last) in (of.skipped or {}).items():
            untouched = (counter.c.name == prefix) & (counter.c.next == last + 1)
            given = await self._connection.execute(update(counter).where(untouched).values(next=first))
            if not given.rowcount:
                left[prefix] = [first, last]
        await self._connection.execute(update(incident).where(_active()).values(skipped_pages=0))
        await self._change(of, skipped=left)

    async def confirm(self, of: Restoration, at: datetime, by: str, why: str) -> None:
        """Release paper."""
        await self._change(of, confirmed_at=at, confirmed_by=by, reason=why)

    async def _change(self, of: Restoration, **values: Any) -> None:
        await self._connection.execute(update(restoration).where(restoration.c.id == of.id).values(**values))


def _behind(facts: str, after: int) -> str:
    told = FACTS.validate_json(facts)
    if not 0 < told.enclosure <= after:
        return facts
    return FACTS.dump_json(replace(told, enclosure=after + told.enclosure)).decode()


def _active() -> Any:
    return incident.c.at_rest.is_(False)


def _of(row: Row[Any]) -> Restoration:
    left = None if row.skipped is None else {prefix: (both[0], both[1]) for prefix, both in row.skipped.items()}
    return from_row(Restoration, row, skipped=left)
