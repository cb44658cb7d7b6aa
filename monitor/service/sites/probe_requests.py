"""Requests of users to run all routes of an agency now: in all processes of this installation, and at all sites.

A route is a pair of mailboxes between which messages are sent. A request is a row in the database of this installation
and of each site; every process there runs the routes that it owns (docs/adr/0060). An unreachable site delays nothing.
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
from monitor.audit.lifecycle import LifecycleRecorder
from monitor.service.errors import find_agency_code
from monitor.service.portal.on_demand_runs import RETENTION, OnDemandRunRejectedError
from monitor.service.probing_runtime import ProbingRuntime
from monitor.store.probing.probe_requests import ProbeRequests
from monitor.store.sites import probe_requests
from monitor.store.sites.link import SiteConnection, SiteRefusedError
from monitor.store.sites.probe_requests import SiteOutdatedError

log = structlog.get_logger()

#: Time in seconds for which a request waits for the sites' answers. Reachable sites answer at once.
_ANSWER_TIMEOUT: Final = 2.0
#: Maximum of concurrent requests to a site: during an outage users make many, and each one to an unreachable site
#: occupies a thread for seconds.
_MAX_OPEN_REQUESTS: Final = 4


class ProbeRequestState(StrEnum):
    """State of a request at a site."""

    #: The site has not answered yet.
    PENDING = "waits"
    #: The request is in the site's database.
    STORED = "asked"
    #: The site runs an older version, which has no such requests.
    OUTDATED = "older"
    #: The request was not delivered.
    UNREACHABLE = "unreached"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """A request to run all routes of an agency."""

    agency: str
    by: str
    at: datetime
    #: States by the name of the site. They may still change after `ProbeRequester.request` has returned.
    sites: dict[str, ProbeRequestState] = field(default_factory=dict)


class ProbeRequester:
    """Sender of requests to all sites, and executor of requests in this process."""

    def __init__(
        self,
        requests: ProbeRequests,
        lifecycle: LifecycleRecorder,
        runtime: Callable[[], ProbingRuntime],
        clock: Clock,
        *,
        connections: Sequence[SiteConnection] = (),
        has_other_processes: bool,
        write_to_site: Callable[[SiteConnection, str], object] = probe_requests.request_run,
    ) -> None:
        """Take *clock*, the clock of the database, and *connections*, the connections to the other sites.

        *has_other_processes*: whether other processes and sites can make requests. If so, the caller runs `execute`
        each second; otherwise `request` runs it. *write_to_site* writes a request for an agency to a site.
        """
        self._requests = requests
        self._lifecycle = lifecycle
        self._runtime = runtime
        self._clock = clock
        self._connections = connections
        self._has_other_processes = has_other_processes
        self._write_to_site = write_to_site
        #: By agency: the latest request made in this process.
        self._latest: dict[str, ProbeRequest] = {}
        #: By agency: the time of the last request that this process has executed.
        self._executed: Mapping[str, datetime] = {}
        #: By site: the number of requests without an answer.
        self._open_requests = Counter[str]()
        #: References to running tasks, so that they are not garbage-collected.
        self._tasks = set[asyncio.Task[None]]()

    async def request(self, agency: str, *, by: str, address: str = "") -> ProbeRequest:
        """Request a run of all routes of an agency. *by* and *address*: the user and client address, for the audit log.

        Raise `NotFoundError`, `StoreUnavailable`, or `OnDemandRunRejectedError` if somebody has requested such a run a
        moment ago; then nothing is run.
        """
        code = find_agency_code(agency, self._runtime().configuration.registry.agencies)
        now = self._clock.now()
        if code in await self._requests.list_current(now):
            raise OnDemandRunRejectedError("called_lately")
        site_names = ", ".join(connection.site for connection in self._connections)
        await self._lifecycle.record(by, "agency tested", {"agency": code, "sites": site_names, "address": address})
        if not await self._requests.add(code, now):
            raise OnDemandRunRejectedError("called_lately")
        request = self._latest[code] = ProbeRequest(agency=code, by=by, at=now)
        if not self._has_other_processes:
            await self.execute()
        await self._send_to_sites(request)
        return request

    def latest(self, agency: str) -> ProbeRequest | None:
        """Return the latest request made in this process, if it is recent enough to be shown."""
        request = self._latest.get(agency)
        return request if request is not None and request.at > self._clock.now() - RETENTION else None

    async def execute(self) -> None:
        """Run the requested routes of this process, once per request. Raise `StoreUnavailable`."""
        recent = await self._requests.list_current(self._clock.now())
        # Mark only requests for this process's own agencies as executed: it may take over another agency before the
        # previous owner has executed the request.
        executed = {agency: at for agency, at in self._executed.items() if recent.get(agency) == at}
        runtime = self._runtime()
        for agency, at in recent.items():
            if agency in runtime.owned and agency not in executed:
                executed[agency] = at
                for route in runtime.configuration.registry.routes_for(agency):
                    # A reload may have removed the route.
                    with suppress(KeyError):
                        runtime.prober.run_now(route.name)
        self._executed = executed

    async def _send_to_sites(self, request: ProbeRequest) -> None:
        # A site with many unanswered requests counts as unreachable.
        reachable = [each for each in self._connections if self._open_requests[each.site] < _MAX_OPEN_REQUESTS]
        for connection in self._connections:
            is_reachable = connection in reachable
            request.sites[connection.site] = (
                ProbeRequestState.PENDING if is_reachable else ProbeRequestState.UNREACHABLE
            )
        if not reachable:
            return
        # Use separate threads for the blocking psycopg connections to other sites: the threads that render pages must
        # not wait seconds for an unreachable site.
        threads, loop = ThreadPoolExecutor(len(reachable), thread_name_prefix="calls"), asyncio.get_running_loop()
        answers = {
            each.site: loop.run_in_executor(threads, self._write_to_site, each, request.agency) for each in reachable
        }
        threads.shutdown(wait=False)
        tasks = {asyncio.create_task(self._record_answer(site, request, each)) for site, each in answers.items()}
        self._tasks |= tasks
        for task in tasks:
            task.add_done_callback(self._tasks.discard)
        await asyncio.wait(tasks, timeout=_ANSWER_TIMEOUT)

    async def _record_answer(self, site: str, request: ProbeRequest, answer: Awaitable[object]) -> None:
        self._open_requests[site] += 1
        try:
            await answer
        except SiteOutdatedError:
            request.sites[site] = ProbeRequestState.OUTDATED
        except SiteRefusedError as error:
            log.warning("probe request could not be sent to a site", site=site, reason=str(error))
            request.sites[site] = ProbeRequestState.UNREACHABLE
        else:
            # The state is the same if the site already had a recent request of another user: the site executes that one.
            request.sites[site] = ProbeRequestState.STORED
        finally:
            self._open_requests[site] -= 1
