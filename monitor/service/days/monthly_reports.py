"""Monthly reports on an agency's mail for the head of the agency: one PDF page and tables, built on request."""

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
from monitor.audit.lifecycle import LifecycleRecorder
from monitor.audit.monthly_report import (
    InvalidMonthError,
    drill_lines,
    failed_check_lines,
    has_ended,
    month_days,
    month_end,
    monthly_report_files,
    parse_month,
    report_days,
)
from monitor.config.loading import Configuration
from monitor.model.day import MinuteState, day_of, time_of
from monitor.service.errors import OperationRejectedError, find_agency_code
from monitor.store.engine.drills import Drills
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.days import DayRecords
from monitor.views.overview import CheckView

#: Number of months that a page offers. The URL of an older month can be typed.
OFFERED_MONTHS: Final = 13
#: Up to this day of a month, a page shows the previous month first.
_PREVIOUS_MONTH_DAYS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthlyData:
    """Content of one month's report."""

    report: MonthlyReport
    #: Each day, with the number of its minutes in each state.
    days: Sequence[tuple[date, Mapping[MinuteState, int]]]


class MonthlyReports:
    """Builder of monthly reports, from the database and, for the latest check results, from memory."""

    def __init__(
        self,
        *,
        store: SqlStore,
        days: DayRecords,
        drills: Drills,
        lifecycle: LifecycleRecorder,
        clock: Clock,
        configuration: Callable[[], Configuration],
        checks: Callable[[str], Sequence[CheckView]],
        probed_by: Callable[[str], str] = lambda _: "",
    ) -> None:
        """Take *configuration*, which returns the current configuration.

        *checks* returns the latest check results of an agency in this process. *probed_by* returns the name of the
        other process that runs these checks; "": this process does.
        """
        self._store = store
        self._days = days
        self._drills = drills
        self._lifecycle = lifecycle
        self._clock = clock
        self._configuration = configuration
        self._checks = checks
        self._probed_by = probed_by

    async def render(self, agency_code: str, month_text: str, by: str) -> Mapping[str, bytes]:
        """Return the files of a report by name, the PDF first. Write the audit entry "statement made".

        *month_text*: the month as typed, such as "2026-11". Raise `OperationRejectedError` for an unknown agency or an
        invalid month, and `StoreUnavailable`.
        """
        data = await self.read(agency_code, month_text)
        report = data.report
        files = await asyncio.to_thread(monthly_report_files, report, data.days, self._configuration().wording)
        pdf_hash = sha256(next(iter(files.values()))).hexdigest()
        detail = {"agency": report.agency, "month": f"{report.month:%Y-%m}", "sha256": pdf_hash}
        await self._lifecycle.record(by, "statement made", detail)
        return files

    async def read(self, agency_code: str, month_text: str) -> MonthlyData:
        """Return the content of a report for display, without an audit entry. Raise as `render` does."""
        configuration, now = self._configuration(), self._clock.now()
        agency = find_agency_code(agency_code, configuration.registry.agencies)
        try:
            month = parse_month(month_text, now)
        except InvalidMonthError as error:
            raise OperationRejectedError(str(error)) from None
        # The data of the current month ends now.
        starts_at, ends_at = time_of(month, 0), month_end(month, now)
        async with self._store.reading() as uow:
            incidents_by_id = await uow.incidents(await uow.listing.open_during(agency, starts_at, ends_at))
            incidents = [(each, await uow.notifications(each.id)) for each in incidents_by_id.values()]
        timelines = await self._days.since(agency, month)
        days, sending_availability, receiving_availability = month_days(month, timelines, now)
        checks, has_check_results = failed_check_lines(self._checks(agency))
        report = MonthlyReport(
            agency=agency,
            office=configuration.registry.agencies[agency].build_office(),
            month=month,
            until=ends_at,
            is_over=has_ended(month, now),
            sending=sending_availability,
            receiving=receiving_availability,
            days=report_days(days),
            incidents=incidents,
            drills=drill_lines(await self._drills.during(agency, starts_at, ends_at)),
            checks=checks,
            has_check_results=has_check_results,
            made_at=now,
            checked_by=self._probed_by(agency),
        )
        return MonthlyData(report=report, days=days)

    def cause(self, incident: Incident, language: Language) -> str:
        """Return the cause of a mail failure in words; "" if it is unknown."""
        cause = incident.policy.cause
        # The texts of voice calls are used here, too: "call.cause.timeout".
        return "" if cause is None else self._configuration().wording.render(language, f"call.cause.{cause}")

    def months(self) -> Sequence[date]:
        """Return the first days of the months that a page offers, the current month first."""
        today = day_of(self._clock.now())
        month_numbers = [12 * today.year + today.month - 1 - ago for ago in range(OFFERED_MONTHS)]
        return [date(number // 12, number % 12 + 1, 1) for number in month_numbers]

    def default_month(self) -> date:
        """Return the month that a page shows first: in the first days of a month, the previous one has more data."""
        current, previous = self.months()[:2]
        return previous if day_of(self._clock.now()).day <= _PREVIOUS_MONTH_DAYS else current
