"""All routes of an agency at once, wherever they are probed: here, by the other processes on this store, and at all sites.

Whoever asks writes that into a store, and each process there looks and runs what it owns (docs/adr/0060). Nobody waits for
a site that is cut off.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

import structlog

from alerts.persistence.clock import Clock
from monitor.audit.lifecycle import Lifecycle
from monitor.service.errors import agency_called
from monitor.service.portal.on_demand_runs import KEPT, OnDemandRunRejectedError
from monitor.service.probing_runtime import ProbingRuntime
from monitor.store.probing.probe_calls import ProbeRequests
from monitor.store.sites import probe_calls
from monitor.store.sites.link import SiteConnection, SiteRefusedError
from monitor.store.sites.probe_calls import SiteOutdatedError

log = structlog.get_logger()

#: In seconds: so long whoever asks waits for the sites' words, which come in a moment where they come at all.
_PATIENCE: Final = 2.0
#: So many are on their way to a site at most: in an outage many ask, and one that is cut off keeps each for seconds.
_UNDERWAY: Final = 4


class ProbeRequestState(StrEnum):
    """What has become of a call at a site."""

    WAITS = "waits"
    ASKED = "asked"
    OLDER = "older"
    UNREACHED = "unreached"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """That all routes of an agency were asked for."""

    agency: str
    by: str
    at: datetime
    #: By the name of the site. Those that have not answered yet go on being asked.
    sites: dict[str, ProbeRequestState] = field(default_factory=dict)


class ProbeRequester:
    """Asks everybody for all routes of an agency, and runs those of this process when anybody has."""

    def __init__(
        self,
        calls: ProbeRequests,
        lifecycle: Lifecycle,
        watch: Callable[[], ProbingRuntime],
        clock: Clock,
        *,
        members: Sequence[SiteConnection] = (),
        looks: bool,
        place: Callable[[SiteConnection, str], object] = probe_calls.place_call,
    ) -> None:
        """*clock*: the store's. *looks*: whether it is looked each second who has asked, as others may."""
        self._calls = calls
        self._lifecycle = lifecycle
        self._watch = watch
        self._clock = clock
        self._members = members
        self._looks = looks
        self._place = place
        #: By agency: what was last asked for here.
        self._latest: dict[str, ProbeRequest] = {}
        #: By agency: when the call was made that this process has answered.
        self._answered: Mapping[str, datetime] = {}
        self._underway = Counter[str]()
        self._asking = set[asyncio.Task[None]]()

    async def call(self, agency: str, *, by: str, address: str = "") -> ProbeRequest:
        """Ask for all routes of an agency. Raise `NotFoundError`, `OnDemandRunRejectedError`, and `StoreUnavailable`: what is not written is not done."""
        code = agency_called(agency, self._watch().configuration.registry.agencies)
        now = self._clock.now()
        if code in await self._calls.fresh(now):
            raise OnDemandRunRejectedError("called_lately")
        asked = ", ".join(member.site for member in self._members)
        await self._lifecycle.told(by, "agency tested", {"agency": code, "sites": asked, "address": address})
        if not await self._calls.place(code, now):
            raise OnDemandRunRejectedError("called_lately")
        call = self._latest[code] = ProbeRequest(agency=code, by=by, at=now)
        if not self._looks:
            await self.answer()
        await self._ask_sites(call)
        return call

    def latest(self, agency: str) -> ProbeRequest | None:
        """Return what was asked for here lately, if anything was."""
        call = self._latest.get(agency)
        return call if call is not None and call.at > self._clock.now() - KEPT else None

    async def answer(self) -> None:
        """Run the routes of this process that somebody has asked for, once for each time. Raise `StoreUnavailable`."""
        fresh = await self._calls.fresh(self._clock.now())
        # One that is another process's is answered here if it becomes ours meanwhile: nobody else has.
        answered = {agency: at for agency, at in self._answered.items() if fresh.get(agency) == at}
        watch = self._watch()
        for agency, at in fresh.items():
            if agency in watch.owned and agency not in answered:
                answered[agency] = at
                for route in watch.configuration.registry.routes_of(agency):
                    # It has just left.
                    with suppress(KeyError):
                        watch.prober.run_now(route.name)
        self._answered = answered

    async def _ask_sites(self, call: ProbeRequest) -> None:
        call.sites.update(
            {
                member.site: ProbeRequestState.WAITS
                if self._underway[member.site] < _UNDERWAY
                else ProbeRequestState.UNREACHED
                for member in self._members
            }
        )
        asked = [member for member in self._members if call.sites[member.site] is ProbeRequestState.WAITS]
        if not asked:
            return
        # Apart from those that make pages: a site that does not answer keeps one for seconds.
        threads, loop = ThreadPoolExecutor(len(asked), thread_name_prefix="calls"), asyncio.get_running_loop()
        # psycopg's own connections: these are other servers than the store's engine knows.
        placed = {each.site: loop.run_in_executor(threads, self._place, each, call.agency) for each in asked}
        threads.shutdown(wait=False)
        tasks = {asyncio.create_task(self._hear(site, call, each)) for site, each in placed.items()}
        self._asking |= tasks
        for task in tasks:
            task.add_done_callback(self._asking.discard)
        await asyncio.wait(tasks, timeout=_PATIENCE)

    async def _hear(self, site: str, call: ProbeRequest, placed: Awaitable[object]) -> None:
        self._underway[site] += 1
        try:
            await placed
        except SiteOutdatedError:
            call.sites[site] = ProbeRequestState.OLDER
        except SiteRefusedError as refused:
            log.warning("a site cannot be asked to probe", site=site, why=str(refused))
            call.sites[site] = ProbeRequestState.UNREACHED
        else:
            # Also where somebody else has just asked there: it is run.
            call.sites[site] = ProbeRequestState.ASKED
        finally:
            self._underway[site] -= 1
