"""Restorations of the database from a backup, an older copy.

Letters and faxes bear the number of an incident, and the number of a page (enclosure) within the incident. After a
restoration, the database would assign such numbers a second time. So numbers are skipped, and *paper* (letters and
faxes) is paused until a person confirms the restoration. A *high-water mark*, kept outside the database, contains the
highest assigned numbers.
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

#: Whether an incident is active: an action may be due for it.
_IS_ACTIVE = incident.c.at_rest.is_(False)
#: Query for the restoration that nobody has confirmed. There is at most one.
_UNCONFIRMED = select(restoration).where(restoration.c.confirmed_at.is_(None)).limit(1)


class SqlRestorations(Repository):
    """Records of restorations, in a transaction of the caller."""

    async def position(self, entry_numbers: Collection[int]) -> StorePosition:
        """Return how far the database has got by its own content: newest audit entry, last write, and next numbers.

        *entry_numbers*: numbers of the audit entries whose hashes the caller compares with high-water marks.
        """
        head = await audit.head(self._connection)
        query = select(audit_log.c.id, audit_log.c.hash, audit_log.c.at).where(
            audit_log.c.id.in_({1, head.number, *entry_numbers})
        )
        rows = {row.id: row for row in await self._connection.execute(query)}
        heartbeats = await self._connection.execute(select(process.c.heartbeat_at, process.c.stopped_at))
        write_times = [at for times in heartbeats for at in times if at is not None]
        write_times += [rows[head.number].at] if head.number in rows else []
        return StorePosition(
            chain=rows[1].hash if 1 in rows else "",  # The first hash identifies a database.
            head=head,
            hashes={number: row.hash for number, row in rows.items()},
            last_write_at=max(write_times, default=None),
            next_numbers={row.name: row.next for row in await self._connection.execute(select(counter))},
        )

    async def is_alive(self, since: datetime) -> bool:
        """Whether some process has written a heartbeat after *since*, and has not stopped."""
        live = select(process.c.name).where(process.c.heartbeat_at > since, process.c.stopped_at.is_(None)).limit(1)
        return (await self._connection.execute(live)).first() is not None

    async def all(self) -> Sequence[Restoration]:
        """Return all restorations, oldest first."""
        return [
            _to_restoration(row)
            for row in await self._connection.execute(select(restoration).order_by(restoration.c.id))
        ]

    async def pending(self) -> Restoration | None:
        """Return the unconfirmed restoration; `None`: all are confirmed, and paper is not paused."""
        row = (await self._connection.execute(_UNCONFIRMED)).one_or_none()
        return None if row is None else _to_restoration(row)

    async def begin(
        self,
        method: DetectionMethod,
        at: datetime,
        since: datetime | None,
        *,
        by: str = "",
        numbers: Mapping[str, int] | None = None,
        pages: Mapping[str, int] | None = None,
    ) -> None:
        """Write a restoration, which pauses paper. The numbers to skip are determined later (`skip_numbers`).

        *at*: time of the detection; *since*: last write of the restored copy; *by*: the person who restored it, or "";
        *numbers* and *pages*: the last used numbers by prefix, and pages by incident number, as that person states.
        """
        values = {"how": method, "noticed_at": at, "since": since, "by": by, "confirmed_by": "", "reason": ""}
        values |= {"numbers": dict(numbers or {}), "pages": dict(pages or {})}
        await self._connection.execute(insert(restoration).values(**values))

    async def begin_reported(
        self,
        at: datetime,
        last_write_at: datetime | None,
        *,
        by: str,
        numbers: Mapping[str, int],
        pages: Mapping[str, int],
    ) -> None:
        """Write a restoration that a person reports, as `begin` does. *last_write_at*: last write of the restored copy.

        The copy may itself contain an unconfirmed restoration. The new restoration replaces it, because the copy lacks
        numbers that were assigned after the ones that the earlier restoration skipped.
        """
        since = last_write_at
        if (earlier := await self.pending()) is not None:
            since = earlier.since or last_write_at
            if earlier.skipped is None:  # No service has started since, so the person repeats the same report.
                numbers, pages = merge_highest([earlier.numbers, numbers]), merge_highest([earlier.pages, pages])
                await self._connection.execute(delete(restoration).where(restoration.c.id == earlier.id))
            else:
                await self.confirm(earlier, at, by, "a copy was put back again")
        await self.begin(DetectionMethod.RESTORED, at, since, by=by, numbers=numbers, pages=pages)

    async def set_method(self, target: Restoration, method: DetectionMethod) -> None:
        """Change how a restoration was detected, because a high-water mark proves what was only suspected before."""
        await self._change(target, how=method)

    async def skip_numbers(
        self, target: Restoration, numbers: Mapping[str, tuple[int, int]], marks: Collection[HighWaterMark]
    ) -> None:
        """Skip numbers of incidents, and the used pages of active incidents.

        *numbers*: first and last number to skip, by prefix. *marks*: high-water marks with used pages; the person who
        reported the restoration may have stated further pages (`target.pages`).
        """
        skipped: dict[str, tuple[int, int]] = dict(target.skipped or {})
        for prefix, (first, last) in numbers.items():
            earliest = skipped[prefix][0] if prefix in skipped else first
            skipped[prefix] = (earliest, last)
            advance_counter = update(counter).where(counter.c.name == prefix).values(next=last + 1)
            if not (await self._connection.execute(advance_counter)).rowcount:
                await self._connection.execute(insert(counter).values(name=prefix, next=last + 1))
        await self._change(target, skipped={prefix: list(limits) for prefix, limits in sorted(skipped.items())})
        active = select(incident.c.id, incident.c.number, incident.c.skipped_pages).where(_IS_ACTIVE)
        for row in (await self._connection.execute(active)).all():
            after = last_used_page(row.number, marks, target.pages)
            if after > row.skipped_pages:
                await self._connection.execute(
                    update(incident).where(incident.c.id == row.id).values(skipped_pages=after)
                )
                await self._renumber_pages(row.id, after)

    async def _renumber_pages(self, incident_id: int, after: int) -> None:
        """Renumber the pending pages of an incident, which have no attempt yet, so that they follow page *after*."""
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
        """Restart the waiting times of steps and acknowledgements of open incidents, and delay pending notifications.

        Meanwhile new runs of the probes check whether the problems in the copy still exist.
        """
        is_unresolved = incident.c.state != IncidentState.RESOLVED
        restart_step = update(incident).where(_IS_ACTIVE, is_unresolved).values(step_since=now)
        restart_acknowledgement = update(incident).where(
            _IS_ACTIVE, is_unresolved, incident.c.last_response_at.is_not(None)
        )
        await self._connection.execute(restart_step)
        await self._connection.execute(restart_acknowledgement.values(last_response_at=now, reminded_at=None))
        delay_pending = update(notification).where(notification.c.state == NotificationState.PENDING)
        await self._connection.execute(delay_pending.values(not_before=now + RECHECK_DELAY))

    async def unskip_numbers(self, target: Restoration) -> None:
        """Undo the skipping, because the database turned out to be complete.

        Numbers with a prefix stay skipped if later numbers with this prefix were assigned since.
        """
        still_skipped: dict[str, list[int]] = {}
        for prefix, (first, last) in (target.skipped or {}).items():
            is_unchanged = (counter.c.name == prefix) & (counter.c.next == last + 1)
            reset = await self._connection.execute(update(counter).where(is_unchanged).values(next=first))
            if not reset.rowcount:
                still_skipped[prefix] = [first, last]
        await self._connection.execute(update(incident).where(_IS_ACTIVE).values(skipped_pages=0))
        await self._change(target, skipped=still_skipped)

    async def confirm(self, target: Restoration, at: datetime, by: str, reason: str) -> None:
        """Confirm a restoration, which ends the pause of paper."""
        await self._change(target, confirmed_at=at, confirmed_by=by, reason=reason)

    async def _change(self, target: Restoration, **values: Any) -> None:
        await self._connection.execute(update(restoration).where(restoration.c.id == target.id).values(**values))


def _renumbered(facts_json: str, after: int) -> str:
    """Return the facts with their page number increased by *after*, unless it is above *after*.

    The page number is `enclosure`; 0: the facts are on no page, and do not change.
    """
    facts = FACTS.validate_json(facts_json)
    if not 0 < facts.enclosure <= after:
        return facts_json
    return FACTS.dump_json(replace(facts, enclosure=after + facts.enclosure)).decode()


def _to_restoration(row: Row[Any]) -> Restoration:
    skipped = (
        None
        if row.skipped is None
        else {prefix: (first_and_last[0], first_and_last[1]) for prefix, first_and_last in row.skipped.items()}
    )
    return from_row(Restoration, row, skipped=skipped)
