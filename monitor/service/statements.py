"""Makes an agency's monthly statement when somebody asks for it, and writes into the journal that it did."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from alerts.documents.statement import MonthlyStatement
from alerts.record.clock import Clock
from monitor.config.loading import Configuration
from monitor.model.day import moment_of
from monitor.proof.lifecycle import Lifecycle
from monitor.proof.statement import (
    NoMonthError,
    checked,
    drawn,
    end_of,
    exercised,
    is_over,
    month_called,
    month_days,
    statement_files,
)
from monitor.service.order import NotDone, agency_called
from monitor.store.engine.drills import Drills
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.days import DayRecords
from monitor.views.overview import CheckView


class Statements:
    """Reads what a statement tells from the store, and what the checks found from memory."""

    def __init__(
        self,
        *,
        store: SqlStore,
        days: DayRecords,
        drills: Drills,
        lifecycle: Lifecycle,
        clock: Clock,
        configuration: Callable[[], Configuration],
        checks: Callable[[str], Sequence[CheckView]],
    ) -> None:
        """Ask *configuration* for the one in force. *checks* returns what the checks of an agency last found."""
        self._store = store
        self._days = days
        self._drills = drills
        self._lifecycle = lifecycle
        self._clock = clock
        self._configuration = configuration
        self._checks = checks

    async def statement(self, quoted: str, written_month: str, by: str) -> Mapping[str, bytes]:
        """Return the files by name, the PDF first. Raise `NotDone`, or `StoreAway`."""
        configuration, now = self._configuration(), self._clock.now()
        agency = agency_called(quoted, configuration.registry.agencies)
        try:
            month = month_called(written_month, now)
        except NoMonthError as wrong:
            raise NotDone(str(wrong)) from None
        begin, end = moment_of(month, 0), end_of(month, now)
        async with self._store.reading() as ledger:
            found = await ledger.incidents(await ledger.listing.during(agency, begin, end))
            incidents = [(each, await ledger.notices(each.id)) for each in found.values()]
        days, sending, receiving = month_days(month, await self._days.since(agency, month), now)
        checks, was_checked = checked(self._checks(agency))
        statement = MonthlyStatement(
            agency=agency,
            office=configuration.registry.agencies[agency].build_office(),
            month=month,
            until=end,
            is_over=is_over(month, now),
            sending=sending,
            receiving=receiving,
            days=drawn(days),
            incidents=incidents,
            exercises=exercised(await self._drills.during(agency, begin, end)),
            checks=checks,
            was_checked=was_checked,
            made_at=now,
            made_by=by,
        )
        files = await asyncio.to_thread(statement_files, statement, days, configuration.wording)
        detail = {"agency": agency, "month": f"{month:%Y-%m}", "sha256": sha256(next(iter(files.values()))).hexdigest()}
        await self._lifecycle.told(by, "statement made", detail)
        return files
