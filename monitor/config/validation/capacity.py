"""What routes of all files together come to: hours that never come, accounts that send or receive too much, a store too large."""

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

#: What does not come in the years from here on never comes.
_SOME_DAY = datetime(2026, 1, 5, tzinfo=UTC)


def spread_of(settings: Settings) -> Spread:
    """Return how messages are spread.

    A hub knows all sites that probe the same agencies; a site knows of none but itself. Who has the file of an embedded store
    is alone, and uses one mailbox of a pool.
    """
    sites = 1 if settings.hub is None else settings.hub.probing_sites
    return Spread(sites=sites, pools={} if settings.store is None else pools(settings.references))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the routes of one agency come to, or those of our own. It is the same for as long as these are."""

    routes: tuple[MonitoredRoute, ...]
    #: Whether there is no time at which they are probed.
    is_closed: bool
    #: The accounts of its own that would send too much.
    overdrafts: tuple[QuotaExceeded, ...]
    #: The routes on which an account of ours sends that has a limit: what these come to depends on all agencies.
    shared: tuple[MonitoredRoute, ...]
    #: Those on which a mailbox of ours receives that has a limit: the same.
    received: tuple[MonitoredRoute, ...]

    @classmethod
    def of(
        cls, code: str, routes: tuple[MonitoredRoute, ...], mail_providers: MailProviders, spread: Spread
    ) -> Workload:
        """Reckon up the *routes* of the agency with this code; of "" the control routes."""
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
    """Return what the routes of each agency come to, and by "" the control routes.

    *known*: of an earlier registry, with the same *mail_providers* and *spread*.
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
    """Note what cannot be run as it is configured: see `workloads`.

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
    when = findings["probing", "when"]
    there = when if when.is_written else findings["maintenance"]
    there.error("leaves no time in which mail is probed", "hours that maintenance does not cover")


def _note_overdraft(overdraft: QuotaExceeded, files: Mapping[str, Findings]) -> None:
    code, _, key = overdraft.sender.name.rpartition("/")
    findings, mail_provider = files[code], overdraft.mail_provider
    there = findings["probing", "interval"]
    if not code or not there.is_written:
        # What a reference has to send depends on all agencies: it is told where the account is.
        there = findings["mailboxes" if code else "references", key]
    # What others do is only concluded: they may have documents, or accounts, of their own.
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
#: On the disk, with indexes: measured on both stores (docs/reference/limits.md), the larger of the two.
_OCTETS_A_RUN = 460
_OCTETS_AN_HOUR = 250
#: One run in so many fails, where nothing much is wrong.
_FAILS = 100
#: A file that is larger is copied, and given back to the file system, in hours.
_LARGEST_FILE = 100 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSize:
    """What the store holds once everything has been kept for as long as it is to be."""

    runs: int
    hours: int

    @property
    def octets(self) -> int:
        """On the disk. Incidents and the journal come on top: some kilobytes each."""
        return self.runs * _OCTETS_A_RUN + self.hours * _OCTETS_AN_HOUR

    def __str__(self) -> str:
        """Return it as people say it."""
        return f"about {amount(self.octets)}: {self.runs:,} runs, {self.hours:,} hours of routes"


def store_size(intervals: Iterable[timedelta], keep: RetentionPolicy) -> StoreSize:
    """Return how large the store becomes with routes that are probed at these *intervals*, all day and all night."""
    kept = keep.delivered * (1 - 1 / _FAILS) + keep.failed / _FAILS
    runs = [kept / interval for interval in intervals]
    return StoreSize(runs=round(sum(runs)), hours=round(len(runs) * (keep.hourly / _HOUR)))


def size_of(settings: Settings, routes: Iterable[MonitoredRoute]) -> StoreSize:
    """Return how large the store of a configuration becomes."""
    return store_size((route.probing.interval for route in routes), settings.keep_results.build())


def check_storage(settings: Settings, routes: Iterable[MonitoredRoute], findings: Findings) -> None:
    """Note a store that becomes larger than what there is room for."""
    if settings.store is not None:
        return  # What its server has room for is not known here.
    size = size_of(settings, routes)
    there = findings["keep_results"] if findings["keep_results"].is_written else findings["state"]
    room = _room_in(settings.state)
    if room is not None and size.octets > room:
        message = said(
            "the store becomes {size} large, and there is room for {room} in its place",
            size=amount(size.octets),
            room=amount(room),
        )
        there.warning(message, "keep_results: {delivered: 7d}, longer intervals, or a larger disk")
    elif size.octets > _LARGEST_FILE:
        message = said("the store becomes a file of {size}", size=amount(size.octets))
        there.warning(message, "a PostgreSQL (store:), keep_results: {delivered: 7d}, or longer intervals")


def _room_in(state: Path) -> int | None:
    """Return the octets that a store in *state* may take, what it has included; `None`: there is no such place here."""
    try:
        return shutil.disk_usage(state).free + sum(file.stat().st_size for file in state.glob("pantau.sqlite*"))
    except OSError:
        return None


def amount(octets: int) -> str:
    """Return so many octets as people say it."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if octets >= size:
            return f"{octets / size:.3g} {unit}"
    return f"{octets} octets"
