"""Restorations of the database from a backup, an older copy.

After a restoration, the database would assign numbers again that letters and faxes already bear. So numbers are
skipped, and paper (letters and faxes) is paused until a person confirms the restoration. A *high-water mark*, the
newest known number, is kept outside the database.
"""

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
    RECHECK_DELAY,
    DetectionMethod,
    HighWaterMark,
    Restoration,
    StorePosition,
    last_used_page,
    merge_highest,
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
_UNCONFIRMED = select(restoration).where(_OPEN).limit(1)


class SqlRestorations(Repository):
    """Records of restorations, in a transaction of the caller."""

    async def position(self, heads: Collection[int]) -> StorePosition:
        """Return the position of the database: audit head, hashes of the entries *heads*, latest time, counters."""
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

    async def is_alive(self, since: datetime) -> bool:
        """Whether a process has written a heartbeat since *since*, and has not stopped."""
        living = select(process.c.name).where(process.c.heartbeat_at > since, process.c.stopped_at.is_(None)).limit(1)
        return (await self._connection.execute(living)).first() is not None

    async def all(self) -> Sequence[Restoration]:
        """Return all restorations, oldest first."""
        return [
            _to_restoration(row)
            for row in await self._connection.execute(select(restoration).order_by(restoration.c.id))
        ]

    async def pending(self) -> Restoration | None:
        """Return the unconfirmed restoration; `None`: there is none, and paper is not paused."""
        row = (await self._connection.execute(_UNCONFIRMED)).one_or_none()
        return None if row is None else _to_restoration(row)

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
        """Write a restoration, which pauses paper. The numbers to skip are determined later (`skip_numbers`)."""
        values = {"how": how, "noticed_at": at, "since": since, "by": by, "confirmed_by": "", "reason": ""}
        values |= {"numbers": dict(numbers or {}), "pages": dict(pages or {})}
        await self._connection.execute(insert(restoration).values(**values))

    async def begin_reported(
        self, at: datetime, heard: datetime | None, *, by: str, numbers: Mapping[str, int], pages: Mapping[str, int]
    ) -> None:
        """Write a restoration that a person reports, which pauses paper. The numbers to skip are determined later.

        The copy may itself contain an unconfirmed restoration, whose skipped numbers are not enough: more numbers were
        assigned since. *heard*: the latest time in the copy.
        """
        since = heard
        if (waiting := await self.pending()) is not None:
            since = waiting.since or heard
            if waiting.skipped is None:  # No service has started since: it is the same report again.
                numbers, pages = merge_highest([waiting.numbers, numbers]), merge_highest([waiting.pages, pages])
                await self._connection.execute(delete(restoration).where(restoration.c.id == waiting.id))
            else:
                await self.confirm(waiting, at, by, "a copy was put back again")
        await self.begin(DetectionMethod.RESTORED, at, since, by=by, numbers=numbers, pages=pages)

    async def set_method(self, of: Restoration, how: DetectionMethod) -> None:
        """Change how a restoration was detected, when more is known about it."""
        await self._change(of, how=how)

    async def skip_numbers(
        self, of: Restoration, numbers: Mapping[str, tuple[int, int]], marks: Collection[HighWaterMark]
    ) -> None:
        """Skip *numbers* (ranges by prefix), and the pages of active incidents that *marks* or a person report."""
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
            after = last_used_page(row.number, marks, of.pages)
            if after > row.skipped_pages:
                pages = update(incident).where(incident.c.id == row.id).values(skipped_pages=after)
                await self._connection.execute(pages)
                await self._renumber_pages(row.id, after)

    async def _renumber_pages(self, incident_id: int, after: int) -> None:
        """Give pages about an incident that wait for their first attempt numbers after *after*."""
        attempted = select(delivery.c.notification_id).join(attempt, attempt.c.delivery_id == delivery.c.id)
        is_unattempted = (
            (notification_incident.c.incident_id == incident_id)
            & (notification.c.state == NotificationState.PENDING)
            & (notification.c.plan == Plan.ANNOUNCEMENT)
            & notification.c.id.not_in(attempted.where(delivery.c.notification_id == notification.c.id))
        )
        query = select(notification.c.id, notification.c.facts, notification_incident.c.facts.label("part"))
        query = query.join(notification_incident, notification_incident.c.notification_id == notification.c.id).where(
            is_unattempted
        )
        for row in (await self._connection.execute(query)).all():
            is_part = (
                notification_incident.c.notification_id == row.id,
                notification_incident.c.incident_id == incident_id,
            )
            renumbered = _renumbered(row.part, after)
            await self._connection.execute(update(notification_incident).where(*is_part).values(facts=renumbered))
            if row.facts == row.part:
                await self._connection.execute(
                    update(notification).where(notification.c.id == row.id).values(facts=renumbered)
                )

    async def await_new_runs(self, now: datetime) -> None:
        """Delay notifications of staff: the probes first check whether the incidents in the copy still exist."""
        is_unresolved = incident.c.state != IncidentState.RESOLVED
        restart_step = update(incident).where(_active(), is_unresolved).values(step_since=now)
        restart_acknowledgement = update(incident).where(
            _active(), is_unresolved, incident.c.last_response_at.is_not(None)
        )
        await self._connection.execute(restart_step)
        await self._connection.execute(restart_acknowledgement.values(last_response_at=now, reminded_at=None))
        delay_pending = update(notification).where(notification.c.state == NotificationState.PENDING)
        await self._connection.execute(delay_pending.values(not_before=now + RECHECK_DELAY))

    async def unskip_numbers(self, of: Restoration) -> None:
        """Undo the skipping of numbers if none was assigned since: the database turned out to be complete."""
        left: dict[str, list[int]] = {}
        for prefix, (first, last) in (of.skipped or {}).items():
            untouched = (counter.c.name == prefix) & (counter.c.next == last + 1)
            given = await self._connection.execute(update(counter).where(untouched).values(next=first))
            if not given.rowcount:
                left[prefix] = [first, last]
        await self._connection.execute(update(incident).where(_active()).values(skipped_pages=0))
        await self._change(of, skipped=left)

    async def confirm(self, of: Restoration, at: datetime, by: str, why: str) -> None:
        """Confirm a restoration, which ends the pause of paper."""
        await self._change(of, confirmed_at=at, confirmed_by=by, reason=why)

    async def _change(self, of: Restoration, **values: Any) -> None:
        await self._connection.execute(update(restoration).where(restoration.c.id == of.id).values(**values))


def _renumbered(facts: str, after: int) -> str:
    facts_ = FACTS.validate_json(facts)
    if not 0 < facts_.enclosure <= after:
        return facts
    return FACTS.dump_json(replace(facts_, enclosure=after + facts_.enclosure)).decode()


def _active() -> Any:
    return incident.c.at_rest.is_(False)


def _to_restoration(row: Row[Any]) -> Restoration:
    skipped = (
        None
        if row.skipped is None
        else {prefix: (first_and_last[0], first_and_last[1]) for prefix, first_and_last in row.skipped.items()}
    )
    return from_row(Restoration, row, skipped=skipped)
