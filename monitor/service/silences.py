"""Silences: of an agency, of a route, or of one of our own parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from alerts.decide.silence import Muter, Silence, silence_over
from alerts.engine.dispatcher import Dispatcher
from alerts.model.incident import REPEATED_WITHIN, Incident
from alerts.persistence.clock import Clock
from alerts.persistence.restoration import SEE_FIRST
from alerts.persistence.store import AuditEntry
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.store.engine.ledger import SqlStore

#: Nobody needs a longer one, and a forgotten one must expire.
LONGEST = timedelta(days=7)


class Silencer:
    """Operators' commands about silences."""

    def __init__(
        self, store: SqlStore, dispatcher: Dispatcher, clock: Clock, known: Callable[[], Mapping[str, str]]
    ) -> None:
        """*known* returns the monitored agencies and routes, each with the code of its agency."""
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._known = known

    async def add(self, about: str, lasts: timedelta, why: str, by: str) -> Silence:
        """Add a silence for something, however its name is written. Raise `OperationRejectedError`.

        The same request repeated at once is a second click and adds none.
        """
        named = self.called(about)
        if not timedelta(0) < lasts <= LONGEST:
            raise OperationRejectedError.said("silence_span", days=LONGEST.days)
        now = self._clock.now()
        async with self._store.transaction() as ledger:
            stands = next((s for s in await ledger.silences(now) if _is_same(s, (named, lasts, why, by), now)), None)
            if stands is not None:
                return stands
            added = await ledger.add_silence(named, now, now + lasts, why, by)
            detail = {"about": named, "until": added.ends_at.isoformat(), "why": why, "silence": str(added.id)}
            await ledger.journal(AuditEntry(at=now, actor=by, event="silence begun", detail=detail))
        self._dispatcher.poke()
        return added

    def called(self, about: str) -> str:
        """Return the name of a monitored agency or route, however it is written. Raise `OperationRejectedError`."""
        named = next((name for name in self._known() if name.casefold() == about.strip().casefold()), None)
        if named is None:
            raise OperationRejectedError.said("nothing_called", about=about)
        return named

    def whose(self, about: str) -> str:
        """Return the agency code of a silence; "": it is about one of our own parts, or something no longer monitored."""
        return self._known().get(about, "")

    async def current(self) -> Sequence[Silence]:
        """Return the silences that have not ended, oldest first."""
        async with self._store.reading() as ledger:
            return await ledger.silences(self._clock.now())

    async def remove(self, number: int, by: str) -> Silence:
        """End a silence now. Raise `NotFoundError`."""
        now = self._clock.now()
        async with self._store.transaction() as ledger:
            ended = await ledger.end_silence(number, now)
            if ended is None:
                raise NotFoundError.said("no_silence", number=number)
            detail = {"about": ended.target, "silence": str(number)}
            await ledger.journal(AuditEntry(at=now, actor=by, event="silence ended", detail=detail))
        self._dispatcher.poke()
        return ended


def _is_same(silence: Silence, order: tuple[str, timedelta, str, str], now: datetime) -> bool:
    """Whether a request repeats one that was executed a moment ago."""
    given = (silence.target, silence.ends_at - silence.starts_at, silence.reason, silence.by)
    return given == order and timedelta(0) <= now - silence.starts_at < REPEATED_WITHIN


def route_muter(troubled: Callable[[str], Collection[str]]) -> Muter:
    """Return a muter for which an incident is silenced by itself, or because every route in trouble is.

    *troubled* returns the routes of an agency in trouble, by name.
    """

    def over(incident: Incident, silences: Sequence[Silence], now: datetime) -> Silence | None:
        found = silence_over(incident, silences, now)
        if found is not None or not incident.policy.agency:
            return found
        routes = troubled(incident.policy.agency)
        covering = [[s for s in silences if s.target == route and s.holds(now)] for route in routes]
        if not covering or not all(covering):
            return None
        # It ends with the first of these silences to end.
        return min((max(each, key=lambda s: s.ends_at) for each in covering), key=lambda s: s.ends_at)

    return over


def first_verdict_muter(
    muter: Muter, sees_first_since: Callable[[], datetime | None], is_unseen: Callable[[str], bool]
) -> Muter:
    """Return *muter* with an additional silence of the incidents that an older copy of the store has open.

    It ends with the first evaluation of the agency's mail by this process, when *is_unseen* becomes false, or after
    `SEE_FIRST`. Incidents of no agency, or that were only declared, have no evaluation to wait for.
    """

    def over(incident: Incident, silences: Sequence[Silence], now: datetime) -> Silence | None:
        since = sees_first_since()
        found = muter(incident, silences, now)
        if found is not None or since is None or incident.opened_at > since:
            return found
        is_measured = incident.policy.agency != "" and incident.detected is not None
        if not since <= now < since + SEE_FIRST or (is_measured and not is_unseen(incident.policy.agency)):
            return None
        return Silence(
            id=0,
            target=incident.dedup_key,
            starts_at=since,
            ends_at=since + SEE_FIRST,
            reason="the store may be an older copy: it is measured first whether this lasts",
            by="Pantau",
        )

    return over
