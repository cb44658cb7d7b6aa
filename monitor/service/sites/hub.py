"""Reader of other sites' statuses at a hub, the installation that decides for several sites and notifies people.

Each site publishes a heartbeat and its statuses, which PostgreSQL replicates to the hub. The *subject* of a status is
an agency, or a problem of the site itself. The hub corrects the times of the statuses, and determines which sites have
a vote: those with a fresh heartbeat. It passes statuses and votes to the `IncidentReporter`, which opens and resolves
incidents by *quorum*, the votes that have to agree.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from alerts.model.notification import IncidentType
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.bridge.incident_policy import dedup_key_of
from monitor.bridge.incident_reporter import (
    MONITORING_FAULT_PREFIX,
    QUORUM_FAULT_KEY,
    SITE_FAULT_PREFIX,
    IncidentReporter,
)
from monitor.evaluation.attribution import FaultDomain
from monitor.evaluation.joint.freshness import SiteClock
from monitor.evaluation.joint.quorum import Quorum
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.metrics import Metrics
from monitor.service.sites.heartbeat import monotonic
from monitor.store.probing.statuses import ChangeCursor, SiteStatuses
from monitor.store.sites.joining import MAX_CLOCK_DIFFERENCE

log = structlog.get_logger()

#: Maximum of subjects of a site, because an intruder in the site's database could write any number. It is ten times the
#: number of agencies that a hub was tested with. Agencies that are monitored here are accepted beyond it.
_MAX_SUBJECTS = 100_000

#: Interval at which subjects that a site no longer publishes are removed.
_CLEANUP_INTERVAL = timedelta(minutes=1)

#: After a start, votes count once all sites are fresh, or after this time plus `stale_after`: by then, each live site
#: has its vote.
_STARTUP_DELAY = timedelta(seconds=15)

#: After a database outage, votes count at once if it was not longer than this time, or than `stale_after` minus
#: `_STARTUP_DELAY`. After a longer outage they count as after a start.
_TOLERATED_OUTAGE = timedelta(seconds=3)

#: A reference mailbox, or *reference*, is a mailbox of Pantau outside the agencies. If it fails for this time at one
#: other site, but not here, that is a problem of that site. A failure or recovery of the mailbox itself is detected by
#: all sites within minutes of each other.
_REFERENCE_GRACE = timedelta(minutes=10)

#: Domains of the problems by which a site can evaluate nothing. Other problems, such as a refused account at an agency,
#: only leave the site without a status of the affected agency.
_BLOCKING_DOMAINS = frozenset({FaultDomain.NETWORK, FaultDomain.REFERENCE, FaultDomain.PANTAU})


def _fault_domain(subject: str) -> str:
    """Return the domain of a problem, a value of `FaultDomain` such as "reference"; of an agency, its code."""
    return dedup_key_of(subject).removeprefix(MONITORING_FAULT_PREFIX).partition("/")[0]


def _is_reference_problem(subject: str) -> bool:
    return _fault_domain(subject) == FaultDomain.REFERENCE


@dataclass(slots=True)
class _Site:
    """State of another site."""

    #: Clock of the site, estimated by its heartbeats.
    clock: SiteClock
    #: Statuses as published, with uncorrected times, by subject.
    statuses: dict[str, SiteStatus] = field(default_factory=dict)
    #: The start of each problem that the site reports about itself, by subject.
    problems: dict[str, datetime] = field(default_factory=dict)
    #: By subject of a reference: since when it fails there and works here, by the monotonic clock.
    only_there_since: dict[str, timedelta] = field(default_factory=dict)
    #: Since when the site has no vote; `None`: it has one.
    stale_since: datetime | None = None
    #: Since when the site has a vote and can evaluate; `None`: it has no vote, or cannot evaluate.
    up_since: datetime | None = None
    #: By subject in trouble: the corrected time for each time that the site published.
    corrected_times: dict[str, Mapping[datetime, datetime]] = field(default_factory=dict)
    #: Whether the site has published more subjects than are accepted.
    is_over_limit: bool = False

    def within_limit(self, statuses: Mapping[str, SiteStatus], monitored: AbstractSet[str]) -> Mapping[str, SiteStatus]:
        """Return the accepted part of *statuses*: all *monitored* agencies, and other subjects up to the limit."""
        if len(self.statuses) + len(statuses) <= _MAX_SUBJECTS:
            return statuses
        accepted, remaining = dict[str, SiteStatus](), _MAX_SUBJECTS - len(self.statuses)
        for subject, status in statuses.items():
            if subject in self.statuses or subject in monitored:
                accepted[subject] = status
            elif remaining > 0:
                accepted[subject], remaining = status, remaining - 1
        return accepted

    def forget(self, subject: str) -> None:
        """Remove all data about *subject*."""
        for by_subject in (self.statuses, self.problems, self.corrected_times):
            by_subject.pop(subject, None)

    def correct_clock(self, subject: str, status: SiteStatus, now: datetime) -> SiteStatus:
        """Return *status* with its times converted from the site's clock to the hub's. No time is later than *now*.

        A difference of the clocks of at most `MAX_CLOCK_DIFFERENCE` is ignored. A time that is published again keeps
        its first correction, although the site's clock may have been set since.
        """
        offset, known_times = self.clock.offset, self.corrected_times.pop(subject, {})
        correction = offset if offset is not None and abs(offset) > MAX_CLOCK_DIFFERENCE else timedelta(0)

        def correct(at: datetime) -> datetime:
            return known_times.get(at) or min(at + correction, now)

        if status.trouble is None:
            return status if status.up_since is None else replace(status, up_since=correct(status.up_since))
        since, latest = status.trouble.since, status.trouble.latest
        if offset is not None:
            self.corrected_times[subject] = {at: correct(at) for at in (since, latest) if at is not None}
        trouble = replace(status.trouble, since=correct(since), latest=None if latest is None else correct(latest))
        return replace(status, trouble=trouble)

    def update(self, now: datetime, monotonic: timedelta, *, is_fresh: bool, shared: Collection[str]) -> None:
        """Update the site's own status.

        *is_fresh*: whether the site has a vote. *shared*: problems of the site that also exist at the hub, and do not
        count as the site's own.
        """
        self.stale_since = None if is_fresh else self.stale_since or now
        own_problems = self.problems.keys() - shared
        self.only_there_since = {
            key: self.only_there_since.get(key, monotonic) for key in own_problems if _is_reference_problem(key)
        }
        self.up_since = self.up_since or now if is_fresh and not own_problems else None

    def status(self, monotonic: timedelta) -> SiteStatus:
        """Return the site's own status: in trouble if it has no vote or reports that it cannot evaluate."""
        long_failing = {key for key, since in self.only_there_since.items() if monotonic - since >= _REFERENCE_GRACE}
        starts = [
            start for key, start in self.problems.items() if not _is_reference_problem(key) or key in long_failing
        ]
        if self.stale_since is not None:
            starts.append(self.stale_since)
        if not starts:
            return SiteStatus(up_since=self.up_since)
        return SiteStatus(trouble=ActiveProblem(type=IncidentType.MONITORING_FAULT, since=min(starts)))


