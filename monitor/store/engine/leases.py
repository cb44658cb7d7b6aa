"""Leases of incidents, for several engines (parts of processes that process incidents) on one database.

Only the engine that holds the lease of an incident processes it. An engine renews its leases while it runs. After a
lease has expired, another engine takes over the incident. The columns `owner` and `owned_until` store the lease.
Methods with a parameter *owner* are called by the engine with this name. An incident is active (not `at_rest`) while an
action may be due for it. Another engine sets `nudged` to wake the owner.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, bindparam, exists, or_, select, update

from alerts.model.delivery import AttemptState
from monitor.store.backend.repository import Repository
from monitor.store.schema.tables import attempt, delivery, incident, notification_incident

_ACTIVE = incident.c.at_rest.is_(False)
_IS_INCIDENT = incident.c.id == bindparam("incident_id")
_IS_OWN = incident.c.owner == bindparam("engine")
_HAS_EXPIRED = incident.c.owned_until <= bindparam("now")
_MAY_CLAIM = incident.c.owner.is_(None) | _IS_OWN | _HAS_EXPIRED
# Build the statements once: each cycle uses them, and building a statement takes as long as executing it.
_CLAIMABLE = select(incident.c.id).where(_ACTIVE, _MAY_CLAIM).order_by(incident.c.id)
_LOCK_FOR_CLAIM = (
    select(incident.c.owner, incident.c.owned_until).where(_IS_INCIDENT, _MAY_CLAIM).with_for_update(skip_locked=True)
)
_CLAIM = (
    update(incident).where(_IS_INCIDENT, _MAY_CLAIM).values(owner=bindparam("engine"), owned_until=bindparam("until"))
)
_WAKE_OWNER = update(incident).where(_IS_INCIDENT).values(nudged=True)
_WOKEN = select(incident.c.id).where(_IS_OWN, incident.c.nudged)
# Two statements instead of one with OR, so that each uses the index of its condition.
_RENEWALS = [
    update(incident).where(_IS_OWN, condition).values(owned_until=bindparam("until"), nudged=False)
    for condition in (incident.c.nudged, _ACTIVE)
]
_EXPIRED = (
    select(incident.c.id)
    .where(_ACTIVE, incident.c.owner != bindparam("engine"), _HAS_EXPIRED)
    .order_by(incident.c.id)
    .with_for_update(skip_locked=True)
)


class SqlLeases(Repository):
    """The part of `alerts.persistence.store.UnitOfWork` for engines that share a store."""

    async def claimable_incidents(self, owner: str, now: datetime) -> Sequence[int]:
        """Return the active incidents that *owner* leases or may lease, the oldest first."""
        return (await self._connection.execute(_CLAIMABLE, {"engine": owner, "now": now})).scalars().all()

    async def claim_incident(self, incident_id: int, owner: str, now: datetime, lease: timedelta) -> bool:
        """Lease an incident to *owner* from *now* for the duration *lease*; return whether *owner* has the lease.

        If another engine has the lease, or takes it at this moment, wake that engine: the caller may have changed the
        incident.
        """
        values = {"incident_id": incident_id, "engine": owner, "now": now}
        lease_before = (await self._connection.execute(_LOCK_FOR_CLAIM, values)).one_or_none()
        if lease_before is None:
            await self._connection.execute(_WAKE_OWNER, {"incident_id": incident_id})
            return False
        if lease_before.owner == owner and lease_before.owned_until > now + lease / 2:
            return True  # A lease is renewed after half of its duration, so that most cycles write nothing.
        return (await self._connection.execute(_CLAIM, values | {"until": now + lease})).rowcount == 1

    async def renew_leases(self, owner: str, now: datetime, lease: timedelta) -> Sequence[int]:
        """Renew the leases of *owner*, and take over expired ones. Return the incidents to process, oldest first.

        These incidents were taken over, or other engines woke *owner* for them. Incidents without a lease are not
        taken: the first engine that processes one leases it, so that all engines share the work of a mass outage.
        """
        until = now + lease
        woken = (await self._connection.execute(_WOKEN, {"engine": owner})).scalars().all()
        for renewal in _RENEWALS:
            await self._connection.execute(renewal, {"engine": owner, "until": until})
        expired = (await self._connection.execute(_EXPIRED, {"engine": owner, "now": now})).scalars().all()
        if expired:
            is_expired = (incident.c.owner != owner) & (incident.c.owned_until <= now)
            take_over = (
                update(incident).where(incident.c.id.in_(expired), is_expired).values(owner=owner, owned_until=until)
            )
            if (await self._connection.execute(take_over)).rowcount != len(expired):
                raise RuntimeError("incidents were claimed by two engines at a time")
            await self._query_receipts_now(incident.c.id.in_(expired), now)
        return sorted({*woken, *expired})

    async def end_leases(self, processes: Collection[str], owner: str, now: datetime) -> None:
        """End the leases of all engines of dead *processes*, but not those of *owner*.

        The name of an engine begins with the name of its process. Skip rows that a suspended transaction has locked;
        their leases expire later.
        """
        is_of_processes = or_(*(incident.c.owner.startswith(f"{process}/", autoescape=True) for process in processes))
        leased = select(incident.c.id).where(
            _ACTIVE, is_of_processes, incident.c.owner != owner, incident.c.owned_until > now
        )
        ids = (await self._connection.execute(leased.with_for_update(skip_locked=True))).scalars().all()
        if ids:
            await self._connection.execute(update(incident).where(incident.c.id.in_(ids)).values(owned_until=now))

    async def release_leases(self, owner: str, now: datetime) -> None:
        """End all leases of *owner*.

        Make its requests to gateways in progress due for a status query, so that another engine finds their outcome.
        """
        is_own = incident.c.owner == owner
        in_progress = (attempt.c.state == AttemptState.CALLING) & _belongs_to(is_own)
        await self._connection.execute(update(attempt).where(in_progress).values(query_at=now))
        for condition in (incident.c.nudged, _ACTIVE):
            await self._connection.execute(update(incident).where(is_own, condition).values(owned_until=now))

    async def requery_orphaned_attempts(self, now: datetime) -> int:
        """Make attempts in progress and missing receipts due for a status query now; return how many are in progress.

        Call it at the start of a process. Only one process uses an SQLite file, so all attempts in progress are those
        of dead processes. On PostgreSQL nothing is changed, because other processes may have started the attempts: an
        attempt of a dead process is queried at its `query_at`.
        """
        if self._connection.dialect.name != "sqlite":
            return 0
        in_progress = update(attempt).where(attempt.c.state == AttemptState.CALLING)
        orphans = (await self._connection.execute(in_progress.values(query_at=now))).rowcount
        await self._query_receipts_now(_ACTIVE, now)
        return orphans

    async def _query_receipts_now(self, is_incident: ColumnElement[bool], now: datetime) -> None:
        """Make missing receipts of incidents due for a query now, because callbacks during the downtime were lost."""
        awaited = attempt.c.state.in_((AttemptState.ACCEPTED, AttemptState.SENT)) & (attempt.c.query_at > now)
        await self._connection.execute(update(attempt).where(awaited, _belongs_to(is_incident)).values(query_at=now))


def _belongs_to(is_incident: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that an attempt belongs to a notification of an incident that meets *is_incident*."""
    # With `exists`, the database begins with the few matching attempts instead of the incidents.
    return exists().where(
        delivery.c.id == attempt.c.delivery_id,
        notification_incident.c.notification_id == delivery.c.notification_id,
        incident.c.id == notification_incident.c.incident_id,
        is_incident,
    )
