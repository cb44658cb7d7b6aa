"""What is known of the NOC's alerts, and which of them have an open incident."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import delete, func, insert, select

from alerts.model.alert import KnownAlert
from alerts.model.notification import IncidentType
from monitor.store.backend.repository import Repository
from monitor.store.schema.rows import from_row
from monitor.store.schema.tables import alert, incident


class SqlAlerts(Repository):
    """The part of `alerts.persistence.store.UnitOfWork` that is about alerts of the NOC's own monitoring."""

    async def known_alerts(self, fingerprints: Collection[str]) -> Mapping[str, KnownAlert]:
        """Return what is known of the alerts with these fingerprints, a hundred or two."""
        query = select(alert).where(alert.c.fingerprint.in_(fingerprints))
        found = await self._connection.execute(query)
        return {row.fingerprint: from_row(KnownAlert, row) for row in found}

    async def save_alerts(self, known: Sequence[KnownAlert]) -> None:
        """Write what is known of alerts now, each once."""
        if known:
            mine = [each.fingerprint for each in known]
            await self._connection.execute(delete(alert).where(alert.c.fingerprint.in_(mine)))
            await self._connection.execute(insert(alert), [asdict(each) for each in known])

    async def firing_among(self, keys: Collection[str]) -> Mapping[str, int]:
        """Return how many alerts fire that share an incident with one of some dedup keys, by key, where any does."""
        if not keys:
            return {}
        firing = alert.c.folded_into.in_(keys) & alert.c.ended_at.is_(None)
        query = select(alert.c.folded_into, func.count().label("count")).where(firing).group_by(alert.c.folded_into)
        return {row.folded_into: int(row[1]) for row in await self._connection.execute(query)}

    async def open_alerts(self) -> int:
        """Return how many incidents of alerts are open."""
        query = select(func.count()).where(incident.c.resolved_at.is_(None), incident.c.matter == IncidentType.ALERT)
        return (await self._connection.execute(query)).scalar_one()

    async def open_among(self, keys: Collection[str]) -> Collection[str]:
        """Return those of some dedup keys, a hundred or two, that have an open incident."""
        query = select(incident.c.dedup_key).where(incident.c.dedup_key.in_(keys), incident.c.resolved_at.is_(None))
        return set((await self._connection.execute(query)).scalars())
