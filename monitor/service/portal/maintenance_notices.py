"""Maintenance notices: letters and faxes that inform an agency's recipients (other offices) before planned maintenance.

People print, sign and send them; Pantau itself does not send them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from zoneinfo import ZoneInfo

from alerts.documents.body import Body
from alerts.documents.crest import Crest
from alerts.documents.maintenance_notice import MaintenanceNotice, MaintenanceNoticeKind, MaintenancePage
from alerts.documents.render import maintenance_fax, maintenance_letter
from alerts.documents.stack import merge_letters
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.gateway import PageContent
from alerts.model.notification import Addressee, Language
from alerts.model.number import number_prefix
from alerts.persistence.clock import Clock
from alerts.wording.moment import MALAYSIA
from monitor.audit.lifecycle import LifecycleRecorder
from monitor.config.agency.announcement import RecipientSettings
from monitor.config.agency.probing import build_maintenance
from monitor.config.loading import Configuration
from monitor.config.model.registry import Agency
from monitor.model.window import Window, WindowOccurrence, next_to_begin
from monitor.service.errors import NotFoundError, OperationRejectedError, find_agency_code
from monitor.store.admin.maintenance_notices import CurrentMaintenanceNotices, MaintenanceNoticeRecords

#: Name of the audit event of a download.
DOWNLOADED_EVENT: Final = "advance notice downloaded"
#: A reference number contains the minute of creation, as in "JCM-P261201-1405". If that number is in use, the number has
#: the next free minute, up to this many minutes ahead: nobody creates more notices at a time.
_MAX_MINUTES: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMaintenance:
    """Maintenance that has not begun: the next occurrence of a maintenance window.

    The API serialises this class and `MaintenanceOverview` by field names.
    """

    starts_at: datetime
    ends_at: datetime
    reason: str
    #: The notice that was created about it; `None`: there is none.
    told: MaintenanceNotice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceOverview:
    """Planned maintenance of an agency, and the notices about it."""

    #: Code of the agency.
    agency: str
    #: The planned maintenance, earliest first.
    works: Sequence[PlannedMaintenance]
    #: Notices about maintenance that is not planned any more: recipients need a notice of the change or cancellation.
    outdated: Sequence[MaintenanceNotice]
    #: All stored notices, the newest first.
    made: Sequence[MaintenanceNotice]


class MaintenanceNotices:
    """Service that creates and reads maintenance notices. Raises `StoreUnavailable`."""

    def __init__(
        self,
        *,
        records: MaintenanceNoticeRecords,
        lifecycle: LifecycleRecorder,
        clock: Clock,
        configuration: Callable[[], Configuration],
        crest: Callable[[str], Crest | None],
    ) -> None:
        """Take the current configuration from *configuration*.

        *crest* returns an agency's crest for its letters. It may read a file, and is called in a thread.
        """
        self._records = records
        self._lifecycle = lifecycle
        self._clock = clock
        self._configuration = configuration
        self._crest = crest
        #: Held while a page is typeset: typesetting occupies a processor, which the probes also need.
        self._typesetting = asyncio.Lock()

    async def overview(self, name: str) -> MaintenanceOverview:
        """Return the planned maintenance of an agency. Raise `NotFoundError` if the agency is not monitored.

        *name*, here and below: the code of an agency in any case.
        """
        now = self._clock.now()
        return self._build_overview(name, now, await self._read_notices(name, now))

    def _build_overview(self, name: str, now: datetime, notices: CurrentMaintenanceNotices) -> MaintenanceOverview:
        code, agency = self._find_agency(name)
        windows = build_maintenance(agency.maintenance, self._zone(agency))
        not_replaced = [each for each in notices.notices if each.number not in notices.replaced_numbers]
        valid_notices = [each for each in not_replaced if each.kind is not MaintenanceNoticeKind.CANCELLED]
        return MaintenanceOverview(
            agency=code,
            works=_next_maintenance(windows, valid_notices, now),
            outdated=[each for each in valid_notices if each.starts_at > now and not _is_planned(windows, each)],
            made=[*reversed(notices.notices)],
        )

    def recipients(self, name: str) -> Sequence[RecipientSettings]:
        """Return the recipients of the agency's announcements, who also receive its maintenance notices."""
        return list(self._find_agency(name)[1].announcement.recipients.values())

    async def draft(self, name: str, starts_at: datetime | None, replaced: str = "") -> MaintenanceNotice:
        """Return the notice that would be created now. Raise `OperationRejectedError`.

        *starts_at*: the start of planned maintenance. *replaced*: the number of the outdated notice that is replaced.
        With *starts_at* only, the notice is about planned maintenance; with both, about a change; with *replaced* only,
        about a cancellation.
        """
        now = self._clock.now()
        return await self._draft(name, (starts_at, replaced), now, await self._read_notices(name, now))

    async def _draft(
        self, name: str, choice: tuple[datetime | None, str], now: datetime, notices: CurrentMaintenanceNotices
    ) -> MaintenanceNotice:
        starts_at, replaced = choice
        overview = self._build_overview(name, now, notices)
        planned = next((each for each in overview.works if each.starts_at == starts_at), None)
        outdated_notice = next((each for each in overview.outdated if each.number == replaced), None)
        source: PlannedMaintenance | MaintenanceNotice | None = planned or outdated_notice
        # The maintenance or the notice that the user chose does not exist any more.
        if source is None or (starts_at is not None and planned is None) or (replaced and outdated_notice is None):
            raise OperationRejectedError.from_text("advance_gone")
        if planned is not None and planned.told is not None:
            raise OperationRejectedError.from_text("advance_made", by=planned.told.made_by, number=planned.told.number)
        if not any(paper_channels(each) for each in self.recipients(name)):
            raise OperationRejectedError.from_text("advance_nobody", agency=overview.agency)
        if planned is None:
            kind = MaintenanceNoticeKind.CANCELLED
        else:
            kind = MaintenanceNoticeKind.CHANGED if outdated_notice else MaintenanceNoticeKind.PLANNED
        return MaintenanceNotice(
            kind=kind,
            number=await self._free_number(overview.agency, now),
            starts_at=source.starts_at,
            ends_at=source.ends_at,
            reason=source.reason,
            made_at=now,
            before=outdated_notice,
        )

    async def create(self, name: str, starts_at: datetime | None, replaced: str, by: str) -> MaintenanceNotice:
        """Store the notice that `draft` returns, with its audit entry. Raise `OperationRejectedError` if it exists."""
        code = self._find_agency(name)[0]
        while True:
            now = self._clock.now()
            notices = await self._read_notices(code, now)
            notice = replace(await self._draft(code, (starts_at, replaced), now, notices), made_by=by)
            # `add` returns `False` if another user has created a notice meanwhile, perhaps the same one: try again.
            if await self._records.add(code, notice, notices):
                return notice

    def letter_body(self, name: str, notice: MaintenanceNotice, language: Language) -> Body:
        """Return the text of a notice's letter to the first recipient of letters, or else to the first recipient."""
        recipients = sorted(self.recipients(name), key=lambda each: Channel.LETTER not in each.channels)
        addressee = next((each.build_addressee() for each in recipients), Addressee(title="", organisation=""))
        return self._build_page(name, notice, addressee).body("letter", language)

    async def render_pdf(self, name: str, number: str, channel: Channel, by: str, *, both_sides: bool = False) -> bytes:
        """Return the letters or faxes of a notice to all current recipients as one PDF for printing.

        *number*: the number of the notice. *channel*: letter or fax. *both_sides*: whether the printer prints on both
        sides of the paper. Raise `NotFoundError`.
        """
        code, _ = self._find_agency(name)
        notice = await self._records.find(code, number)
        addressees = [each.build_addressee() for each in self.recipients(code) if channel in paper_channels(each)]
        # A change or a cancellation quotes the previous notice, which a purge may have deleted.
        is_complete = notice is not None and (notice.kind is MaintenanceNoticeKind.PLANNED or notice.before is not None)
        if notice is None or not addressees or not is_complete:
            raise NotFoundError.from_text("advance_unknown", number=number[:40])
        pages = []
        for addressee in addressees:
            async with self._typesetting:
                page = await asyncio.to_thread(self._typeset, code, self._build_page(code, notice, addressee), channel)
                pages.append(page.pdf)
        document = await asyncio.to_thread(merge_letters, pages, number, both_sides=both_sides)
        detail = {"agency": code, "number": number, "channel": str(channel), "sha256": sha256(document).hexdigest()}
        await self._lifecycle.record(by, DOWNLOADED_EVENT, detail)
        return document

    def _typeset(self, code: str, page: MaintenancePage, channel: Channel) -> PageContent:
        return maintenance_fax(page) if channel is Channel.FAX else maintenance_letter(page, self._crest(code))

    def _build_page(self, name: str, notice: MaintenanceNotice, addressee: Addressee) -> MaintenancePage:
        office = self._find_agency(name)[1].build_office()
        return MaintenancePage(notice=notice, office=office, addressee=addressee, wording=self._configuration().wording)

    def _find_agency(self, name: str) -> tuple[str, Agency]:
        agencies = self._configuration().registry.agencies
        code = find_agency_code(name, agencies)
        return code, agencies[code]

    def _zone(self, agency: Agency) -> ZoneInfo:
        return agency.time_zone or self._configuration().settings.time_zone

    async def _read_notices(self, name: str, now: datetime) -> CurrentMaintenanceNotices:
        return await self._records.of(self._find_agency(name)[0], now)

    async def _free_number(self, agency: str, now: datetime) -> str:
        """Return a reference number by the minute of creation, or the next free minute.

        The id of a row would be unsuitable: a restored database would assign it again, to another letter.
        """
        minutes = [now.astimezone(MALAYSIA) + timedelta(minutes=each) for each in range(_MAX_MINUTES)]
        numbers = [f"{number_prefix(agency)}-P{at:%y%m%d-%H%M}" for at in minutes]
        used = await self._records.taken(numbers)
        free_number = next((each for each in numbers if each not in used), None)
        if free_number is None:
            raise OperationRejectedError.from_text("advance_many")
        return free_number


