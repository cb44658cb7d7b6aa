"""Leases of incidents, for several engines on one store.

The holder renews its leases while it lives. After the expiry the first engine to ask takes the incident over.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, bindparam, exists, or_, select, update

from alerts.model.delivery import AttemptState
from monitor.store.backend.repository import Repository
from monitor.store.schema.tables import attempt, delivery, incident, notification_incident

_ACTIVE = incident.c.at_rest.is_(False)
_THIS = incident.c.id == bindparam("incident_id")
_OURS = incident.c.owner == bindparam("engine")
_RUN_OUT = incident.c.owned_until <= bindparam("now")
_NOT_ANOTHERS = incident.c.owner.is_(None) | _OURS | _RUN_OUT
# Prepared once: each cycle uses them, and building one takes as long as executing it.
_CLAIMABLE = select(incident.c.id).where(_ACTIVE, _NOT_ANOTHERS).order_by(incident.c.id)
_TO_CLAIM = (
    select(incident.c.owner, incident.c.owned_until).where(_THIS, _NOT_ANOTHERS).with_for_update(skip_locked=True)
)
_CLAIM = update(incident).where(_THIS, _NOT_ANOTHERS).values(owner=bindparam("engine"), owned_until=bindparam("until"))
_NUDGE = update(incident).where(_THIS).values(nudged=True)
_NEWS = select(incident.c.id).where(_OURS, incident.c.nudged)
# Separate statements: each matches few rows and has its index.
_RENEWALS = [
    update(incident).where(_OURS, which).values(owned_until=bindparam("until"), nudged=False)
    for which in (incident.c.nudged, _ACTIVE)
]
_LEFT = (
    select(incident.c.id)
    .where(_ACTIVE, incident.c.owner != bindparam("engine"), _RUN_OUT)
    .order_by(incident.c.id)
    .with_for_update(skip_locked=True)
)


class SqlLeases(Repository):
    """The part of `alerts.persistence.store.UnitOfWork` for engines that share a store."""

    async def claimable(self, owner: str, now: datetime) -> Sequence[int]:
        """Return the active incidents that *owner* has or may lease, the oldest first."""
        return (await self._connection.execute(_CLAIMABLE, {"engine": owner, "now": now})).scalars().all()

    async def claim(self, incident_id: int, owner: str, now: datetime, lease: timedelta) -> bool:
        """Lease an incident until *lease* after *now*; return whether *owner* has it.

        An incident that another engine is leasing at this moment is skipped. Its holder is woken, because the caller
        has a new event.
        """
        values = {"incident_id": incident_id, "engine": owner, "now": now}
        found = (await self._connection.execute(_TO_CLAIM, values)).one_or_none()
        if found is None:
            await self._connection.execute(_NUDGE, {"incident_id": incident_id})
            return False
        if found.owner == owner and found.owned_until > now + lease / 2:
            return True  # Renewed only after half of the lease: most cycles write nothing.
        return (await self._connection.execute(_CLAIM, values | {"until": now + lease})).rowcount == 1

    async def keep_claims(self, owner: str, now: datetime, lease: timedelta) -> Sequence[int]:
        """Renew the leases of *owner* and take over expired ones; return those and the ones that others have woken, oldest first.

        Incidents without a lease are left to the first engine that processes them, which shares the work of a mass
        outage.
        """
        until = now + lease
        news = (await self._connection.execute(_NEWS, {"engine": owner})).scalars().all()
        for renewal in _RENEWALS:
            await self._connection.execute(renewal, {"engine": owner, "until": until})
        found = (await self._connection.execute(_LEFT, {"engine": owner, "now": now})).scalars().all()
        if found:
            left = (incident.c.owner != owner) & (incident.c.owned_until <= now)
            taken = update(incident).where(incident.c.id.in_(found), left).values(owner=owner, owned_until=until)
            if (await self._connection.execute(taken)).rowcount != len(found):
                raise RuntimeError("incidents were claimed by two engines at a time")
            await self._ask_for_receipts(incident.c.id.in_(found), now)
        return sorted({*news, *found})

    async def end_claims(self, processes: Collection[str], owner: str, now: datetime) -> None:
        """End the leases of dead *processes*, but not those of *owner*.

        Rows locked by a suspended transaction are skipped: their leases expire.
        """
        theirs = or_(*(incident.c.owner.startswith(f"{process}/", autoescape=True) for process in processes))
        held = select(incident.c.id).where(_ACTIVE, theirs, incident.c.owner != owner, incident.c.owned_until > now)
        ids = (await self._connection.execute(held.with_for_update(skip_locked=True))).scalars().all()
        if ids:
            await self._connection.execute(update(incident).where(incident.c.id.in_(ids)).values(owned_until=now))

    async def hand_over(self, owner: str, now: datetime) -> None:
        """End all leases of *owner*; its calls are queried at once."""
        ours = incident.c.owner == owner
        cut_off = (attempt.c.state == AttemptState.CALLING) & _is_about(ours)
        await self._connection.execute(update(attempt).where(cut_off).values(query_at=now))
        for which in (incident.c.nudged, _ACTIVE):
            await self._connection.execute(update(incident).where(ours, which).values(owned_until=now))

    async def orphan_calls(self, now: datetime) -> int:
        """Make the queries of all calls of dead processes due now; return their number.

        Also for awaited receipts. On a file all other processes are dead. On a server others may be calling: a call is
        queried at its own time (`query_at`).
        """
        if self._connection.dialect.name != "sqlite":
            return 0
        every = update(attempt).where(attempt.c.state == AttemptState.CALLING)
        orphans = (await self._connection.execute(every.values(query_at=now))).rowcount
        await self._ask_for_receipts(_ACTIVE, now)
        return orphans

    async def _ask_for_receipts(self, of: ColumnElement[bool], now: datetime) -> None:
        """Make the receipts of these attempts due for a query now: callbacks during the downtime were lost."""
        awaited = attempt.c.state.in_((AttemptState.ACCEPTED, AttemptState.SENT)) & (attempt.c.query_at > now)
        await self._connection.execute(update(attempt).where(awaited, _is_about(of)).values(query_at=now))


def _is_about(of: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether an attempt belongs to a notification of such incidents."""
    # From the few attempts to their incidents, not the other way round.
    return exists().where(
        delivery.c.id == attempt.c.delivery_id,
        notification_incident.c.notification_id == delivery.c.notification_id,
        incident.c.id == notification_incident.c.incident_id,
        of,
    )
