"""Detects that the store is an older copy of itself, holds paper until a person confirms, and processes the confirmation.

The decisions are in `alerts.persistence.restoration`. The store is compared with the marks outside it at the start and
every fifteen seconds: a database may fail over to a standby that lags.
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
    LEFT_OUT,
    SILENT_FOR,
    BadNumberError,
    DetectionMethod,
    HighWaterMark,
    Restoration,
    StorePosition,
    ahead,
    highest,
    last_on_paper,
    latest,
    left_out,
    noticed,
)
from alerts.persistence.store import AuditEntry, StoreUnavailable
from monitor.config.files.problem import nearest
from monitor.metrics import Metrics
from monitor.runtime.repeat import run_periodically
from monitor.service.errors import OperationRejectedError
from monitor.service.paper.high_water_mark import HighWaterMarkFiles
from monitor.store.engine.ledger import SqlStore, SqlUnitOfWork

log = structlog.get_logger()

_EVERY = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePaper:
    """Operation of staff that releases paper, with what they know about numbers on paper."""

    by: str
    reason: str
    #: As printed on the letters: "JCM-23", "JCM-07/3".
    after: Sequence[str] = ()
    #: The store is no older copy: the machine was only off.
    nothing_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PausedPage:
    """A page that waits."""

    #: Of the notification.
    id: int
    #: Number of the incident.
    incident: str
    #: Its enclosure.
    page: int
    channel: Channel
    purpose: Purpose
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperView:
    """Older copies that were detected, and what waits for a confirmation."""

    restorations: Sequence[Restoration]
    pages: Sequence[PausedPage]
    #: File names of letters in the trays that the store does not contain.
    unknown: Sequence[str]


class RestoreGuard:
    """Guard that runs until cancelled."""

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
        let_go: Callable[[], None],
    ) -> None:
        """*state*: the state directory. *service* names this process in the audit log; *prefixes*: the prefixes of the incident numbers of all agencies.

        *let_go* is called when paper is released.
        """
        self._store = store
        self._files = HighWaterMarkFiles(lambda: [state, *(tray.directory for tray in self._trays())])
        self._clock = clock
        self._service = service
        self._pool = pool
        self._prefixes = prefixes
        self._metrics = metrics
        self._let_go = let_go
        self._mark: HighWaterMark | None = None
        #: Held from the read of the store to the write of the mark: a newer mark is never overwritten by an older one.
        self._noting = asyncio.Lock()
        #: Marks that were processed, in places that cannot be written.
        self._taken_in: set[ChainHead] = set()
        #: Since when paper is held, by the last check; `None`: it is not.
        self.held_since: datetime | None = None
        #: Since when this process holds notifications of staff about what the store contains, until runs confirm it;
        #: `None`: this process has not detected an older copy.
        self.sees_first_since: datetime | None = None
        #: Time of the last check, by the wall clock and by the machine's uptime; `None`: not since the start.
        self._looked: tuple[datetime, float] | None = None

    async def keep(self) -> NoReturn:
        """Check until cancelled."""
        await run_periodically("restore guard", self.look, _EVERY)

    async def look(self) -> None:
        """Compare the store with the marks; if it is behind them, hold paper and skip numbers."""
        was_away = self._was_away()
        # Before the store is read: another engine may write both meanwhile, the store first.
        marks = [mark for mark in await self._files.read() if mark.head not in self._taken_in]
        async with self._noting:
            await self._compare(marks, was_away=was_away)

    async def _compare(self, marks: Collection[HighWaterMark], *, was_away: bool) -> None:
        heads = {mark.head.number for mark in marks}
        async with self._store.reading() as ledger:
            standing = await ledger.restorations.standing(heads)
            waiting = await ledger.restorations.waiting()
        now = self._clock.now()
        if noticed(standing, marks, now, was_away=was_away) or (waiting is not None and waiting.skipped is None):
            async with self._store.transaction() as ledger:
                standing = await ledger.restorations.standing(heads)
                await self._take_in(ledger, standing, marks, was_away=was_away)
            async with self._store.reading() as ledger:
                standing = await ledger.restorations.standing(())
                waiting = await ledger.restorations.waiting()
        self._looked = now, _uptime()
        if waiting is not None and self.sees_first_since is None:
            self.sees_first_since = now
        self._show(None if waiting is None else waiting.noticed_at)
        await self._note(standing)

    def _show(self, held_since: datetime | None) -> None:
        self.held_since = held_since
        self._metrics.paper_judged(held_since)

    def _was_away(self) -> bool:
        """Whether no process has checked the store meanwhile: before the start, or while the whole machine was restored."""
        if self._looked is None:
            return True
        at, uptime = self._looked
        return self._clock.now() - at > timedelta(seconds=_uptime() - uptime) + SILENT_FOR

    async def _take_in(
        self, ledger: SqlUnitOfWork, standing: StorePosition, marks: Collection[HighWaterMark], *, was_away: bool
    ) -> None:
        now, restorations = self._clock.now(), ledger.restorations
        how = noticed(standing, marks, now, was_away=was_away)
        waiting = await restorations.waiting()
        if waiting is None:
            if how is None:
                return
            await restorations.begin(how, now, standing.received_at)
            waiting = await restorations.waiting()
        further = ahead(standing, marks)
        if waiting is None or (waiting.skipped is not None and not further):
            return
        numbers = left_out(standing, marks, waiting.numbers, self._prefixes())
        await restorations.leave_out(waiting, numbers, further)
        if waiting.how is DetectionMethod.SILENT and how is not None:
            # The mark may become readable later, with its share; then "nothing was lost" is no longer a valid
            # confirmation.
            await restorations.found_out(waiting, how)
        self._taken_in |= {mark.head for mark in further}
        if waiting.skipped is None:
            await restorations.look_first(now)
        ranges = [f"{prefix}-{first:02d} to {prefix}-{last:02d}" for prefix, (first, last) in sorted(numbers.items())]
        detail = {"how": str(how or waiting.how), "since": "" if waiting.since is None else waiting.since.isoformat()}
        known = " ".join(f"{mark.head.number}:{mark.head.hash}" for mark in further)
        said = detail | {"left_out": ", ".join(ranges), "known_outside": known}
        await ledger.journal(AuditEntry(at=now, actor=self._service, event="store may be an older copy", detail=said))
        log.error("database may be an older copy: letters and faxes are paused (pantau paper status)", **detail)

    # -- numbers on paper ---------------------------------------------------------------------------------------------

    async def _note(self, standing: StorePosition) -> None:
        """Write the mark outside."""
        if not standing.chain:
            return
        numbers = {prefix: following - 1 for prefix, following in standing.following.items()}
        known = self._mark if self._mark is not None and self._mark.chain == standing.chain else None
        self._mark = HighWaterMark(
            chain=standing.chain,
            head=standing.head,
            numbers=numbers if known is None else highest([known.numbers, numbers]),
            pages={} if known is None else known.pages,
        )
        await self._files.write(self._mark)

    async def note_page(self, told: Sequence[Facts]) -> None:
        """Write the position of the store and the numbers of a page to the marks, before the page is sent.

        A copy made a moment ago has the head of the latest check, and does not contain the page.
        """
        async with self._noting:
            await self._note_further(told)

    async def _note_further(self, told: Sequence[Facts]) -> None:
        mark = self._mark
        if mark is None:
            return
        with suppress(StoreUnavailable):
            async with self._store.reading() as ledger:
                standing = await ledger.restorations.standing(())
            if standing.chain == mark.chain and standing.head.number > mark.head.number:
                mark = replace(mark, head=standing.head)
        numbers = [
            {prefix: int(n)} for prefix, _, n in (facts.number.rpartition("-") for facts in told) if n.isdecimal()
        ]
        pages = [{facts.number: facts.enclosure} for facts in told if facts.enclosure]
        self._mark = replace(
            mark,
            numbers=highest([mark.numbers, *numbers]),
            pages=latest(highest([mark.pages, *pages])),
        )
        await self._files.write(self._mark)

    # -- confirmation -------------------------------------------------------------------------------------------------

    async def view(self) -> PaperView:
        """Return what is needed to decide on a release."""
        lying = [letter for tray in self._trays() for letter in await _lying(tray)]
        async with self._store.reading() as ledger:
            restorations = await ledger.restorations.all()
            waiting = next((each for each in restorations if each.confirmed_at is None), None)
            active = () if waiting is None else await ledger.active_incidents()
            lost = () if waiting is None else [letter for letter in lying if _may_be_lost(letter[1], waiting)]
            unknown = [place for reference, place in lost if await ledger.attempt(reference) is None]
            pages = [page for incident_id in active for page in _pages(await ledger.notices(incident_id))]
        return PaperView(restorations=restorations, pages=pages, unknown=unknown)

    async def confirm(self, order: ResumePaper) -> Restoration:
        """Release paper. Raise `OperationRejectedError` with what is missing."""
        try:
            numbers, pages = last_on_paper(order.after)
        except BadNumberError as wrong:
            raise OperationRejectedError(str(wrong)) from None
        if order.nothing_lost and order.after:
            raise OperationRejectedError("either nothing was lost, or there are numbers on paper: say one of the two")
        now = self._clock.now()
        async with self._store.transaction() as ledger:
            restorations = ledger.restorations
            waiting = await restorations.waiting()
            if waiting is None:
                raise OperationRejectedError("no paper waits: the store is not known to be an older copy")
            if order.nothing_lost:
                if waiting.how is not DetectionMethod.SILENT:
                    raise OperationRejectedError(
                        f"something was lost: the store is {waiting.how}; say what is on paper, if you know"
                    )
                await restorations.give_after_all(waiting)
            else:
                standing = await restorations.standing(())
                _see_known(numbers, {*standing.following, *self._prefixes()})
                said = {p: (standing.following.get(p, 1), n) for p, n in numbers.items()}
                behind = {p: both for p, both in said.items() if both[1] >= both[0]}
                # Numbers assigned since to an incident whose number is on paper: its pages stay apart from those of the
                # other one.
                since = [
                    i
                    for i in (await ledger.incidents(await ledger.active_incidents())).values()
                    if _may_be_on_paper(i, waiting, numbers)
                ]
                told = replace(waiting, pages=highest([{i.number: LEFT_OUT for i in since}, waiting.pages, pages]))
                await restorations.leave_out(told, behind, [self._mark] if self._mark else [])
            await restorations.confirm(waiting, now, order.by, order.reason)
            detail = {"why": order.reason}
            detail |= {"on_paper": " ".join(order.after)} if order.after else {}
            detail |= {"nothing_lost": "yes"} if order.nothing_lost else {}
            await ledger.journal(AuditEntry(at=now, actor=order.by, event="paper let go", detail=detail))
        log.warning("letters and faxes resumed", by=order.by)
        self._show(None)
        self._let_go()
        return (await self.view()).restorations[-1]

    def _trays(self) -> Sequence[SupportsManualPosting]:
        return [line.gateway for line in self._pool if isinstance(line.gateway, SupportsManualPosting)]


def _see_known(said: Collection[str], known: Collection[str]) -> None:
    """Raise `OperationRejectedError` for numbers that no agency has: the numbers that were meant would be assigned again."""
    for prefix in said:
        if prefix not in known:
            near = nearest(prefix, [each.lower() for each in known])
            instead = near.upper() if near else f"one of {', '.join(sorted(known))}"
            raise OperationRejectedError(f"no number begins with {prefix}: write {instead}, and repeat this")


def _may_be_on_paper(incident: Incident, waiting: Restoration, numbers: Mapping[str, int]) -> bool:
    """Whether an incident was given a number, while paper was held, that is on paper since."""
    prefix, _, count = incident.number.rpartition("-")
    return incident.opened_at > waiting.noticed_at and count.isdecimal() and int(count) <= numbers.get(prefix, 0)


async def _lying(tray: SupportsManualPosting) -> Sequence[tuple[str, str]]:
    try:
        return await tray.lying()
    except DeliveryError as error:
        log.warning("tray cannot be read", reason=error.detail)
        return ()


def _may_be_lost(place: str, waiting: Restoration) -> bool:
    """Whether a letter was queued after the last record of the store: records of older ones may have been purged."""
    known_until = waiting.since or waiting.noticed_at - timedelta(days=365)
    # Its name begins with a date, in Malaysia.
    return Path(place).name[:10] >= (known_until - timedelta(days=1)).date().isoformat()


def _pages(notices: Sequence[Notification]) -> Sequence[PausedPage]:
    return [
        PausedPage(
            id=n.id,
            incident=n.facts.number,
            page=n.facts.enclosure,
            channel=n.channel,
            purpose=n.purpose,
            to=str(n.addressee or n.person),
        )
        for n in notices
        if n.state is NotificationState.PENDING and n.channel in ON_PAPER
    ]


def _uptime() -> float:
    # It runs while the machine is suspended, and cannot be set.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
