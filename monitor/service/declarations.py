"""Declarations by people that contradict the probes: an outage that the probes do not detect, or the end of one.

Examples of declared outages: webmail is unavailable, or a filter deletes all mail. Any open incident can be closed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from alerts.decide.silence import Muter, Silence
from alerts.engine.dispatcher import Dispatcher
from alerts.model.contradiction import Contradiction
from alerts.model.event import AUTOMATIC, Close, Declare
from alerts.model.incident import Incident
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.clock import Clock
from monitor.service.errors import OperationRejectedError, agency_called, numbered
from monitor.service.oncall import read_moment
from monitor.service.order_check import OrderCheck
from monitor.store.engine.ledger import SqlStore

#: Notifications quote its begin. An earlier one is a typing error, or an outage that needs no notification any more.
LONGEST_AGO = timedelta(days=7)

#: A time of day without a date.
_CLOCK = re.compile(r"([01]?\d|2[0-3])[:.]([0-5]\d)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredOutage:
    """A declared outage, and whether notifications are sent."""

    incident: Incident
    #: The silence that suppresses notifications.
    silence: Silence | None = None


class DeclarationService:
    """Executes declarations of staff."""

    def __init__(
        self,
        *,
        store: SqlStore,
        dispatcher: Dispatcher,
        clock: Clock,
        known: Callable[[], Sequence[str]],
        brief: Callable[[str], PolicySnapshot],
        zone: Callable[[], ZoneInfo],
        muter: Muter,
        check: OrderCheck,
    ) -> None:
        """*known* returns the monitored agencies; *brief* the policy for one; *zone* that of typed times."""
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._known = known
        self._brief = brief
        self._zone = zone
        self._muter = muter
        self._check = check

    async def declare(self, agency: str, matter: IncidentType, *, since: str, why: str, by: str) -> DeclaredOutage:
        """Open an incident for a declared outage. *since* as typed; "": now. Raise `OperationRejectedError`."""
        code, now = agency_called(agency, self._known()), self._clock.now()
        event = Declare(
            dedup_key=code,
            at=now,
            by=by,
            type=matter,
            began_at=self._began(since, now),
            reason=why,
            policy=self._brief(code),
        )
        incident = await self._dispatcher.submit(event)
        said = None if incident is None else incident.declared
        if incident is None or said is None or (said.at, said.by) != (now, by):
            raise self._is_open(code, incident)
        async with self._store.reading() as ledger:
            silence = self._muter(incident, await ledger.silences(now), now)
        return DeclaredOutage(incident=incident, silence=silence)

    async def close(
        self,
        number: str,
        *,
        why: str,
        by: str,
        recovered: bool | None = None,
        despite: Contradiction | None = None,
    ) -> Incident:
        """Close an incident manually. Raise `OperationRejectedError`, also if probes contradict.

        *recovered*: whether mail works again, and recipients are notified of that; `None`: the declared part has
        recovered, and detected trouble continues.
        """
        async with self._store.reading() as ledger:
            found = await numbered(ledger, number)
        event = Close(
            incident_id=found.id, at=self._clock.now(), by=by, reason=why, recovered=recovered, despite=despite
        )
        await self._check.check(found, event)
        now = self._clock.now()
        after = await self._dispatcher.submit(replace(event, at=now)) or found
        said, closing = after.declared, after.closed
        ends = {(said.ended_at, said.ended_by) if said else None, (closing.at, closing.by) if closing else None}
        if (now, by) not in ends:
            raise self._is_not_closed(after)
        return after

    # -- validation ----------------------------------------------------------------------------------------------

    def _began(self, since: str, now: datetime) -> datetime:
        if not since.strip():
            return now
        try:
            began = read_moment(self._dated(since.strip(), now), now, self._zone())
        except OperationRejectedError as wrong:
            raise OperationRejectedError.said("since_moment", wrong=wrong) from None
        if began > now:
            raise OperationRejectedError.said("since_ahead", since=since)
        if now - began > LONGEST_AGO:
            raise OperationRejectedError.said("since_long_ago", since=since, days=LONGEST_AGO.days)
        return began

    def _dated(self, since: str, now: datetime) -> str:
        """Return a time of day with the date of its latest occurrence; any other text unchanged."""
        clock = _CLOCK.fullmatch(since)
        if clock is None:
            return since
        local = now.astimezone(self._zone()).replace(tzinfo=None)
        at = local.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        return (at if at <= local else at - timedelta(days=1)).isoformat()

    def _is_open(self, code: str, incident: Incident | None) -> OperationRejectedError:
        if incident is None:
            return OperationRejectedError.said("nothing_opened", agency=code)
        number, matter, declared = incident.number, incident.type, incident.declared
        if declared is not None and declared.is_active:
            return OperationRejectedError.said(
                "open_declared", number=number, matter=matter, by=declared.by, at=self._stamp(declared.at)
            )
        return OperationRejectedError.said(
            "open_measured", number=number, matter=matter, at=self._stamp(incident.reported_type_began_at)
        )

    def _is_not_closed(self, incident: Incident) -> OperationRejectedError:
        number, measured, declared = incident.number, incident.detected, incident.declared
        if (closed := incident.closed) is not None:
            by = "Pantau" if closed.by == AUTOMATIC else closed.by
            return OperationRejectedError.said(
                "closed_before", by=by, number=number, at=self._stamp(closed.at), why=closed.reason
            )
        if not incident.is_open:
            return OperationRejectedError.said(
                "over_before", number=number, at=self._stamp(incident.resolved_at or incident.opened_at)
            )
        if declared is None or declared.ended_at is None:
            return OperationRejectedError.said("is_measured", number=number, measured=measured)
        return OperationRejectedError.said(
            "still_measured",
            by=declared.ended_by,
            number=number,
            at=self._stamp(declared.ended_at),
            measured=measured,
        )

    def _stamp(self, at: datetime) -> str:
        return at.astimezone(self._zone()).strftime("%d/%m %H:%M")
