"""Records each site's status during open incidents, for later analysis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from alerts.persistence.clock import Clock
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.store.engine.ledger import SqlStore
from monitor.views.site_report import WORDS_OF_SITES, view_sites, written_word

#: Minimum interval per incident: a site may change its status with each run.
_WITNESSED_EVERY = timedelta(minutes=1)

#: After so many entries the interval doubles with each, up to about an hour.
_WITNESSED_OFTEN = 10


class SiteStatusRecorder:
    """Writes each site's status of an agency with an open incident into the audit log: a status is lost when it changes."""

    def __init__(
        self,
        store: SqlStore,
        clock: Clock,
        *,
        says: Callable[[str], Mapping[str, SiteStatus | None]],
        write: Callable[[Mapping[str, str], int], Awaitable[None]],
    ) -> None:
        """*says* returns each site's status of an agency; *write* adds an audit entry about an incident, with its detail."""
        self._store = store
        self._clock = clock
        self._says = says
        self._write = write
        #: By number: what was written of each site, when, and in how many entries.
        self._written: dict[str, tuple[Mapping[str, str], datetime, int]] = {}

    async def look(self) -> None:
        """Write what has changed. Raise `StoreUnavailable`."""
        async with self._store.reading() as ledger:
            numbers = {key: each.number for key, each in (await ledger.open_numbers()).items()}
        self._written = {number: self._written[number] for number in numbers.values() if number in self._written}
        now = self._clock.now()
        for key, number in numbers.items():
            words = {each.site: written_word(each) for each in view_sites(self._says(key))}
            before, at, entries = self._written.get(number, ({}, now - _WITNESSED_EVERY, 0))
            changed = {site: word for site, word in words.items() if before.get(site) != word}
            # The audit log is kept for ever, and a site with a bad connection comes and goes for days.
            every = _WITNESSED_EVERY * 2 ** min(max(entries - _WITNESSED_OFTEN, 0), 6)
            if not changed or timedelta(0) <= now - at < every:
                continue
            async with self._store.reading() as ledger:
                incident = await ledger.incident_numbered(number)
            if incident is not None:
                detail = {WORDS_OF_SITES: "; ".join(f"{site}: {word}" for site, word in changed.items())}
                await self._write(detail, incident.id)
                self._written[number] = words, now, entries + 1
