"""Capacity checks: routes that are never probed, mail quotas of accounts, and the size of the database.

A *reference* is a mailbox of the operator outside the agencies; a *pool* is a reference of several mailboxes. *Control
routes* run between references.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor.config.files.duration import format_duration
from monitor.config.files.findings import Findings
from monitor.config.model.reference import pool_sizes
from monitor.config.model.registry import Registry
from monitor.config.model.settings import Settings
from monitor.model.lazy_text import LazyText, lazy_text
from monitor.model.mail_provider import MailProviders
from monitor.model.pool import Spread
from monitor.model.receive_quota import ReceiveQuotaExceeded, arrives_at_reference, overloaded_references
from monitor.model.route import MonitoredRoute
from monitor.model.send_quota import QuotaExceeded, accounts_over_quota
from monitor.store.probing.retention import RetentionPolicy

#: Time from which the next active hour is searched. Routes without an active hour in the years after it never have one.
_REFERENCE_TIME = datetime(2026, 1, 5, tzinfo=UTC)


def build_spread(settings: Settings) -> Spread:
    """Return how many sites send messages on each route, and how many mailboxes of a pool share them.

    A *hub* is a process that combines the results of several sites; only its settings name the other sites that probe
    the same agencies. A service without PostgreSQL is a single process, and uses one mailbox of a pool.
    """
    sites = 1 if settings.hub is None else settings.hub.probing_sites
    return Spread(sites=sites, pools={} if settings.store is None else pool_sizes(settings.references))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Workload of the routes of one agency, or of the control routes. Unchanged routes keep the same object."""

    routes: tuple[MonitoredRoute, ...]
    #: Whether the routes are never probed.
    is_closed: bool
    #: The agency's accounts that would exceed their quota.
    accounts_over_quota: tuple[QuotaExceeded, ...]
    #: Routes whose sender is a reference with a quota. The total of that account depends on all agencies.
    shared: tuple[MonitoredRoute, ...]
    #: Routes whose recipient is a reference with a limit. The total of that mailbox depends on all agencies.
    received: tuple[MonitoredRoute, ...]

    @classmethod
    def compute(
        cls, agency_code: str, routes: tuple[MonitoredRoute, ...], mail_providers: MailProviders, spread: Spread
    ) -> Workload:
        """Compute the workload of *routes*: those of the agency *agency_code*, or, if it is "", the control routes."""
        # All routes of an agency have the same hours.
        is_closed = bool(routes) and routes[0].probing.hours.next_active_at(_REFERENCE_TIME) is None
        probed = () if is_closed else routes
        agency_routes = [route for route in probed if route.route.sender.name.startswith(f"{agency_code}/")]
        reference_routes = [route for route in probed if not route.route.sender.name.startswith(f"{agency_code}/")]
        return cls(
            routes=routes,
            is_closed=is_closed,
            accounts_over_quota=tuple(accounts_over_quota(agency_routes, mail_providers, spread)),
            shared=tuple(
                route for route in reference_routes if mail_providers.sending_provider(route.route.sender) is not None
            ),
            received=tuple(
                route
                for route in probed
                if arrives_at_reference(route) and mail_providers.receiving_provider(route.route.recipient) is not None
            ),
        )


def compute_workloads(
    registry: Registry, mail_providers: MailProviders, spread: Spread, cached: Mapping[str, Workload]
) -> Mapping[str, Workload]:
    """Return the workload of the routes of each agency, by its code, and of the control routes, by "".

    *cached*: the workloads of an earlier registry with the same *mail_providers* and *spread*.
    """
    by_agency = {}
    for code in (*registry.agencies, ""):
        routes, previous = registry.routes_for(code), cached.get(code)
        is_reusable = previous is not None and previous.routes is routes
        by_agency[code] = (
            previous if previous is not None and is_reusable else Workload.compute(code, routes, mail_providers, spread)
        )
    return by_agency


def check_probing_load(
    loads: Mapping[str, Workload], mail_providers: MailProviders, files: Mapping[str, Findings], spread: Spread
) -> None:
    """Record routes that are never probed, and accounts that would exceed a quota of their provider.

    *files*: the findings in each agency's file, by its short code, and in the settings file, by "".
    """
    shared, received = list[MonitoredRoute](), list[MonitoredRoute]()
    for code, load in loads.items():
        if load.is_closed:
            _record_closed(files[code])
        for exceeded in load.accounts_over_quota:
            _record_send_quota(exceeded, files)
        shared += load.shared
        received += load.received
    for exceeded in accounts_over_quota(shared, mail_providers, spread):
        _record_send_quota(exceeded, files)
    for overloaded in overloaded_references(received, mail_providers, spread):
        _record_receive_quota(overloaded, files[""])


def _record_closed(findings: Findings) -> None:
    active_hours = findings["probing", "active_hours"]
    key_findings = active_hours if active_hours.is_written else findings["maintenance"]
    key_findings.error("leaves no time in which mail is probed", "hours that maintenance does not cover")


