"""Silences: periods in which nobody is notified of an agency, of a route, or of a component of Pantau.

A *route* is mail from one mailbox to another. `Silencer` adds and ends silences. A `SilenceLookup` finds the silence
that applies to an incident.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from alerts.decide.silence import Silence, SilenceLookup, active_silence
from alerts.engine.dispatcher import Dispatcher
from alerts.model.incident import REPEAT_WINDOW, Incident
from alerts.persistence.clock import Clock
from alerts.persistence.restoration import RECHECK_DELAY
from alerts.persistence.store import AuditEntry
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.store.engine.unit_of_work import SqlStore

#: Longest silence: a forgotten silence must expire.
MAX_DURATION = timedelta(days=7)


class Silencer:
    """Adds, lists and ends silences for operators."""

    def __init__(
        self, store: SqlStore, dispatcher: Dispatcher, clock: Clock, agency_by_target: Callable[[], Mapping[str, str]]
    ) -> None:
        """*agency_by_target* returns the agency's code, by the name of each monitored agency and route."""
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._agency_by_target = agency_by_target

    async def add(self, target: str, duration: timedelta, reason: str, by: str) -> Silence:
        """Silence *target*, the name of an agency or a route in any case. Raise `OperationRejectedError`.

        The same request, sent again within `REPEAT_WINDOW`, counts as a second click: return the existing silence.
        """
        name = self.find_target(target)
        if not timedelta(0) < duration <= MAX_DURATION:
            raise OperationRejectedError.from_text("silence_span", days=MAX_DURATION.days)
        now = self._clock.now()
        async with self._store.transaction() as uow:
            existing = next(
                (s for s in await uow.silences(now) if _is_same(s, (name, duration, reason, by), now)), None
            )
            if existing is not None:
                return existing
            added = await uow.add_silence(name, now, now + duration, reason, by)
            detail = {"about": name, "until": added.ends_at.isoformat(), "why": reason, "silence": str(added.id)}
            await uow.add_audit_entry(AuditEntry(at=now, actor=by, event="silence begun", detail=detail))
        self._dispatcher.wake()
        return added

    def find_target(self, name: str) -> str:
        """Return the exact name of the agency or route *name*, given in any case. Raise `OperationRejectedError`."""
        folded_name = name.strip().casefold()
        target = next((known for known in self._agency_by_target() if known.casefold() == folded_name), None)
        if target is None:
            raise OperationRejectedError.from_text("nothing_called", about=name)
        return target

    def agency_of(self, target: str) -> str:
        """Return the code of the agency of a silence's target; "": it is a component of Pantau, or not monitored."""
        return self._agency_by_target().get(target, "")

    async def current(self) -> Sequence[Silence]:
        """Return the silences that have not ended, oldest first."""
        async with self._store.reading() as uow:
            return await uow.silences(self._clock.now())

    async def remove(self, silence_id: int, by: str) -> Silence:
        """End a silence now. Raise `NotFoundError`."""
        now = self._clock.now()
        async with self._store.transaction() as uow:
            ended = await uow.end_silence(silence_id, now)
            if ended is None:
                raise NotFoundError.from_text("no_silence", number=silence_id)
            detail = {"about": ended.target, "silence": str(silence_id)}
            await uow.add_audit_entry(AuditEntry(at=now, actor=by, event="silence ended", detail=detail))
        self._dispatcher.wake()
        return ended


def _is_same(silence: Silence, request: tuple[str, timedelta, str, str], now: datetime) -> bool:
    """Whether *request* (target, duration, reason, author) repeats the one that added *silence* a moment ago."""
    silence_request = (silence.target, silence.ends_at - silence.starts_at, silence.reason, silence.by)
    return silence_request == request and timedelta(0) <= now - silence.starts_at < REPEAT_WINDOW


def route_silence_lookup(failing_routes: Callable[[str], Collection[str]]) -> SilenceLookup:
    """Return a lookup that silences an incident if its agency, or each of its failing routes, is silenced.

    *failing_routes* returns the names of an agency's failing routes.
    """

    def find(incident: Incident, silences: Sequence[Silence], now: datetime) -> Silence | None:
        silence = active_silence(incident, silences, now)
        if silence is not None or not incident.policy.agency:
            return silence
        routes = failing_routes(incident.policy.agency)
        silences_by_route = [[s for s in silences if s.target == route and s.is_active(now)] for route in routes]
        # If there are no failing routes, or one of them is not silenced, the incident is not silenced.
        if not silences_by_route or not all(silences_by_route):
            return None
        # The incident is silenced until the silence of one of the routes ends.
        latest_by_route = [max(each, key=lambda silence: silence.ends_at) for each in silences_by_route]
        return min(latest_by_route, key=lambda silence: silence.ends_at)

    return find


def restored_store_silence_lookup(
    silence_lookup: SilenceLookup, restored_at: Callable[[], datetime | None], is_unevaluated: Callable[[str], bool]
) -> SilenceLookup:
    """Return *silence_lookup* with an additional silence for incidents that were open in a restored database.

    Such an incident may have ended since the backup. It is silenced until this process evaluates its agency's mail
    (*is_unevaluated* becomes false), at most until `RECHECK_DELAY` after *restored_at*. Incidents without an agency,
    and declared incidents that no probe detected, are never evaluated: they are silenced for the whole period.
    """

    def find(incident: Incident, silences: Sequence[Silence], now: datetime) -> Silence | None:
        since = restored_at()
        silence = silence_lookup(incident, silences, now)
        if silence is not None or since is None or incident.opened_at > since:
            return silence
        can_be_evaluated = incident.policy.agency != "" and incident.detected is not None
        if not since <= now < since + RECHECK_DELAY or (
            can_be_evaluated and not is_unevaluated(incident.policy.agency)
        ):
            return None
        return Silence(
            id=0,
            target=incident.dedup_key,
            starts_at=since,
            ends_at=since + RECHECK_DELAY,
            reason="the database may be an older copy: probes first check whether the outage lasts",
            by="Pantau",
        )

    return find
