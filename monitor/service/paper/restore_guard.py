"""Guard against a database that was replaced by an older copy of itself.

Such a database lacks the latest incidents, and would assign their numbers again, although sent letters and faxes have
these numbers. The guard compares the database with the high-water marks (newest known numbers) in files outside it, at
the start and every fifteen seconds, because a database may fail over to a standby that lags. If the database is behind,
the guard pauses paper (letters and faxes) and skips numbers, until a person confirms which numbers are on paper. The
decisions are in `alerts.persistence.restoration`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn

import structlog

from alerts.engine.gateway_pool import GatewayPool
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.delivery import Notification, NotificationState
from alerts.model.gateway import DeliveryError, SupportsManualPosting
from alerts.model.incident import Incident
from alerts.model.notification import Facts, Purpose
from alerts.persistence.audit import ChainHead
from alerts.persistence.clock import Clock
from alerts.persistence.restoration import (
    DEFAULT_SKIP,
    MAX_SILENCE,
    BadNumberError,
    DetectionMethod,
    HighWaterMark,
    Restoration,
    StorePosition,
    detect_restore,
    find_newer_marks,
    latest_pages,
    merge_highest,
    parse_last_numbers,
    skipped_numbers,
)
from alerts.persistence.store import AuditEntry, StoreUnavailable
from monitor.config.files.problem import closest_match
from monitor.metrics import Metrics
from monitor.runtime.repeat import run_periodically
from monitor.service.errors import OperationRejectedError
from monitor.service.paper.high_water_mark import HighWaterMarkFiles
from monitor.store.engine.unit_of_work import SqlStore, SqlUnitOfWork

log = structlog.get_logger()

#: Interval of checks.
_CHECK_INTERVAL = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePaper:
    """Request of staff to resume paper, with the last numbers that they found on paper."""

    #: The author.
    by: str
    reason: str
    #: Last numbers, as printed on letters: incidents such as "JCM-23", or pages of an incident such as "JCM-07/3".
    after: Sequence[str] = ()
    #: Whether staff state that nothing was lost: the machine was only off, and the database is up to date.
    nothing_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PausedPage:
    """A letter or fax page that is paused."""

    #: Id of the notification.
    id: int
    #: Number of the incident.
    incident: str
    #: Number of the page within the incident (enclosure).
    page: int
    channel: Channel
    purpose: Purpose
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperView:
    """Detected restorations, and the pages that wait for a confirmation. Serialised by field names."""

    #: All detected restorations (replacements by an older copy), the oldest first.
    restorations: Sequence[Restoration]
    #: The pages that are paused now.
    pages: Sequence[PausedPage]
    #: File names of letters in the trays of which the database has no record.
    unknown: Sequence[str]


class RestoreGuard:
    """Detector of older copies, and executor of the confirmation."""

    def __init__(
        self,
        *,
        store: SqlStore,
        state: Path,
        clock: Clock,
        service: str,
        pool: GatewayPool,
        prefixes: Callable[[], Collection[str]],
        metrics: Metrics,
        on_resume: Callable[[], None],
    ) -> None:
        """Take *state*, the state directory, and *service*, the name of this process in the audit log.

        *prefixes* returns the prefixes of the incident numbers of all agencies; *on_resume* is called when paper is
        resumed.
        """
        self._store = store
        self._files = HighWaterMarkFiles(lambda: [state, *(tray.directory for tray in self._trays())])
        self._clock = clock
        self._service = service
        self._pool = pool
        self._prefixes = prefixes
        self._metrics = metrics
        self._on_resume = on_resume
        self._mark: HighWaterMark | None = None
        #: Held from the read of the database to the write of the mark, so that no older mark overwrites a newer one.
        self._lock = asyncio.Lock()
        #: Heads (last entries of the audit log) of the processed marks. If the file of a mark cannot be written, the
        #: mark stays there, and must not be processed again.
        self._processed_heads: set[ChainHead] = set()
        #: Since when paper is paused, by the last check; `None`: it is not paused.
        self.paused_since: datetime | None = None
        #: When this process detected an older copy; `None`: it did not. Staff are not notified of the incidents of the
        #: copy until new probe runs confirm them.
        self.awaits_runs_since: datetime | None = None
        #: Time of the last check, by the wall clock and by the machine's uptime; `None`: none since the start.
        self._last_check: tuple[datetime, float] | None = None

    async def run(self) -> NoReturn:
        """Check periodically, until cancelled."""
        await run_periodically("restore guard", self.check, _CHECK_INTERVAL)

    async def check(self) -> None:
        """Compare the database with the marks. If it is behind them, pause paper and skip numbers."""
        was_unchecked = self._was_unchecked()
        # Read the marks before the database. Otherwise another process may write to the database and then to a mark
        # between the two reads, and the mark would look newer than the database.
        marks = [mark for mark in await self._files.read() if mark.head not in self._processed_heads]
        async with self._lock:
            await self._compare_with_marks(marks, was_unchecked=was_unchecked)

    async def _compare_with_marks(self, marks: Collection[HighWaterMark], *, was_unchecked: bool) -> None:
        # The numbers of the audit entries that the database is to contain. A position is the database's own newest
        # audit entry, its next numbers, and the hashes of these entries.
        entry_numbers = {mark.head.number for mark in marks}
        async with self._store.reading() as uow:
            position = await uow.restorations.position(entry_numbers)
            # The restoration that no person has confirmed yet. Its `skipped` is `None` until numbers were skipped.
            pending = await uow.restorations.pending()
        now = self._clock.now()
        if detect_restore(position, marks, now, was_unchecked=was_unchecked) or (
            pending is not None and pending.skipped is None
        ):
            async with self._store.transaction() as uow:
                position = await uow.restorations.position(entry_numbers)
                await self._process_marks(uow, position, marks, was_unchecked=was_unchecked)
            async with self._store.reading() as uow:
                position = await uow.restorations.position(())
                pending = await uow.restorations.pending()
        self._last_check = now, _uptime()
        if pending is not None and self.awaits_runs_since is None:
            self.awaits_runs_since = now
        self._set_paused_since(None if pending is None else pending.noticed_at)
        await self._write_mark(position)

    def _set_paused_since(self, paused_since: datetime | None) -> None:
        self.paused_since = paused_since
        self._metrics.set_paper_paused(paused_since)

    def _was_unchecked(self) -> bool:
        """Return whether the checks were interrupted: by a start, or by a restore of the machine from a snapshot.

        After a restore from a snapshot, more wall-clock time than uptime has passed.
        """
        if self._last_check is None:
            return True
        at, uptime = self._last_check
        return self._clock.now() - at > timedelta(seconds=_uptime() - uptime) + MAX_SILENCE

    async def _process_marks(
        self, uow: SqlUnitOfWork, position: StorePosition, marks: Collection[HighWaterMark], *, was_unchecked: bool
    ) -> None:
        now, restorations = self._clock.now(), uow.restorations
        method = detect_restore(position, marks, now, was_unchecked=was_unchecked)
        pending = await restorations.pending()
        if pending is None:
            if method is None:
                return
            await restorations.begin(method, now, position.last_write_at)
            pending = await restorations.pending()
        newer_marks = find_newer_marks(position, marks)
        if pending is None or (pending.skipped is not None and not newer_marks):
            return
        numbers = skipped_numbers(position, marks, pending.numbers, self._prefixes())
        await restorations.skip_numbers(pending, numbers, newer_marks)
        if pending.how is DetectionMethod.SILENT and method is not None:
            # Until now only the silence of the database was suspicious. A mark proves a loss, for example because its
            # network share is reachable again: from now on reject a confirmation that nothing was lost.
            await restorations.set_method(pending, method)
        self._processed_heads |= {mark.head for mark in newer_marks}
        if pending.skipped is None:
            # This is the first processing of the restoration: delay notifications until new probe runs.
            await restorations.await_new_runs(now)
        ranges = [f"{prefix}-{first:02d} to {prefix}-{last:02d}" for prefix, (first, last) in sorted(numbers.items())]
        detail = {
            "how": str(method or pending.how),
            "since": "" if pending.since is None else pending.since.isoformat(),
        }
        mark_heads = " ".join(f"{mark.head.number}:{mark.head.hash}" for mark in newer_marks)
        audit_detail = detail | {"left_out": ", ".join(ranges), "known_outside": mark_heads}
        await uow.add_audit_entry(
            AuditEntry(at=now, actor=self._service, event="store may be an older copy", detail=audit_detail)
        )
        log.error("database may be an older copy: letters and faxes are paused (pantau paper status)", **detail)

    # -- marks --------------------------------------------------------------------------------------------------------

    async def _write_mark(self, position: StorePosition) -> None:
        """Write the mark of the present *position* to its files."""
        if not position.chain:
            return
        numbers = {prefix: next_number - 1 for prefix, next_number in position.next_numbers.items()}
        previous = self._mark if self._mark is not None and self._mark.chain == position.chain else None
        self._mark = HighWaterMark(
            chain=position.chain,
            head=position.head,
            numbers=numbers if previous is None else merge_highest([previous.numbers, numbers]),
            pages={} if previous is None else previous.pages,
        )
        await self._files.write(self._mark)

    async def record_page(self, facts_of_page: Sequence[Facts]) -> None:
        """Write the numbers of a page to the marks before the page is sent. *facts_of_page*: facts of its incidents.

        Write the present head of the audit log, too. Otherwise a copy of the database from between the last check and
        the page would look up to date, although it does not contain the page.
        """
        async with self._lock:
            await self._record_page(facts_of_page)

    async def _record_page(self, facts_of_page: Sequence[Facts]) -> None:
        mark = self._mark
        if mark is None:
            return
        with suppress(StoreUnavailable):
            async with self._store.reading() as uow:
                position = await uow.restorations.position(())
            if position.chain == mark.chain and position.head.number > mark.head.number:
                mark = replace(mark, head=position.head)
        numbers = [
            {prefix: int(count)}
            for prefix, _, count in (facts.number.rpartition("-") for facts in facts_of_page)
            if count.isdecimal()
        ]
        pages = [{facts.number: facts.enclosure} for facts in facts_of_page if facts.enclosure]
        self._mark = replace(
            mark,
            numbers=merge_highest([mark.numbers, *numbers]),
            pages=latest_pages(merge_highest([mark.pages, *pages])),
        )
        await self._files.write(self._mark)

    # -- confirmation -------------------------------------------------------------------------------------------------

    async def view(self) -> PaperView:
        """Return the information that staff need for the decision to resume paper."""
        letters = [letter for tray in self._trays() for letter in await _letters_in(tray)]
        async with self._store.reading() as uow:
            restorations = await uow.restorations.all()
            pending = next((each for each in restorations if each.confirmed_at is None), None)
            active = () if pending is None else await uow.active_incidents()
            unknown = [
                path
                for reference, path in letters
                if pending and _may_be_lost(path, pending) and await uow.attempt(reference) is None
            ]
            pages = [page for incident_id in active for page in _pages(await uow.notifications(incident_id))]
        return PaperView(restorations=restorations, pages=pages, unknown=unknown)

    async def resume(self, request: ResumePaper) -> Restoration:
        """Resume paper. Raise `OperationRejectedError` with the missing information."""
        try:
            numbers, pages = parse_last_numbers(request.after)
        except BadNumberError as error:
            raise OperationRejectedError(str(error)) from None
        if request.nothing_lost and request.after:
            raise OperationRejectedError("state either that nothing was lost, or the last numbers on paper, not both")
        now = self._clock.now()
        async with self._store.transaction() as uow:
            restorations = uow.restorations
            pending = await restorations.pending()
            if pending is None:
                raise OperationRejectedError(
                    "letters and faxes are not paused: no older copy of the database was detected"
                )
            if request.nothing_lost:
                if pending.how is not DetectionMethod.SILENT:
                    raise OperationRejectedError(
                        f"something was lost: the database is {pending.how}; state the last numbers on paper, if you "
                        "know them"
                    )
                await restorations.unskip_numbers(pending)
            else:
                position = await restorations.position(())
                _check_prefixes(numbers, {*position.next_numbers, *self._prefixes()})
                firsts = {prefix: position.next_numbers.get(prefix, 1) for prefix in numbers}
                to_skip = {prefix: (firsts[prefix], last) for prefix, last in numbers.items() if last >= firsts[prefix]}
                # Since the restore, the database has assigned numbers to these incidents that are on paper for other
                # incidents. Skip page numbers, so that no page has the same number as a page of the other incident.
                reassigned = {
                    incident.number: DEFAULT_SKIP
                    for incident in (await uow.incidents(await uow.active_incidents())).values()
                    if _may_be_on_paper(incident, pending, numbers)
                }
                with_pages = replace(pending, pages=merge_highest([reassigned, pending.pages, pages]))
                await restorations.skip_numbers(with_pages, to_skip, [self._mark] if self._mark else [])
            await restorations.confirm(pending, now, request.by, request.reason)
            detail = {"why": request.reason}
            detail |= {"on_paper": " ".join(request.after)} if request.after else {}
            detail |= {"nothing_lost": "yes"} if request.nothing_lost else {}
            await uow.add_audit_entry(AuditEntry(at=now, actor=request.by, event="paper let go", detail=detail))
        log.warning("letters and faxes resumed", by=request.by)
        self._set_paused_since(None)
        self._on_resume()
        return (await self.view()).restorations[-1]

    def _trays(self) -> Sequence[SupportsManualPosting]:
        return [
            configured.gateway for configured in self._pool if isinstance(configured.gateway, SupportsManualPosting)
        ]


def _check_prefixes(prefixes: Collection[str], known_prefixes: Collection[str]) -> None:
    """Raise `OperationRejectedError` for a prefix that is not in *known_prefixes*: it is a typing error.

    Without the check, the numbers that are on paper would be assigned again.
    """
    for prefix in prefixes:
        if prefix not in known_prefixes:
            nearest_prefix = closest_match(prefix, [each.lower() for each in known_prefixes])
            remedy = nearest_prefix.upper() if nearest_prefix else f"one of {', '.join(sorted(known_prefixes))}"
            raise OperationRejectedError(f"no agency has numbers with {prefix}: write {remedy}, and try again")


def _may_be_on_paper(incident: Incident, pending: Restoration, numbers: Mapping[str, int]) -> bool:
    """Return whether *incident* got its number while paper was paused, and the number is on paper for another one.

    *numbers*: the last number on paper by prefix.
    """
    prefix, _, count = incident.number.rpartition("-")
    return incident.opened_at > pending.noticed_at and count.isdecimal() and int(count) <= numbers.get(prefix, 0)


async def _letters_in(tray: SupportsManualPosting) -> Sequence[tuple[str, str]]:
    """Return the reference and the file path of each letter in a tray; none if the tray is unreachable."""
    try:
        return await tray.list_letters()
    except DeliveryError as error:
        log.warning("tray cannot be read", reason=error.detail)
        return ()


def _may_be_lost(path: str, pending: Restoration) -> bool:
    """Return whether the database may have lost the letter in this file: it was queued after the copy's last write.

    Older letters do not count: the database may lack them only because their records were purged.
    """
    known_until = pending.since or pending.noticed_at - timedelta(days=365)
    # The file name begins with the date of queueing, in Malaysian time. One more day is a tolerance.
    return Path(path).name[:10] >= (known_until - timedelta(days=1)).date().isoformat()


def _pages(notifications: Sequence[Notification]) -> Sequence[PausedPage]:
    return [
        PausedPage(
            id=n.id,
            incident=n.facts.number,
            page=n.facts.enclosure,
            channel=n.channel,
            purpose=n.purpose,
            to=str(n.addressee or n.person),
        )
        for n in notifications
        if n.state is NotificationState.PENDING and n.channel in ON_PAPER
    ]


def _uptime() -> float:
    # This clock also counts the time while the machine is suspended, and cannot be set.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
