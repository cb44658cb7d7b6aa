"""Maintenance notices for an agency's recipients, on paper that people print, sign and send; nothing is sent automatically."""

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
from alerts.documents.render import advance_fax, advance_letter
from alerts.documents.stack import stacked
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.gateway import PageContent
from alerts.model.notification import Addressee, Language
from alerts.model.number import number_prefix
from alerts.persistence.clock import Clock
from alerts.wording.moment import MALAYSIA
from monitor.audit.lifecycle import Lifecycle
from monitor.config.agency.announcement import RecipientSettings
from monitor.config.agency.probing import build_maintenance
from monitor.config.loading import Configuration
from monitor.config.model.registry import Agency
from monitor.model.window import Window, WindowOccurrence, next_to_begin
from monitor.service.errors import NotFoundError, OperationRejectedError, agency_called
from monitor.store.admin.maintenance_notices import MaintenanceNoticeRecords, SentMaintenanceNotice

#: Name of the audit event.
DOWNLOADED: Final = "advance notice downloaded"
#: A free number exists within this many minutes: nobody makes more notices in that time.
_MINUTES: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMaintenance:
    """Maintenance that has not begun; of a recurring window, the next occurrence."""

    starts_at: datetime
    ends_at: datetime
    reason: str
    #: The notice that recipients received about it.
    told: MaintenanceNotice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceOverview:
    """Planned maintenance, and the notices about it."""

    agency: str
    works: Sequence[PlannedMaintenance]
    #: Notices about maintenance that is not planned any more: recipients need a notice of the change or the
    #: cancellation.
    outdated: Sequence[MaintenanceNotice]
    #: All notices that still matter, the newest first.
    made: Sequence[MaintenanceNotice]