def paper_channels(recipient: RecipientSettings) -> Sequence[Channel]:
    """Return the channels by which a recipient can receive a notice: letter, fax, both or none."""
    return [each for each in recipient.channels if each in ON_PAPER]


def _next_maintenance(
    windows: Iterable[Window], notices: Iterable[MaintenanceNotice], now: datetime
) -> Sequence[PlannedMaintenance]:
    """Return the next occurrence of each window, earliest first, with the notice about it."""
    notice_by_times = {(each.starts_at, each.ends_at): each for each in notices}
    by_start: dict[datetime, PlannedMaintenance] = {}
    for window in windows:
        occurrence: WindowOccurrence | None = next_to_begin(window.next_occurrence, now)
        # Of two windows that begin at the same time, the longer one is announced.
        if occurrence is None or (
            occurrence.starts_at in by_start and by_start[occurrence.starts_at].ends_at >= occurrence.ends_at
        ):
            continue
        starts_at, ends_at = occurrence.starts_at, occurrence.ends_at
        notice = notice_by_times.get((starts_at, ends_at))
        by_start[starts_at] = PlannedMaintenance(
            starts_at=starts_at, ends_at=ends_at, reason=occurrence.reason, told=notice
        )
    return [by_start[each] for each in sorted(by_start)]


def _is_planned(windows: Iterable[Window], notice: MaintenanceNotice) -> bool:
    occurrences = (window.next_occurrence(notice.starts_at) for window in windows)
    return any(
        each is not None and (each.starts_at, each.ends_at) == (notice.starts_at, notice.ends_at)
        for each in occurrences
    )
