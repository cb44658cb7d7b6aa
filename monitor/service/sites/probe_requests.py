"""Requests to run all routes of an agency now: in this process, in the others on this store, and at all sites.

A request is written into a store, and each process there runs the routes that it owns (docs/adr/0060). Nothing waits
for an unreachable site.
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

#: In seconds: how long a request waits for the sites' answers, which take a moment if the site is reachable.
_PATIENCE: Final = 2.0
#: Maximum of concurrent requests to a site: during an outage many are made, and an unreachable site occupies each for
#: seconds.
_UNDERWAY: Final = 4


class ProbeRequestState(StrEnum):
    """State of a request at a site."""

    WAITS = "waits"
    ASKED = "asked"
    OLDER = "older"
    UNREACHED = "unreached"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """A request to run all routes of an agency."""

    agency: str
    by: str
    at: datetime
    #: By the name of the site. Requests without an answer continue.
    sites: dict[str, ProbeRequestState] = field(default_factory=dict)


class ProbeRequester:
    """Sends requests to all sites, and executes them in this process."""

    def __init__(
        self,
        calls: ProbeRequests,
        lifecycle: Lifecycle,
        runtime: Callable[[], ProbingRuntime],
        clock: Clock,
        *,
        members: Sequence[SiteConnection] = (),
        looks: bool,
        place: Callable[[SiteConnection, str], object] = probe_calls.place_call,
    ) -> None:
        """*clock*: the database's. *looks*: whether requests of others are looked for each second."""
        self._calls = calls
        self._lifecycle = lifecycle
        self._runtime = runtime
        self._clock = clock
        self._members = members
        self._looks = looks
        self._place = place
        #: By agency: the latest request made here.
        self._latest: dict[str, ProbeRequest] = {}
        #: By agency: the time of the request that this process has executed.
        self._answered: Mapping[str, datetime] = {}
        self._underway = Counter[str]()
        self._asking = set[asyncio.Task[None]]()

    async def call(self, agency: str, *, by: str, address: str = "") -> ProbeRequest:
        """Request a run of all routes of an agency.

        Raise `NotFoundError`, `OnDemandRunRejectedError`, and `StoreUnavailable`: without an audit entry nothing is
        run.
        """
        code = agency_called(agency, self._runtime().configuration.registry.agencies)
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
        """Return the latest request made here, if there is one."""
        call = self._latest.get(agency)
        return call if call is not None and call.at > self._clock.now() - KEPT else None

    async def answer(self) -> None:
        """Run the requested routes of this process, once per request. Raise `StoreUnavailable`."""
        fresh = await self._calls.fresh(self._clock.now())
        # A request for another process's agency is executed here if this process becomes its owner meanwhile: no other
        # has executed it.
        answered = {agency: at for agency, at in self._answered.items() if fresh.get(agency) == at}
        runtime = self._runtime()
        for agency, at in fresh.items():
            if agency in runtime.owned and agency not in answered:
                answered[agency] = at
                for route in runtime.configuration.registry.routes_of(agency):
                    # It has just left.
                    with suppress(KeyError):
                        runtime.prober.run_now(route.name)
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
        # Separate from the threads that render pages: an unreachable site occupies one for seconds.
        threads, loop = ThreadPoolExecutor(len(asked), thread_name_prefix="calls"), asyncio.get_running_loop()
        # psycopg connections of their own: these are other servers than the store's.
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
            log.warning("probe request could not be sent to a site", site=site, reason=str(refused))
            call.sites[site] = ProbeRequestState.UNREACHED
        else:
            # Also if another user has just made a request there: it is executed.
            call.sites[site] = ProbeRequestState.ASKED
        finally:
            self._underway[site] -= 1