class Hub:
    """Reader of other sites' statuses. It passes them to the reporter, with the names of the sites that have a vote."""

    def __init__(
        self,
        statuses: SiteStatuses,
        clock: Clock,
        *,
        site: str,
        sites: AbstractSet[str],
        stale_after: timedelta,
        quorum: Quorum,
        reporter: Callable[[], IncidentReporter],
        metrics: Metrics,
        publish_own: Callable[[], Awaitable[None]],
        monotonic: Callable[[], timedelta] = monotonic,
    ) -> None:
        """Take *site*, the name of this site, and *sites*, the names of the other sites.

        A site without a heartbeat for *stale_after* has no vote. *publish_own* passes this site's own statuses to the
        reporter.
        """
        self._statuses = statuses
        self._clock = clock
        self._site = site
        self._reporter = reporter
        self._metrics = metrics
        self._publish_own = publish_own
        self._monotonic = monotonic
        self._stale_after = stale_after
        self._quorum = quorum
        #: Since when too few sites are fresh for a quorum; `None`: enough are, since `_quorum_since`.
        self._no_quorum_since: datetime | None = None
        self._quorum_since: datetime | None = None
        #: Start, or end of the last long database outage, by the monotonic clock.
        self._available_since = monotonic()
        #: Start of the present database outage, by the monotonic clock.
        self._unavailable_since: timedelta | None = None
        self._sites = {name: _Site(clock=SiteClock(stale_after)) for name in sorted(sites)}
        #: Subjects of failing references, as reported by any process of this site.
        self._failing_references: set[str] = set()
        #: Position up to which status changes were read; `None`: read all statuses.
        self._change_cursor: ChangeCursor | None = None
        #: Time of the last removal of subjects that are no longer published.
        self._cleaned_at: datetime | None = None

    async def poll(self) -> None:
        """Read the statuses and pass them to the reporter. Raise `StoreUnavailable`."""
        # Publish this site's statuses now, because the next run may be minutes away: without this site's status of an
        # agency, the reporter reports no problem of the agency.
        await self._publish_own()
        reporter, polled_at = self._reporter(), self._monotonic()
        try:
            await self._read(reporter)
        except StoreUnavailable:
            if self._unavailable_since is None:
                self._unavailable_since = polled_at
            # Read all rows next time: the database may come back in an older state, in which the cursor is invalid.
            self._change_cursor = None
            # Votes from before the outage do not count after it.
            reporter.set_voting_sites(frozenset())
            raise
        # After any other error, still update the votes: a site that is not read for some time loses its vote.
        except Exception:
            self._update_votes(reporter)
            raise
        self._update_votes(reporter)

    async def _read(self, reporter: IncidentReporter) -> None:
        # Read the heartbeats before the statuses: then all statuses that are older than a read heartbeat are read.
        heartbeats = await self._statuses.heartbeats()
        now, monotonic = self._clock.now(), self._monotonic()
        if self._unavailable_since is not None:
            if monotonic - self._unavailable_since > max(_TOLERATED_OUTAGE, self._stale_after - _STARTUP_DELAY):
                # As after a start: the sites' statuses from the time of the outage arrive some seconds after its end.
                self._available_since = monotonic
            self._unavailable_since = None
        is_cleanup_due = self._cleaned_at is None or not timedelta(0) <= now - self._cleaned_at < _CLEANUP_INTERVAL
        # For the cleanup read only the subjects: reading thousands of statuses would delay newer statuses.
        published = await self._statuses.subjects_by_site() if is_cleanup_due else {}
        statuses, change_cursor = await self._statuses.changed(self._change_cursor)
        if is_cleanup_due:
            self._cleaned_at = now
            self._forget_removed(published, statuses, reporter)
            self._failing_references &= published.get(self._site, set()) | statuses.get(self._site, {}).keys()
        for name in self._sites:
            self._apply(name, statuses.get(name, {}), now, reporter)
        # Pass on statuses of this site's other processes: every process shows the same status of every agency.
        for key, status in statuses.get(self._site, {}).items():
            if _is_reference_problem(key):
                if status.trouble is None:
                    self._failing_references.discard(key)
                else:
                    self._failing_references.add(key)
            if not key.startswith(MONITORING_FAULT_PREFIX) and key not in reporter.agencies:
                reporter.record_status(self._site, key, status)
        # Advance the cursor only now: after an error above, the rows are read again.
        self._change_cursor = change_cursor
        # Record heartbeats after the statuses: a heartbeat counts only if all earlier statuses were processed.
        for name, site in self._sites.items():
            if name in heartbeats:
                was_known = site.clock.offset is not None
                site.clock.record(heartbeats[name], now, monotonic)
                if not was_known and site.clock.offset is not None:
                    # The offset of the site's clock is known now: correct the times of its statuses.
                    self._apply(name, site.statuses, now, reporter)

    def _update_votes(self, reporter: IncidentReporter) -> None:
        """Determine which sites have a vote, and pass the result to the reporter."""
        now, monotonic = self._clock.now(), self._monotonic()
        fresh = {name for name, site in self._sites.items() if site.clock.is_fresh(monotonic)}
        are_votes_known = (
            fresh == self._sites.keys() or monotonic - self._available_since >= _STARTUP_DELAY + self._stale_after
        )
        # Until the votes are known, no site has one: this site must not decide alone.
        reporter.set_voting_sites({self._site} | fresh if are_votes_known else frozenset())
        if are_votes_known:
            self._report_quorum(reporter, fresh, now)
        # Use the failing references of all processes of this site. Otherwise one process would report a problem of
        # another site, and a second process would resolve the problem.
        failing_here = set(map(dedup_key_of, self._failing_references))
        for name, site in self._sites.items():
            is_fresh = name in fresh
            if is_fresh or are_votes_known:
                reference_keys = {each: dedup_key_of(each) for each in site.problems if _is_reference_problem(each)}
                shared = [
                    each for each, key in reference_keys.items() if key in failing_here or reporter.has_fault(key)
                ]
                site.update(now, monotonic, is_fresh=is_fresh, shared=shared)
                reporter.record_status(self._site, f"{SITE_FAULT_PREFIX}{name}", site.status(monotonic))
            self._metrics.watchdog.set_site_connection(
                name, is_fresh=is_fresh, lag=site.clock.lag(monotonic), offset=site.clock.offset
            )
        reporter.wake()

    def _report_quorum(self, reporter: IncidentReporter, fresh: AbstractSet[str], now: datetime) -> None:
        has_quorum = self._quorum.is_reached({self._site} | fresh, {self._site} | self._sites.keys())
        self._no_quorum_since = None if has_quorum else self._no_quorum_since or now
        self._quorum_since = self._quorum_since or now if has_quorum else None
        trouble = (
            None
            if self._no_quorum_since is None
            else ActiveProblem(type=IncidentType.MONITORING_FAULT, since=self._no_quorum_since)
        )
        reporter.record_status(self._site, QUORUM_FAULT_KEY, SiteStatus(trouble=trouble, up_since=self._quorum_since))

    def _forget_removed(
        self,
        published: Mapping[str, AbstractSet[str]],
        statuses: Mapping[str, Mapping[str, SiteStatus]],
        reporter: IncidentReporter,
    ) -> None:
        for name, site in self._sites.items():
            for subject in site.statuses.keys() - published.get(name, set()) - statuses.get(name, {}).keys():
                site.forget(subject)
                if not subject.startswith(MONITORING_FAULT_PREFIX):
                    reporter.remove_status(name, subject)

    def _apply(self, name: str, statuses: Mapping[str, SiteStatus], now: datetime, reporter: IncidentReporter) -> None:
        site = self._sites[name]
        accepted = site.within_limit(statuses, reporter.agencies)
        if len(accepted) < len(statuses) and not site.is_over_limit:
            site.is_over_limit = True
            log.error("site reports too many subjects; the rest is ignored", site=name, limit=_MAX_SUBJECTS)
        site.statuses |= accepted
        for subject, uncorrected in accepted.items():
            try:
                status = site.correct_clock(subject, uncorrected, now)
            except (TypeError, OverflowError):
                # Pass an invalid status on unchanged, so that it does not block others: the reporter detects it.
                status = uncorrected
            if not subject.startswith(MONITORING_FAULT_PREFIX):
                reporter.record_status(name, subject, status)
            elif _fault_domain(subject) in _BLOCKING_DOMAINS:
                # Do not report another site's problem with itself: it only determines whether that site can evaluate.
                if status.trouble is None:
                    site.problems.pop(subject, None)
                else:
                    site.problems[subject] = status.trouble.since
