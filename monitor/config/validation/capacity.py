"""Capacity checks of all routes: probe hours that never occur, mail quotas, and the size of the database."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor.config.files.duration import format_duration
from monitor.config.files.findings import Findings
from monitor.config.model.reference import pools
from monitor.config.model.registry import Registry
from monitor.config.model.settings import Settings
from monitor.model.lazy_text import LazyText, said
from monitor.model.mail_provider import MailProviders
from monitor.model.pool import Spread
from monitor.model.receive_quota import ReceiveQuotaExceeded, comes_to_us, floods
from monitor.model.route import MonitoredRoute
from monitor.model.send_quota import QuotaExceeded, overdrafts
from monitor.store.probing.retention import RetentionPolicy

#: Hours that do not occur in the years after this date never occur.
_SOME_DAY = datetime(2026, 1, 5, tzinfo=UTC)


def spread_of(settings: Settings) -> Spread:
    """Return how messages are distributed over sites and mailboxes.

    A hub's settings name all sites that probe the same agencies; a site's settings name only itself. A service with an
    embedded database is alone, and uses one mailbox of a pool.
    """
    sites = 1 if settings.hub is None else settings.hub.probing_sites
    return Spread(sites=sites, pools={} if settings.store is None else pools(settings.references))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Workload of the routes of one agency, or of the control routes.

    It is the same object while these are unchanged.
    """

    routes: tuple[MonitoredRoute, ...]
    #: Whether the routes are never probed.
    is_closed: bool
    #: The agency's accounts that would exceed their quota.
    overdrafts: tuple[QuotaExceeded, ...]
    #: Routes whose sender is a reference account with a quota. Its total depends on all agencies.
    shared: tuple[MonitoredRoute, ...]
    #: Routes whose recipient is a reference mailbox with a limit. Its total depends on all agencies.
    received: tuple[MonitoredRoute, ...]

    @classmethod
    def of(
        cls, code: str, routes: tuple[MonitoredRoute, ...], mail_providers: MailProviders, spread: Spread
    ) -> Workload:
        """Compute the workload of the *routes* of the agency *code*; for "" of the control routes."""
        # All routes of an agency have the same hours.
        is_closed = bool(routes) and routes[0].probing.hours.opens(_SOME_DAY) is None
        probed = () if is_closed else routes
        own = [route for route in probed if route.route.sender.name.startswith(f"{code}/")]
        ours = [route for route in probed if not route.route.sender.name.startswith(f"{code}/")]
        return cls(
            routes=routes,
            is_closed=is_closed,
            overdrafts=tuple(overdrafts(own, mail_providers, spread)),
            shared=tuple(route for route in ours if mail_providers.of(route.route.sender) is not None),
            received=tuple(
                route
                for route in probed
                if comes_to_us(route) and mail_providers.receiving(route.route.recipient) is not None
            ),
        )


def workloads(
    registry: Registry, mail_providers: MailProviders, spread: Spread, known: Mapping[str, Workload]
) -> Mapping[str, Workload]:
    """Return the workload of each agency's routes, and by "" that of the control routes.

    *known*: the workloads of an earlier registry with the same *mail_providers* and *spread*.
    """
    found = {}
    for code in (*registry.agencies, ""):
        routes, before = registry.routes_of(code), known.get(code)
        is_known = before is not None and before.routes is routes
        found[code] = before if before is not None and is_known else Workload.of(code, routes, mail_providers, spread)
    return found


def check_timetable(
    loads: Mapping[str, Workload], mail_providers: MailProviders, files: Mapping[str, Findings], spread: Spread
) -> None:
    """Record routes that cannot be probed as configured: see `workloads`.

    *files*: the findings of each agency's file by its short code, those of the settings file by "".
    """
    shared, received = list[MonitoredRoute](), list[MonitoredRoute]()
    for code, load in loads.items():
        if load.is_closed:
            _note_closed(files[code])
        for overdraft in load.overdrafts:
            _note_overdraft(overdraft, files)
        shared += load.shared
        received += load.received
    for overdraft in overdrafts(shared, mail_providers, spread):
        _note_overdraft(overdraft, files)
    for flood in floods(received, mail_providers, spread):
        _note_flood(flood, files[""])


def _note_closed(findings: Findings) -> None:
    when = findings["probing", "active_hours"]
    there = when if when.is_written else findings["maintenance"]
    there.error("leaves no time in which mail is probed", "hours that maintenance does not cover")


