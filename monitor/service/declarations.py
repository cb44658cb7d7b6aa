"""Declaration of outages that no probe detects, and manual closure of incidents.

Examples of declared outages: webmail is unavailable, or a filter deletes all mail. A declaration opens an incident. If
an incident of the agency is open about a less severe problem, the declaration makes that incident more severe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from alerts.decide.silence import Silence, SilenceLookup
from alerts.engine.dispatcher import Dispatcher
from alerts.model.contradiction import Contradiction
from alerts.model.event import AUTOMATIC, Close, Declare
from alerts.model.incident import Incident
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.clock import Clock
from monitor.service.errors import OperationRejectedError, find_agency_code, find_incident
from monitor.service.oncall import parse_time
from monitor.service.operation_check import OperationCheck
from monitor.store.engine.unit_of_work import SqlStore

#: Maximum time from the start of an outage to its declaration. An earlier start is a typing error, or concerns an
#: outage that needs no notification any more.
MAX_AGE = timedelta(days=7)

#: A time of day without a date.
_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3])[:.]([0-5]\d)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredOutage:
    """The incident of a declared outage, and the silence that applies to the incident."""

    incident: Incident
    #: The silence that suppresses the incident's notifications; `None`: they are sent.
    silence: Silence | None = None


class DeclarationService:
    """Service by which staff declare outages and close incidents."""

    def __init__(
        self,
        *,
        store: SqlStore,
        dispatcher: Dispatcher,
        clock: Clock,
        agencies: Callable[[], Sequence[str]],
        policy: Callable[[str], PolicySnapshot],
        zone: Callable[[], ZoneInfo],
        silence_lookup: SilenceLookup,
        operation_check: OperationCheck,
    ) -> None:
        """*agencies* returns the codes of the monitored agencies, *policy* an agency's present notification policy.

        *zone* returns the time zone of typed times, *silence_lookup* the silence that applies to an incident.
        """
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._agencies = agencies
        self._policy = policy
        self._zone = zone
        self._silence_lookup = silence_lookup
        self._operation_check = operation_check

    async def declare(
        self, agency: str, incident_type: IncidentType, *, since: str, reason: str, by: str
    ) -> DeclaredOutage:
        """Open an incident for a declared outage, or add the outage to the open incident of a less severe problem.

        *since*: the start of the outage, as typed; "": now. Raise `OperationRejectedError` for an unknown agency, an
        invalid start, and an outage that the open incident already contains.
        """
        code, now = find_agency_code(agency, self._agencies()), self._clock.now()
        event = Declare(
            dedup_key=code,
            at=now,
            by=by,
            type=incident_type,
            began_at=self._parse_began_at(since, now),
            reason=reason,
            policy=self._policy(code),
        )
        incident = await self._dispatcher.submit(event)
        declaration = None if incident is None else incident.declared
        # If the outage was declared before, or detected, the declaration has no effect, and is not in the incident.
        if incident is None or declaration is None or (declaration.at, declaration.by) != (now, by):
            raise self._already_open_error(code, incident)
        async with self._store.reading() as uow:
            silence = self._silence_lookup(incident, await uow.silences(now), now)
        return DeclaredOutage(incident=incident, silence=silence)

    async def close(
        self,
        number: str,
        *,
        reason: str,
        by: str,
        recovered: bool | None = None,
        despite: Contradiction | None = None,
    ) -> Incident:
        """Close an incident manually. Raise `OperationRejectedError`, also if the newest probe runs contradict.

        *recovered*: whether mail works again; if it does, everybody notified of the incident is informed. `None`: only
        the declared outage is over, and a problem that the probes detect keeps the incident open. *despite*: the
        contradiction to the newest runs that the author overrides.
        """
        async with self._store.reading() as uow:
            incident = await find_incident(uow, number)
        event = Close(
            incident_id=incident.id, at=self._clock.now(), by=by, reason=reason, recovered=recovered, despite=despite
        )
        await self._operation_check.check(incident, event)
        # Read the clock again, because the check may take seconds.
        now = self._clock.now()
        updated = await self._dispatcher.submit(replace(event, at=now)) or incident
        declaration, closure = updated.declared, updated.closed
        endings = {
            (declaration.ended_at, declaration.ended_by) if declaration else None,
            (closure.at, closure.by) if closure else None,
        }
        # If this event ended neither, another event came first, or the probes still detect the problem.
        if (now, by) not in endings:
            raise self._not_closed_error(updated)
        return updated

    # -- validation ----------------------------------------------------------------------------------------------

    def _parse_began_at(self, since: str, now: datetime) -> datetime:
        if not since.strip():
            return now
        try:
            began_at = parse_time(self._with_latest_date(since.strip(), now), now, self._zone())
        except OperationRejectedError as error:
            raise OperationRejectedError.from_text("since_moment", wrong=error) from None
        if began_at > now:
            raise OperationRejectedError.from_text("since_ahead", since=since)
        if now - began_at > MAX_AGE:
            raise OperationRejectedError.from_text("since_long_ago", since=since, days=MAX_AGE.days)
        return began_at

    def _with_latest_date(self, since: str, now: datetime) -> str:
        """Return a time of day with the date of its latest occurrence, and any other text unchanged."""
        match = _TIME_OF_DAY.fullmatch(since)
        if match is None:
            return since
        local = now.astimezone(self._zone()).replace(tzinfo=None)
        at = local.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
        return (at if at <= local else at - timedelta(days=1)).isoformat()

    def _already_open_error(self, code: str, incident: Incident | None) -> OperationRejectedError:
        if incident is None:
            return OperationRejectedError.from_text("nothing_opened", agency=code)
        number, incident_type, declared = incident.number, incident.type, incident.declared
        if declared is not None and declared.is_active:
            return OperationRejectedError.from_text(
                "open_declared", number=number, matter=incident_type, by=declared.by, at=self._format_time(declared.at)
            )
        return OperationRejectedError.from_text(
            "open_measured", number=number, matter=incident_type, at=self._format_time(incident.reported_type_began_at)
        )

    def _not_closed_error(self, incident: Incident) -> OperationRejectedError:
        number, detected, declared = incident.number, incident.detected, incident.declared
        if (closed := incident.closed) is not None:
            by = "Pantau" if closed.by == AUTOMATIC else closed.by
            return OperationRejectedError.from_text(
                "closed_before", by=by, number=number, at=self._format_time(closed.at), why=closed.reason
            )
        if not incident.is_open:
            return OperationRejectedError.from_text(
                "over_before", number=number, at=self._format_time(incident.resolved_at or incident.opened_at)
            )
        if declared is None or declared.ended_at is None:
            return OperationRejectedError.from_text("is_measured", number=number, measured=detected)
        return OperationRejectedError.from_text(
            "still_measured",
            by=declared.ended_by,
            number=number,
            at=self._format_time(declared.ended_at),
            measured=detected,
        )

    def _format_time(self, at: datetime) -> str:
        return at.astimezone(self._zone()).strftime("%d/%m %H:%M")