class MaintenanceNotices:
    """Creates and reads maintenance notices. Raises `StoreUnavailable`."""

    def __init__(
        self,
        *,
        records: MaintenanceNoticeRecords,
        lifecycle: Lifecycle,
        clock: Clock,
        configuration: Callable[[], Configuration],
        crest: Callable[[str], Crest | None],
    ) -> None:
        """Take the current configuration from *configuration*. *crest* may read a file, and is called in a thread."""
        self._records = records
        self._lifecycle = lifecycle
        self._clock = clock
        self._configuration = configuration
        self._crest = crest
        #: Typesetting occupies a core, which the probes need too.
        self._setting = asyncio.Lock()

    async def overview(self, quoted: str) -> MaintenanceOverview:
        """Return the planned maintenance. Raise `NotFoundError` for an agency that is not monitored."""
        now = self._clock.now()
        return self._seen(quoted, now, await self._told(quoted, now))

    def _seen(self, quoted: str, now: datetime, told: SentMaintenanceNotice) -> MaintenanceOverview:
        code, agency = self._called(quoted)
        windows = build_maintenance(agency.maintenance, self._zone(agency))
        counting = [each for each in told.notices if each.number not in told.replaced]
        standing = [each for each in counting if each.kind is not MaintenanceNoticeKind.CANCELLED]
        return MaintenanceOverview(
            agency=code,
            works=_coming(windows, standing, now),
            outdated=[each for each in standing if each.starts_at > now and not _is_planned(windows, each)],
            made=[*reversed(told.notices)],
        )

    def recipients(self, quoted: str) -> Sequence[RecipientSettings]:
        """Return the recipients of the agency's announcements, who also receive these notices."""
        return list(self._called(quoted)[1].announcement.recipients.values())

    async def draft(self, quoted: str, begins: datetime | None, before: str = "") -> MaintenanceNotice:
        """Return the notice that would be made now: about the maintenance that *begins* then, replacing the notice *before*.

        Maintenance alone is planned, both are a change, a notice alone is cancelled. Raise `OperationRejectedError`.
        """
        now = self._clock.now()
        return await self._draft(quoted, (begins, before), now, await self._told(quoted, now))

    async def _draft(
        self, quoted: str, about: tuple[datetime | None, str], now: datetime, told: SentMaintenanceNotice
    ) -> MaintenanceNotice:
        begins, before = about
        found = self._seen(quoted, now, told)
        work = next((each for each in found.works if each.starts_at == begins), None)
        old = next((each for each in found.outdated if each.number == before), None)
        told_of: PlannedMaintenance | MaintenanceNotice | None = work or old
        if told_of is None or (begins is not None and work is None) or (before and old is None):
            raise OperationRejectedError.said("advance_gone")
        if work is not None and work.told is not None:
            raise OperationRejectedError.said("advance_made", by=work.told.made_by, number=work.told.number)
        if not any(papers_of(each) for each in self.recipients(quoted)):
            raise OperationRejectedError.said("advance_nobody", agency=found.agency)
        news = (
            MaintenanceNoticeKind.CANCELLED
            if work is None
            else MaintenanceNoticeKind.CHANGED
            if old
            else MaintenanceNoticeKind.PLANNED
        )
        return MaintenanceNotice(
            kind=news,
            number=await self._free_number(found.agency, now),
            starts_at=told_of.starts_at,
            ends_at=told_of.ends_at,
            reason=told_of.reason,
            made_at=now,
            before=old,
        )

    async def make(self, quoted: str, begins: datetime | None, before: str, by: str) -> MaintenanceNotice:
        """Create a notice with its audit entry. Raise `OperationRejectedError`, also if it exists already."""
        code = self._called(quoted)[0]
        while True:
            now = self._clock.now()
            told = await self._told(code, now)
            made = replace(await self._draft(code, (begins, before), now, told), made_by=by)
            # Another user has created one meanwhile, perhaps the same.
            if await self._records.add(code, made, told):
                return made

    def said(self, quoted: str, notice: MaintenanceNotice, language: Language) -> Body:
        """Return the text of its letter, to the first recipient of letters, if there is one."""
        recipients = sorted(self.recipients(quoted), key=lambda each: Channel.LETTER not in each.channels)
        addressee = next((each.build_addressee() for each in recipients), Addressee(title="", organisation=""))
        return self._page(quoted, notice, addressee).body("letter", language)

    async def papers(self, quoted: str, number: str, channel: Channel, by: str, *, both_sides: bool = False) -> bytes:
        """Return the pages of a notice, to the current recipients, as one PDF for printing. Raise `NotFoundError`."""
        code, _ = self._called(quoted)
        notice = await self._records.find(code, number)
        theirs = [each.build_addressee() for each in self.recipients(code) if channel in papers_of(each)]
        # A purge may have deleted the notice that it changes or cancels.
        is_whole = notice is not None and (notice.kind is MaintenanceNoticeKind.PLANNED or notice.before is not None)
        if notice is None or not theirs or not is_whole:
            raise NotFoundError.said("advance_unknown", number=number[:40])
        pages = []
        for addressee in theirs:
            async with self._setting:
                page = await asyncio.to_thread(self._set, code, self._page(code, notice, addressee), channel)
                pages.append(page.pdf)
        made = await asyncio.to_thread(stacked, pages, number, both_sides=both_sides)
        detail = {"agency": code, "number": number, "channel": str(channel), "sha256": sha256(made).hexdigest()}
        await self._lifecycle.told(by, DOWNLOADED, detail)
        return made

    def _set(self, code: str, page: MaintenancePage, channel: Channel) -> PageContent:
        return advance_fax(page) if channel is Channel.FAX else advance_letter(page, self._crest(code))

    def _page(self, quoted: str, notice: MaintenanceNotice, addressee: Addressee) -> MaintenancePage:
        office = self._called(quoted)[1].build_office()
        return MaintenancePage(notice=notice, office=office, addressee=addressee, wording=self._configuration().wording)

    def _called(self, quoted: str) -> tuple[str, Agency]:
        agencies = self._configuration().registry.agencies
        code = agency_called(quoted, agencies)
        return code, agencies[code]

    def _zone(self, agency: Agency) -> ZoneInfo:
        return agency.time_zone or self._configuration().settings.time_zone

    async def _told(self, quoted: str, now: datetime) -> SentMaintenanceNotice:
        return await self._records.of(self._called(quoted)[0], now)

    async def _free_number(self, agency: str, now: datetime) -> str:
        """Return a reference number: the minute of creation, or the next free one.

        It is not the id of a row: an older copy of the store would assign that again, and two letters would have the
        same number.
        """
        minutes = [now.astimezone(MALAYSIA) + timedelta(minutes=each) for each in range(_MINUTES)]
        numbers = [f"{number_prefix(agency)}-P{at:%y%m%d-%H%M}" for at in minutes]
        taken = await self._records.taken(numbers)
        free = next((each for each in numbers if each not in taken), None)
        if free is None:
            raise OperationRejectedError.said("advance_many")
        return free


def papers_of(recipient: RecipientSettings) -> Sequence[Channel]:
    """Return the channels by which a recipient can receive such a page."""
    return [each for each in recipient.channels if each in ON_PAPER]


def _coming(
    windows: Iterable[Window], standing: Iterable[MaintenanceNotice], now: datetime
) -> Sequence[PlannedMaintenance]:
    told = {(each.starts_at, each.ends_at): each for each in standing}
    found: dict[datetime, PlannedMaintenance] = {}
    for window in windows:
        stretch: WindowOccurrence | None = next_to_begin(window.following, now)
        # Of two that begin at the same time the longer one is announced.
        if stretch is None or (stretch.starts_at in found and found[stretch.starts_at].ends_at >= stretch.ends_at):
            continue
        span = (stretch.starts_at, stretch.ends_at)
        found[stretch.starts_at] = PlannedMaintenance(
            starts_at=span[0], ends_at=span[1], reason=stretch.reason, told=told.get(span)
        )
    return [found[each] for each in sorted(found)]


def _is_planned(windows: Iterable[Window], notice: MaintenanceNotice) -> bool:
    stretches = (window.following(notice.starts_at) for window in windows)
    return any(
        each is not None and (each.starts_at, each.ends_at) == (notice.starts_at, notice.ends_at) for each in stretches
    )
