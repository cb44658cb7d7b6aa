"""Alerts received from Alertmanager, and their open incidents, in the database.

Several alerts may share an incident, whose dedup key is then in `merged_into`. Limits of "some two hundred" keep a
statement below the maximum number of parameters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import delete, func, insert, select

from alerts.model.alert import KnownAlert
from alerts.model.notification import IncidentType
from monitor.store.backend.repository import Repository
from monitor.store.schema.rows import from_row
from monitor.store.schema.tables import incident, received_alert


class SqlAlerts(Repository):
    """The part of `alerts.persistence.store.UnitOfWork` for alerts."""

    async def known_alerts(self, fingerprints: Collection[str]) -> Mapping[str, KnownAlert]:
        """Return the last received states of alerts, by fingerprint, for up to some two hundred fingerprints."""
        query = select(received_alert).where(received_alert.c.fingerprint.in_(fingerprints))
        rows = await self._connection.execute(query)
        return {row.fingerprint: from_row(KnownAlert, row) for row in rows}

    async def save_alerts(self, known: Sequence[KnownAlert]) -> None:
        """Write the received states of alerts, instead of their earlier states."""
        if known:
            fingerprints = [each.fingerprint for each in known]
            await self._connection.execute(delete(received_alert).where(received_alert.c.fingerprint.in_(fingerprints)))
            await self._connection.execute(insert(received_alert), [asdict(each) for each in known])

    async def count_firing_alerts(self, keys: Collection[str]) -> Mapping[str, int]:
        """Return the number of firing alerts of each shared incident with one of the dedup *keys*, by dedup key."""
        if not keys:
            return {}
        firing = received_alert.c.merged_into.in_(keys) & received_alert.c.ended_at.is_(None)
        query = (
            select(received_alert.c.merged_into, func.count().label("alerts"))
            .where(firing)
            .group_by(received_alert.c.merged_into)
        )
        return {row.merged_into: row.alerts for row in await self._connection.execute(query)}

    async def count_open_alert_incidents(self) -> int:
        """Return the number of open incidents of alerts."""
        query = select(func.count()).where(incident.c.resolved_at.is_(None), incident.c.type == IncidentType.ALERT)
        return (await self._connection.execute(query)).scalar_one()

    async def open_dedup_keys(self, keys: Collection[str]) -> Collection[str]:
        """Return those of up to some two hundred dedup keys that have an open incident."""
        query = select(incident.c.dedup_key).where(incident.c.dedup_key.in_(keys), incident.c.resolved_at.is_(None))
        return set((await self._connection.execute(query)).scalars())
