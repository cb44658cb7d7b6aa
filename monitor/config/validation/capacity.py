"""Capacity checks: routes that are never probed, mail quotas of accounts, and the size of the database.

A *route* leads from one mailbox to another; each probe sends a message along it. A *reference* is a mailbox of the
operator outside the agencies; a *pool* is a reference of several mailboxes. *Control routes* lead from reference to
reference.
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
from monitor.model.mail_provider import MailProviders
from monitor.model.pool import Spread
from monitor.model.receive_quota import ReceiveQuotaExceeded, arrives_at_reference, overloaded_references
from monitor.model.route import MonitoredRoute
from monitor.model.send_quota import QuotaExceeded, accounts_over_quota
from monitor.model.translatable import TranslatableText, translatable
from monitor.store.probing.retention import RetentionPolicy

#: Arbitrary time from which the next active hour is searched. If there is none in the following years, there never is.
_REFERENCE_TIME = datetime(2026, 1, 5, tzinfo=UTC)


def build_spread(settings: Settings) -> Spread:
    """Return how many sites send messages on each route, and over how many mailboxes a pool spreads them.

    A *site* is a location that probes. A *hub* is a process that combines the results of several sites. Only its
    settings name the other sites, which probe the same agencies. A service without PostgreSQL is a single process,
    which uses one mailbox of a pool.
    """
    sites = 1 if settings.hub is None else settings.hub.probing_sites
    return Spread(sites=sites, pools={} if settings.store is None else pool_sizes(settings.references))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Workload that the routes of one agency, or the control routes, cause for mail providers."""

    #: All routes. While they are unchanged, the registry keeps the same tuple, so it is compared by identity.
    routes: tuple[MonitoredRoute, ...]
    #: Whether the routes are never probed.
    is_never_probed: bool
    #: The agency's accounts that would exceed their sending quota.
    accounts_over_quota: tuple[QuotaExceeded, ...]
    #: Routes whose sender is a reference with a sending quota, which is checked for routes of all agencies together.
    from_references: tuple[MonitoredRoute, ...]
    #: Routes whose recipient is a reference with a receiving limit, which is checked likewise.
    to_references: tuple[MonitoredRoute, ...]

    @classmethod
    def compute(
        cls, agency_code: str, routes: tuple[MonitoredRoute, ...], mail_providers: MailProviders, spread: Spread
    ) -> Workload:
        """Compute the workload of *routes*: those of the agency *agency_code*, or, if it is "", the control routes."""
        # All routes of an agency have the same active hours.
        is_never_probed = bool(routes) and routes[0].probing.hours.next_active_at(_REFERENCE_TIME) is None
        probed = () if is_never_probed else routes
        # An agency's mailboxes are named "CODE/key", references by their key alone.
        agency_routes = [route for route in probed if route.route.sender.name.startswith(f"{agency_code}/")]
        reference_routes = [route for route in probed if not route.route.sender.name.startswith(f"{agency_code}/")]
        return cls(
            routes=routes,
            is_never_probed=is_never_probed,
            accounts_over_quota=tuple(accounts_over_quota(agency_routes, mail_providers, spread)),
            from_references=tuple(
                route for route in reference_routes if mail_providers.sending_provider(route.route.sender) is not None
            ),
            to_references=tuple(
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
        if previous is not None and previous.routes is routes:
            by_agency[code] = previous
        else:
            by_agency[code] = Workload.compute(code, routes, mail_providers, spread)
    return by_agency


def check_probing_load(
    workloads: Mapping[str, Workload],
    mail_providers: MailProviders,
    findings_by_code: Mapping[str, Findings],
    spread: Spread,
) -> None:
    """Record routes that are never probed, and accounts that would exceed a quota of their provider.

    *findings_by_code*: the findings in each agency's file, by its short code, and in the settings file, by "".
    """
    from_references, to_references = list[MonitoredRoute](), list[MonitoredRoute]()
    for code, workload in workloads.items():
        if workload.is_never_probed:
            _record_never_probed(findings_by_code[code])
        for exceeded in workload.accounts_over_quota:
            _record_send_quota(exceeded, findings_by_code)
        from_references += workload.from_references
        to_references += workload.to_references
    for exceeded in accounts_over_quota(from_references, mail_providers, spread):
        _record_send_quota(exceeded, findings_by_code)
    for overloaded in overloaded_references(to_references, mail_providers, spread):
        _record_receive_quota(overloaded, findings_by_code[""])


def _record_never_probed(findings: Findings) -> None:
    active_hours = findings["probing", "active_hours"]
    key_findings = active_hours if active_hours.is_in_file else findings["maintenance"]
    key_findings.error("leaves no time in which mail is probed", "hours that maintenance does not cover")


def _record_send_quota(exceeded: QuotaExceeded, findings_by_code: Mapping[str, Findings]) -> None:
    code, _, key = exceeded.sender.name.rpartition("/")
    findings, mail_provider = findings_by_code[code], exceeded.mail_provider
    key_findings = findings["probing", "interval"]
    if not code or not key_findings.is_in_file:
        # Record the problem at the mailbox. The load of a reference comes from all agencies, not from one interval.
        key_findings = findings["mailboxes" if code else "references", key]
    # Only warn if the quota is exceeded only together with other sites: their documents and accounts may differ from
    # those here.
    record = key_findings.warning if exceeded.is_within_quota_alone else key_findings.error
    messages = translatable("{messages} messages a day", messages=exceeded.messages_per_day)
    record(
        translatable(
            "{address} would send up to {messages}, and {provider} allows an account {allowed}",
            address=exceeded.sender.address,
            messages=_with_site_count(messages, exceeded.sites),
            provider=mail_provider.name,
            allowed=exceeded.allowed,
        ),
        translatable(
            "an interval of {interval} or longer on all routes from it, or another account for some of them",
            interval=format_duration(exceeded.interval),
        ),
    )


def _record_receive_quota(exceeded: ReceiveQuotaExceeded, findings: Findings) -> None:
    instead = translatable(
        "an interval of {interval} or longer on all routes to it", interval=format_duration(exceeded.interval)
    )
    # A larger pool would suffice.
    if exceeded.mailboxes is not None:
        instead = translatable(
            "a pool of {count} mailboxes, for as many processes on one store (docs/how-to/operator/references.md), or "
            "{otherwise}",
            count=exceeded.mailboxes,
            otherwise=instead,
        )
    findings["references", exceeded.recipient.name].warning(
        translatable(
            "up to {messages} messages {span} would come to {address}, and {provider} lets an account receive "
            "{allowed}",
            messages=exceeded.messages,
            span=_with_site_count(
                translatable("an hour") if exceeded.span == _HOUR else translatable("a minute"), exceeded.sites
            ),
            address=exceeded.recipient.address,
            provider=exceeded.mail_provider.name,
            allowed=exceeded.allowed,
        ),
        instead,
    )


def _with_site_count(amount: TranslatableText, sites: int) -> TranslatableText:
    """Return *amount*, if several sites cause it, with their number."""
    return amount if sites == 1 else translatable("{what} from {sites} sites together", what=amount, sites=sites)


_HOUR = timedelta(hours=1)
#: Octets on disk, with indexes, of a probe run and of the hourly counts of a route. Each is the larger of two values,
#: measured with SQLite and PostgreSQL (docs/reference/limits.md).
_OCTETS_PER_RUN = 460
_OCTETS_PER_HOUR = 250
#: In normal operation, one in this number of runs fails.
_RUNS_PER_FAILURE = 100
#: Largest practical database file: copying a larger one, or returning its free space to the file system, takes hours.
_MAX_FILE_OCTETS = 100 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSize:
    """Final size of the database, when it contains data of the full retention periods."""

    #: Number of stored probe runs.
    runs: int
    #: Number of stored hourly counts, one per route and hour.
    hours: int

    @property
    def octets(self) -> int:
        """Octets on disk, without incidents and audit entries, which have some kilobytes each."""
        return self.runs * _OCTETS_PER_RUN + self.hours * _OCTETS_PER_HOUR

    def __str__(self) -> str:
        """Return the size in bytes and in rows."""
        return f"about {format_octets(self.octets)}: {self.runs:,} runs, {self.hours:,} hourly counts"


def compute_store_size(intervals: Iterable[timedelta], retention: RetentionPolicy) -> StoreSize:
    """Return the size of the database for routes that are probed at these *intervals* without pause."""
    average_retention = retention.delivered * (1 - 1 / _RUNS_PER_FAILURE) + retention.failed / _RUNS_PER_FAILURE
    runs = [average_retention / interval for interval in intervals]
    return StoreSize(runs=round(sum(runs)), hours=round(len(runs) * (retention.hourly / _HOUR)))


def estimate_store_size(settings: Settings, routes: Iterable[MonitoredRoute]) -> StoreSize:
    """Return the final size of the database for the *routes* of a configuration."""
    return compute_store_size((route.probing.interval for route in routes), settings.retention.build())


def check_storage(settings: Settings, routes: Iterable[MonitoredRoute], findings: Findings) -> None:
    """Record that the database file will exceed the available space or a practical size."""
    if settings.store is not None:
        # The space on the database server is unknown here.
        return
    size = estimate_store_size(settings, routes)
    key_findings = findings["retention"] if findings["retention"].is_in_file else findings["state_dir"]
    available = _available_octets(settings.state_dir)
    if available is not None and size.octets > available:
        message = translatable(
            "the database grows to {size}, and only {room} are available",
            size=format_octets(size.octets),
            room=format_octets(available),
        )
        key_findings.warning(message, "retention: {delivered: 7d}, longer intervals, or a larger disk")
    elif size.octets > _MAX_FILE_OCTETS:
        message = translatable("the database grows to a file of {size}", size=format_octets(size.octets))
        key_findings.warning(message, "a PostgreSQL (store:), retention: {delivered: 7d}, or longer intervals")


def _available_octets(state_dir: Path) -> int | None:
    """Return the octets available to the database in the directory *state_dir*, including its present size.

    Return `None` if the directory does not exist.
    """
    try:
        database_octets = sum(file.stat().st_size for file in state_dir.glob("pantau.sqlite*"))
        return shutil.disk_usage(state_dir).free + database_octets
    except OSError:
        return None


def format_octets(octets: int) -> str:
    """Return a number of octets with a unit."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if octets >= size:
            return f"{octets / size:.3g} {unit}"
    return f"{octets} octets"