def _note_overdraft(overdraft: QuotaExceeded, files: Mapping[str, Findings]) -> None:
    code, _, key = overdraft.sender.name.rpartition("/")
    findings, mail_provider = files[code], overdraft.mail_provider
    there = findings["probing", "interval"]
    if not code or not there.is_written:
        # The total of a reference account depends on all agencies, so record it at the account.
        there = findings["mailboxes" if code else "references", key]
    # The use by other sites is only assumed: they may have other documents or accounts.
    note = there.warning if overdraft.takes_several else there.error
    messages = said("{messages} messages a day", messages=overdraft.messages_per_day)
    note(
        said(
            "{address} would send up to {messages}, and {provider} allows an account {allowed}",
            address=overdraft.sender.address,
            messages=_together(messages, overdraft.sites),
            provider=mail_provider.name,
            allowed=overdraft.allowed,
        ),
        said(
            "an interval of {interval} or longer on all routes from it, or another account for some of them",
            interval=format_duration(overdraft.interval),
        ),
    )


def _note_flood(flood: ReceiveQuotaExceeded, findings: Findings) -> None:
    instead = said("an interval of {interval} or longer on all routes to it", interval=format_duration(flood.interval))
    if flood.mailboxes is not None:
        instead = said(
            "a pool of {count} mailboxes, for as many processes on one store (docs/how-to/operator/references.md), or {otherwise}",
            count=flood.mailboxes,
            otherwise=instead,
        )
    findings["references", flood.recipient.name].warning(
        said(
            "up to {messages} messages {span} would come to {address}, and {provider} lets an account receive {allowed}",
            messages=flood.messages,
            span=_together(said("an hour") if flood.span == _HOUR else said("a minute"), flood.sites),
            address=flood.recipient.address,
            provider=flood.mail_provider.name,
            allowed=flood.allowed,
        ),
        instead,
    )


def _together(what: LazyText, sites: int) -> LazyText:
    return what if sites == 1 else said("{what} from {sites} sites together", what=what, sites=sites)


_HOUR = timedelta(hours=1)
#: On disk, with indexes: measured with both databases (docs/reference/limits.md); the larger value.
_OCTETS_A_RUN = 460
_OCTETS_AN_HOUR = 250
#: One run in 100 fails in normal operation.
_FAILS = 100
#: Copying a larger file, or returning its space to the file system, takes hours.
_LARGEST_FILE = 100 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSize:
    """Size of the database after the full retention periods."""

    runs: int
    hours: int

    @property
    def octets(self) -> int:
        """Octets on disk. Incidents and the audit log are not included: some kilobytes each."""
        return self.runs * _OCTETS_A_RUN + self.hours * _OCTETS_AN_HOUR

    def __str__(self) -> str:
        """Return the size with a unit."""
        return f"about {amount(self.octets)}: {self.runs:,} runs, {self.hours:,} hours of routes"


def store_size(intervals: Iterable[timedelta], keep: RetentionPolicy) -> StoreSize:
    """Return the size of the database for routes that are probed at these *intervals* without pause."""
    kept = keep.delivered * (1 - 1 / _FAILS) + keep.failed / _FAILS
    runs = [kept / interval for interval in intervals]
    return StoreSize(runs=round(sum(runs)), hours=round(len(runs) * (keep.hourly / _HOUR)))


def size_of(settings: Settings, routes: Iterable[MonitoredRoute]) -> StoreSize:
    """Return the size of the database for a configuration."""
    return store_size((route.probing.interval for route in routes), settings.retention.build())


def check_storage(settings: Settings, routes: Iterable[MonitoredRoute], findings: Findings) -> None:
    """Record a database that will exceed the available space."""
    if settings.store is not None:
        return  # The space on the database server is unknown here.
    size = size_of(settings, routes)
    there = findings["retention"] if findings["retention"].is_written else findings["state_dir"]
    room = _room_in(settings.state_dir)
    if room is not None and size.octets > room:
        message = said(
            "the store becomes {size} large, and there is room for {room} in its place",
            size=amount(size.octets),
            room=amount(room),
        )
        there.warning(message, "retention: {delivered: 7d}, longer intervals, or a larger disk")
    elif size.octets > _LARGEST_FILE:
        message = said("the store becomes a file of {size}", size=amount(size.octets))
        there.warning(message, "a PostgreSQL (store:), retention: {delivered: 7d}, or longer intervals")


def _room_in(state: Path) -> int | None:
    """Return the octets available to a database in *state*, including its present size.

    `None`: the directory does not exist.
    """
    try:
        return shutil.disk_usage(state).free + sum(file.stat().st_size for file in state.glob("pantau.sqlite*"))
    except OSError:
        return None


def amount(octets: int) -> str:
    """Return a number of octets with a unit."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if octets >= size:
            return f"{octets / size:.3g} {unit}"
    return f"{octets} octets"
