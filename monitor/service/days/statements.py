"""Monthly reports of an agency: made on request and recorded in the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Final

from alerts.documents.monthly_report import MonthlyReport
from alerts.model.incident import Incident
from alerts.model.notification import Language
from alerts.persistence.clock import Clock
from monitor.audit.lifecycle import Lifecycle
from monitor.audit.statement import (
    InvalidMonthError,
    checked,
    drawn,
    end_of,
    exercised,
    is_over,
    month_called,
    month_days,
    statement_files,
)
from monitor.config.loading import Configuration
from monitor.model.day import MinuteState, day_of, moment_of
from monitor.service.errors import OperationRejectedError, agency_called
from monitor.store.engine.drills import Drills
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.days import DayRecords
from monitor.views.overview import CheckView

#: Number of past months that a page offers; older ones are requested by their address.
OFFERED: Final = 13
#: In days.
_JUST_BEGUN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthGathered:
    """Content of one month's report."""

    statement: MonthlyReport
    #: Number of minutes per day in each state.
    days: Sequence[tuple[date, Mapping[MinuteState, int]]]


class Statements:
    """Reader of the content of monthly reports, from the database, and of the latest check results, from memory."""

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
        probed_by: Callable[[str], str] = lambda _: "",
    ) -> None:
        """Read the current configuration with *configuration*. *checks* returns the latest check results of an agency.

        *probed_by*: the process that has these results, if it is another one.
        """
        self._store = store
        self._days = days
        self._drills = drills
        self._lifecycle = lifecycle
        self._clock = clock
        self._configuration = configuration
        self._checks = checks
        self._probed_by = probed_by

    async def statement(self, quoted: str, written_month: str, by: str) -> Mapping[str, bytes]:
        """Return the files by name, the PDF first. Raise `OperationRejectedError`, or `StoreUnavailable`."""
        told = await self.gathered(quoted, written_month)
        statement = told.statement
        files = await asyncio.to_thread(statement_files, statement, told.days, self._configuration().wording)
        sha256_of_page = sha256(next(iter(files.values()))).hexdigest()
        detail = {"agency": statement.agency, "month": f"{statement.month:%Y-%m}", "sha256": sha256_of_page}
        await self._lifecycle.told(by, "statement made", detail)
        return files

    async def gathered(self, quoted: str, written_month: str) -> MonthGathered:
        """Return the content of a monthly report without an audit log entry, for display. Raise as `statement` does."""
        configuration, now = self._configuration(), self._clock.now()
        agency = agency_called(quoted, configuration.registry.agencies)
        try:
            month = month_called(written_month, now)
        except InvalidMonthError as wrong:
            raise OperationRejectedError(str(wrong)) from None
        begin, end = moment_of(month, 0), end_of(month, now)
        async with self._store.reading() as ledger:
            found = await ledger.incidents(await ledger.listing.during(agency, begin, end))
            incidents = [(each, await ledger.notices(each.id)) for each in found.values()]
        days, sending, receiving = month_days(month, await self._days.since(agency, month), now)
        checks, was_checked = checked(self._checks(agency))
        statement = MonthlyReport(
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
            checked_by=self._probed_by(agency),
        )
        return MonthGathered(statement=statement, days=days)

    def cause(self, incident: Incident, language: Language) -> str:
        """Return the cause of a mail failure in words; "" if it is unknown."""
        cause = incident.policy.cause
        return "" if cause is None else self._configuration().wording.say(language, f"call.cause.{cause}")

    def months(self) -> Sequence[date]:
        """Return the first days of the months that a page offers, the current month first."""
        now = day_of(self._clock.now())
        counted = [12 * now.year + now.month - 1 - ago for ago in range(OFFERED)]
        return [date(count // 12, count % 12 + 1, 1) for count in counted]

    def usual_month(self) -> date:
        """Return the month that is shown first: a month that has just begun has no data."""
        present, before = self.months()[:2]
        return before if day_of(self._clock.now()).day <= _JUST_BEGUN else present