def _record_send_quota(exceeded: QuotaExceeded, files: Mapping[str, Findings]) -> None:
    code, _, key = exceeded.sender.name.rpartition("/")
    findings, mail_provider = files[code], exceeded.mail_provider
    key_findings = findings["probing", "interval"]
    if not code or not key_findings.is_written:
        # Record the problem at the account: the load of a reference comes from all agencies, not from one interval.
        key_findings = findings["mailboxes" if code else "references", key]
    # Only a warning if other sites share the quota: their documents and accounts may differ from these.
    record = key_findings.warning if exceeded.needs_several_sites else key_findings.error
    messages = lazy_text("{messages} messages a day", messages=exceeded.messages_per_day)
    record(
        lazy_text(
            "{address} would send up to {messages}, and {provider} allows an account {allowed}",
            address=exceeded.sender.address,
            messages=_with_site_count(messages, exceeded.sites),
            provider=mail_provider.name,
            allowed=exceeded.allowed,
        ),
        lazy_text(
            "an interval of {interval} or longer on all routes from it, or another account for some of them",
            interval=format_duration(exceeded.interval),
        ),
    )


def _record_receive_quota(exceeded: ReceiveQuotaExceeded, findings: Findings) -> None:
    instead = lazy_text(
        "an interval of {interval} or longer on all routes to it", interval=format_duration(exceeded.interval)
    )
    if exceeded.mailboxes is not None:
        instead = lazy_text(
            "a pool of {count} mailboxes, for as many processes on one store (docs/how-to/operator/references.md), or {otherwise}",
            count=exceeded.mailboxes,
            otherwise=instead,
        )
    findings["references", exceeded.recipient.name].warning(
        lazy_text(
            "up to {messages} messages {span} would come to {address}, and {provider} lets an account receive {allowed}",
            messages=exceeded.messages,
            span=_with_site_count(
                lazy_text("an hour") if exceeded.span == _HOUR else lazy_text("a minute"), exceeded.sites
            ),
            address=exceeded.recipient.address,
            provider=exceeded.mail_provider.name,
            allowed=exceeded.allowed,
        ),
        instead,
    )


def _with_site_count(amount: LazyText, sites: int) -> LazyText:
    return amount if sites == 1 else lazy_text("{what} from {sites} sites together", what=amount, sites=sites)


_HOUR = timedelta(hours=1)
#: Octets on disk with indexes, measured with both databases (docs/reference/limits.md); the larger value counts.
_OCTETS_PER_RUN = 460
_OCTETS_PER_HOUR = 250
#: In normal operation, one of this number of runs fails.
_RUNS_PER_FAILURE = 100
#: Copying a larger file, or returning its space to the file system, takes hours.
_MAX_FILE_OCTETS = 100 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSize:
    """Size of the database after the full retention periods."""

    runs: int
    hours: int

    @property
    def octets(self) -> int:
        """Octets on disk. Incidents and the audit log are not included: some kilobytes each."""
        return self.runs * _OCTETS_PER_RUN + self.hours * _OCTETS_PER_HOUR

    def __str__(self) -> str:
        """Return the size with a unit."""
        return f"about {format_octets(self.octets)}: {self.runs:,} runs, {self.hours:,} hours of routes"


def compute_store_size(intervals: Iterable[timedelta], keep: RetentionPolicy) -> StoreSize:
    """Return the size of the database for routes that are probed at these *intervals* without pause."""
    average_retention = keep.delivered * (1 - 1 / _RUNS_PER_FAILURE) + keep.failed / _RUNS_PER_FAILURE
    runs = [average_retention / interval for interval in intervals]
    return StoreSize(runs=round(sum(runs)), hours=round(len(runs) * (keep.hourly / _HOUR)))


def estimate_store_size(settings: Settings, routes: Iterable[MonitoredRoute]) -> StoreSize:
    """Return the size of the database for a configuration."""
    return compute_store_size((route.probing.interval for route in routes), settings.retention.build())


def check_storage(settings: Settings, routes: Iterable[MonitoredRoute], findings: Findings) -> None:
    """Record a database that will exceed the available space."""
    if settings.store is not None:
        return  # The space on the database server is unknown here.
    size = estimate_store_size(settings, routes)
    key_findings = findings["retention"] if findings["retention"].is_written else findings["state_dir"]
    available = _available_octets(settings.state_dir)
    if available is not None and size.octets > available:
        message = lazy_text(
            "the store becomes {size} large, and there is room for {room} in its place",
            size=format_octets(size.octets),
            room=format_octets(available),
        )
        key_findings.warning(message, "retention: {delivered: 7d}, longer intervals, or a larger disk")
    elif size.octets > _MAX_FILE_OCTETS:
        message = lazy_text("the store becomes a file of {size}", size=format_octets(size.octets))
        key_findings.warning(message, "a PostgreSQL (store:), retention: {delivered: 7d}, or longer intervals")


def _available_octets(state: Path) -> int | None:
    """Return the octets available to a database in *state*, including its present size.

    `None`: the directory does not exist.
    """
    try:
        return shutil.disk_usage(state).free + sum(file.stat().st_size for file in state.glob("pantau.sqlite*"))
    except OSError:
        return None


def format_octets(octets: int) -> str:
    """Return a number of octets with a unit."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if octets >= size:
            return f"{octets / size:.3g} {unit}"
    return f"{octets} octets"
