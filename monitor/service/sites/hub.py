"""Reads the statuses of other sites at the hub and passes fresh ones to the reporter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from alerts.model.notification import IncidentType
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.bridge.incident_reporter import OURS, QUORUM, SITES, IncidentReporter
from monitor.bridge.noc_brief import key_of
from monitor.evaluation.attribution import FaultDomain
from monitor.evaluation.joint.freshness import SiteClock
from monitor.evaluation.joint.quorum import Quorum
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.metrics import Metrics
from monitor.service.sites.heartbeat import monotonic
from monitor.store.probing.standings import Mark, SiteStatuses
from monitor.store.sites.joining import APART

log = structlog.get_logger()

#: Maximum of subjects of a site that are not monitored here: ten times the agencies that a hub was tested with. An
#: intruder in its store could write any number.
_SUBJECTS = 100_000

#: Interval at which subjects without a status are looked for.
_LOOK_AGAIN = timedelta(minutes=1)

#: Time beyond `stale_after` after a start until each live site has its vote.
_LEARNS = timedelta(seconds=15)

#: A shorter outage of the database costs no site its vote.
_STALLS = timedelta(seconds=3)

#: A problem of a reference that exists at one site and not here becomes that site's problem after this time: when a
#: reference fails for all, they detect its failure within minutes of each other, and its recovery too.
_ALONE_FOR = timedelta(minutes=10)

#: Problems that keep a site from evaluating. A refused account at an agency does not: then the site has no status of
#: its routes.
_DISABLES = frozenset({FaultDomain.NETWORK, FaultDomain.REFERENCE, FaultDomain.OURS})


def _blame(subject: str) -> str:
    return key_of(subject).removeprefix(OURS).partition("/")[0]


def _is_of_a_reference(subject: str) -> bool:
    return _blame(subject) == FaultDomain.REFERENCE


@dataclass(slots=True)
class _Site:
    """State of another site."""

    clock: SiteClock
    #: Its statuses, by subject, as published.
    said: dict[str, SiteStatus] = field(default_factory=dict)
    #: Problems that it reports about itself, by subject, and since when.
    ailing: dict[str, datetime] = field(default_factory=dict)
    #: Among these, the references that work here, and since when that is known, by the monotonic clock.
    alone_since: dict[str, timedelta] = field(default_factory=dict)
    #: Since when it has no vote; since when it has one and can evaluate.
    stale_since: datetime | None = None
    up_since: datetime | None = None
    #: By subject in trouble: its times by the site's clock, and the corresponding times by ours.
    moments: dict[str, Mapping[datetime, datetime]] = field(default_factory=dict)
    #: It has published more subjects than are accepted.
    is_too_much: bool = False

    def heard_of(self, said: Mapping[str, SiteStatus], watched: AbstractSet[str]) -> Mapping[str, SiteStatus]:
        """Return the accepted part of *said*: all that is *watched* here, and of other subjects no more than a site can have."""
        if len(self.said) + len(said) <= _SUBJECTS:
            return said
        heard, room = dict[str, SiteStatus](), _SUBJECTS - len(self.said)
        for subject, standing in said.items():
            if subject in self.said or subject in watched:
                heard[subject] = standing
            elif room > 0:
                heard[subject], room = standing, room - 1
        return heard

    def forget(self, subject: str) -> None:
        """Record that it has no status of *subject* any more."""
        for known in (self.said, self.ailing, self.moments):
            known.pop(subject, None)

    def by_our_clock(self, subject: str, said: SiteStatus, now: datetime) -> SiteStatus:
        """Return its status corrected to our clock. No time in it is later than *now*.

        A time is corrected once: the site's clock may be set while it publishes the time.
        """
        offset, known = self.clock.offset, self.moments.pop(subject, {})
        ahead = offset if offset is not None and abs(offset) > APART else timedelta(0)

        def ours(at: datetime) -> datetime:
            return known.get(at) or min(at + ahead, now)

        if said.trouble is None:
            return said if said.up_since is None else replace(said, up_since=ours(said.up_since))
        since, latest = said.trouble.since, said.trouble.latest
        if offset is not None:
            self.moments[subject] = {at: ours(at) for at in (since, latest) if at is not None}
        trouble = replace(said.trouble, since=ours(since), latest=None if latest is None else ours(latest))
        return replace(said, trouble=trouble)

    def see(self, now: datetime, monotonic: timedelta, *, is_fresh: bool, shared: Collection[str]) -> None:
        """Record whether it has a vote, and which of its problems are not its own: those that also exist here."""
        self.stale_since = None if is_fresh else self.stale_since or now
        own = self.ailing.keys() - shared
        self.alone_since = {key: self.alone_since.get(key, monotonic) for key in own if _is_of_a_reference(key)}
        self.up_since = self.up_since or now if is_fresh and not own else None

    def standing(self, monotonic: timedelta) -> SiteStatus:
        """Return its own status: in trouble if it has no vote or reports that it cannot evaluate."""
        lasting = {key for key, since in self.alone_since.items() if monotonic - since >= _ALONE_FOR}
        since = [began for key, began in self.ailing.items() if not _is_of_a_reference(key) or key in lasting]
        if self.stale_since is not None:
            since.append(self.stale_since)
        if not since:
            return SiteStatus(up_since=self.up_since)
        return SiteStatus(trouble=ActiveProblem(type=IncidentType.MONITORING_FAULT, since=min(since)))


class Hub:
    """Reads other sites' statuses; passes them to the reporter with the sites that have a vote."""

    def __init__(
        self,
        standings: SiteStatuses,
        clock: Clock,
        *,
        site: str,
        sites: AbstractSet[str],
        stale_after: timedelta,
        quorum: Quorum,
        consensus: Callable[[], IncidentReporter],
        metrics: Metrics,
        speak: Callable[[], Awaitable[None]],
        monotonic: Callable[[], timedelta] = monotonic,
    ) -> None:
        """*site* is this one, and *sites* are the others; *speak* passes this site's own statuses to the reporter."""
        self._standings = standings
        self._clock = clock
        self._site = site
        self._consensus = consensus
        self._metrics = metrics
        self._speak = speak
        self._monotonic = monotonic
        self._stale_after = stale_after
        self._quorum = quorum
        #: Since when too few sites are fresh for a decision, or since when enough are.
        self._short_since: datetime | None = None
        self._enough_since: datetime | None = None
        #: Since when the database is available, and since when it is not (`None`: it is), by the monotonic clock.
        self._began = monotonic()
        self._away_since: timedelta | None = None
        self._sites = {name: _Site(clock=SiteClock(stale_after)) for name in sorted(sites)}
        #: References in trouble here, as reported by any process of this site, by subject.
        self._ailing_here: set[str] = set()
        self._mark: Mark | None = None
        #: When subjects without a status were last looked for.
        self._seen_at: datetime | None = None

    async def listen(self) -> None:
        """Read the statuses and pass them on. Raise `StoreUnavailable`."""
        # Runs may be minutes apart, and without our own status of an agency nothing is reported.
        await self._speak()
        consensus, begun = self._consensus(), self._monotonic()
        try:
            await self._read(consensus)
        except StoreUnavailable:
            if self._away_since is None:
                self._away_since = begun
            # The database may return in an earlier state: then the mark is meaningless, and all is read.
            self._mark = None
            # When it returns, votes from before it do not count.
            consensus.fresh(frozenset())
            raise
        # A site that cannot be read loses its vote.
        except Exception:
            self._count(consensus)
            raise
        self._count(consensus)

    async def _read(self, consensus: IncidentReporter) -> None:
        # Before the statuses: those from before a heartbeat are visible when the heartbeat is.
        beats = await self._standings.beats()
        now, monotonic = self._clock.now(), self._monotonic()
        if self._away_since is not None:
            if monotonic - self._away_since > max(_STALLS, self._stale_after - _LEARNS):
                # Statuses that sites published meanwhile arrive some seconds after the database is back, as after a
                # start.
                self._began = monotonic
            self._away_since = None
        is_due = self._seen_at is None or not timedelta(0) <= now - self._seen_at < _LOOK_AGAIN
        # Subjects only: reading all statuses of thousands of subjects each minute would delay newer ones.
        spoken_of = await self._standings.spoken_of() if is_due else {}
        said, mark = await self._standings.changed(self._mark)
        if is_due:
            self._seen_at = now
            self._forget_what_is_said_no_more(spoken_of, said, consensus)
            self._ailing_here &= spoken_of.get(self._site, set()) | said.get(self._site, {}).keys()
        for name in self._sites:
            self._hear(name, said.get(name, {}), now, consensus)
        # Including agencies that other processes here report on: each process shows the same.
        for key, standing in said.get(self._site, {}).items():
            if _is_of_a_reference(key):
                (self._ailing_here.discard if standing.trouble is None else self._ailing_here.add)(key)
            if not key.startswith(OURS) and key not in consensus.agencies:
                consensus.hear(self._site, key, standing)
        # Rows that could not be processed are read again.
        self._mark = mark
        # A heartbeat is processed together with the earlier statuses, or not at all.
        for name, site in self._sites.items():
            if name in beats:
                was_known = site.clock.offset is not None
                site.clock.hear(beats[name], now, monotonic)
                if not was_known and site.clock.offset is not None:
                    # Their times are correctable from now on.
                    self._hear(name, site.said, now, consensus)

    def _count(self, consensus: IncidentReporter) -> None:
        """Determine which sites have a vote, and pass that on."""
        now, monotonic = self._clock.now(), self._monotonic()
        fresh = {name for name, site in self._sites.items() if site.clock.is_fresh(monotonic)}
        knows = fresh == self._sites.keys() or monotonic - self._began >= _LEARNS + self._stale_after
        # After a start no site is known to be fresh: ours alone must not decide meanwhile.
        consensus.fresh({self._site} | fresh if knows else frozenset())
        if knows:
            self._see_quorum(consensus, fresh, now)
        # Of all processes here; otherwise one would report a site's problem and another resolve it.
        here = set(map(key_of, self._ailing_here))
        for name, site in self._sites.items():
            is_fresh = name in fresh
            if is_fresh or knows:
                keys = {each: key_of(each) for each in site.ailing if _is_of_a_reference(each)}
                shared = [each for each, key in keys.items() if key in here or consensus.ails_us(key)]
                site.see(now, monotonic, is_fresh=is_fresh, shared=shared)
                consensus.hear(self._site, f"{SITES}{name}", site.standing(monotonic))
            self._metrics.watchdog.site_heard(
                name, is_fresh=is_fresh, behind=site.clock.behind(monotonic), offset=site.clock.offset
            )
        consensus.poke()

    def _see_quorum(self, consensus: IncidentReporter, fresh: AbstractSet[str], now: datetime) -> None:
        is_reached = self._quorum.is_reached({self._site} | fresh, {self._site} | self._sites.keys())
        self._short_since = None if is_reached else self._short_since or now
        self._enough_since = self._enough_since or now if is_reached else None
        trouble = (
            None
            if self._short_since is None
            else ActiveProblem(type=IncidentType.MONITORING_FAULT, since=self._short_since)
        )
        consensus.hear(self._site, QUORUM, SiteStatus(trouble=trouble, up_since=self._enough_since))

    def _forget_what_is_said_no_more(
        self,
        spoken_of: Mapping[str, AbstractSet[str]],
        said: Mapping[str, Mapping[str, SiteStatus]],
        consensus: IncidentReporter,
    ) -> None:
        for name, site in self._sites.items():
            for subject in site.said.keys() - spoken_of.get(name, set()) - said.get(name, {}).keys():
                site.forget(subject)
                if not subject.startswith(OURS):
                    consensus.forget(name, subject)

    def _hear(self, name: str, said: Mapping[str, SiteStatus], now: datetime, consensus: IncidentReporter) -> None:
        site = self._sites[name]
        heard = site.heard_of(said, consensus.agencies)
        if len(heard) < len(said) and not site.is_too_much:
            site.is_too_much = True
            log.error("site reports too many objects; the rest is ignored", site=name, limit=_SUBJECTS)
        site.said |= heard
        for subject, by_its_clock in heard.items():
            try:
                standing = site.by_our_clock(subject, by_its_clock, now)
            except (TypeError, OverflowError):
                # An invalid status, which the reporter detects; it must not block the others.
                standing = by_its_clock
            if not subject.startswith(OURS):
                consensus.hear(name, subject, standing)
            elif _blame(subject) in _DISABLES:
                # A site's own parts are its own problem: for other sites they only determine whether it can evaluate.
                if standing.trouble is None:
                    site.ailing.pop(subject, None)
                else:
                    site.ailing[subject] = standing.trouble.since
