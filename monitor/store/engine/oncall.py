"""On-call overrides in the database, and confirmations of telephone numbers by drills.

An *override* replaces the person on a rota for a time. In a *drill* (a test of contacts and gateways) a person confirms
a number by pressing a key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row, Select, func, insert, select, update

from alerts.model.contact import Contact
from alerts.model.oncall import Override
from monitor.store.backend.repository import Repository
from monitor.store.schema.rows import from_row, sort_by_id
from monitor.store.schema.skip_scan import select_distinct
from monitor.store.schema.tables import drill_notification, override

_CONTACT = TypeAdapter(Contact)


class SqlOnCall(Repository):
    """On-call overrides and confirmations, within one transaction."""

    async def list_overrides(self, now: datetime, rotas: Collection[str] | None = None) -> Sequence[Override]:
        """Return the overrides that have not ended at *now* and were not removed, in the order of their creation.

        *rotas*: only overrides of the rotas with these names; `None`: of all rotas.
        """
        query = select_overrides(now)
        if rotas is not None:
            query = query.where(override.c.rota.in_(rotas))
        return overrides_from_rows(await self._connection.execute(query))

    async def add(
        self, *, rota: str, contact: Contact, starts_at: datetime, ends_at: datetime, by: str, now: datetime
    ) -> Override:
        """Write an override by the person *by*, and return it."""
        statement = (
            insert(override)
            .values(
                rota=rota,
                contact=_CONTACT.dump_json(contact).decode(),
                starts_at=starts_at,
                ends_at=ends_at,
                made_by=by,
                made_at=now,
            )
            .returning(override)
        )
        return _to_override((await self._connection.execute(statement)).one())

    async def update_contact(self, override_id: int, contact: Contact) -> None:
        """Replace the contact of an override, because the contact's numbers have changed in the configuration."""
        contact_json = _CONTACT.dump_json(contact).decode()
        await self._connection.execute(
            update(override).where(override.c.id == override_id).values(contact=contact_json)
        )

    async def remove(self, override_id: int, by: str, now: datetime) -> Override | None:
        """Remove an override and return it; `None`: it does not exist, was removed before, or has ended."""
        statement = (
            update(override)
            .where(override.c.id == override_id, override.c.removed_at.is_(None), override.c.ends_at > now)
            .values(removed_by=by, removed_at=now)
            .returning(override)
        )
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else _to_override(row)

    async def last_confirmations(self) -> Mapping[str, datetime]:
        """Return the time of the last confirmation of each number (E.164)."""
        return confirmation_times(await self._connection.execute(select_confirmations()))


def select_overrides(now: datetime) -> Select[Any]:
    """Return the query for the overrides that have not ended at *now* and were not removed."""
    return select(override).where(override.c.removed_at.is_(None), override.c.ends_at > now)


def overrides_from_rows(rows: Iterable[Row[Any]]) -> Sequence[Override]:
    """Return the overrides that `select_overrides` finds, in the order of their creation."""
    return sort_by_id(map(_to_override, rows))


def select_confirmations() -> Select[Any]:
    """Return the query for the time of the last confirmation of each number."""
    numbers = select_distinct(drill_notification.c.number)
    last = select(func.max(drill_notification.c.confirmed_at)).where(drill_notification.c.number == numbers.c.number)
    return select(numbers, last.correlate(numbers).scalar_subquery().label("at"))


def confirmation_times(rows: Iterable[Row[Any]]) -> Mapping[str, datetime]:
    """Return the last confirmation of each number (E.164), from the rows of `select_confirmations`."""
    return {row.number: row.at for row in rows if row.at is not None}


def _to_override(row: Row[Any]) -> Override:
    return from_row(Override, row, contact=_CONTACT.validate_json(row.contact), by=row.made_by)
