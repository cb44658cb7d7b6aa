"""Incident reporter: compares the joint status of the sites with the open incidents, and submits the differences.

Level-triggered: whenever a site reports a status, the joint status is compared with what was submitted last. At the
start the open incidents are read, so no change has to be observed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NoReturn, Protocol

import structlog

from alerts.model.event import Event, Resolve, Trigger
from alerts.model.incident import OUTAGES, Incident, is_news
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.bridge.noc_brief import agency_of
from monitor.evaluation.attribution import FaultDomain
from monitor.evaluation.evaluator import AT_A_TIME
from monitor.evaluation.flapping import Flapping, FlappingPolicy
from monitor.evaluation.incident_type import WAYS, can_end, is_proven_less
from monitor.evaluation.joint.quorum import Quorum, agreed, disagree, votes_of
from monitor.evaluation.joint.site_status import UNTROUBLED, SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem, FaultSource
from monitor.metrics import Metrics
from monitor.runtime.repeat import run_periodically

log = structlog.get_logger()

#: Prefix of dedup keys of monitoring faults; an agency's key is its short code.
OURS = "ours/"

#: Keys of other sites, which no evaluator here covers.
SITES = f"{OURS}{FaultDomain.SITE}/"

#: Key of a missing quorum, which no evaluator covers either.
QUORUM = f"{OURS}{FaultDomain.QUORUM}"
OF_HUB = (SITES, QUORUM)

#: Retry interval of failed events.
_RETRY = timedelta(seconds=2)

#: Interval for reading the open incidents: a person may have closed one, or marked a false alarm.
_LOOK_UP = timedelta(minutes=1)

#: How long one direction must work again before a lesser type is reported; and how long sites must deny an outage that
#: none of them has seen. By then a recovery has reached all routes with usual intervals.
_LASTS = timedelta(minutes=10)

#: Names of monitoring faults in metrics that differ from ours.
_CAUSES = {str(FaultDomain.OURS): "configuration"}


class Alerting(Protocol):
    """The part of `alerts.engine.dispatcher.Dispatcher` used here."""

    async def submit(self, event: Event) -> Incident | None:
        """Process an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefs:
    """Policies for incidents, as configured now."""

    agencies: Mapping[str, PolicySnapshot]
    #: Returns the policy for a monitoring fault.
    ours: Callable[[FaultSource], PolicySnapshot]


class IncidentReporter:
    """Receives the statuses of sites and reports differences to the engine."""

    def __init__(
        self,
        *,
        briefs: Briefs,
        alerting: Alerting,
        metrics: Metrics,
        clock: Clock,
        site: str,
        open_incidents: Mapping[str, IncidentType],
        open_keys: Callable[[], Awaitable[Collection[str]]] | None = None,
        quorum: Quorum | None = None,
        others: AbstractSet[str] = frozenset(),
        flapping: FlappingPolicy | None = None,
    ) -> None:
        """*open_incidents*: the reported type of each open incident, by dedup key; *quorum*: number of votes.

        *site*: this site; until it has a status of an agency, nothing is reported about it, because the others would
        count as all. *open_keys* returns the present keys; without it nobody else ends an incident. Incidents open by a
        declaration alone are in neither. *others*: the other sites with a vote.
        """
        self._briefs = briefs
        #: The reported agencies; few policies are ever needed.
        self._agencies = set(briefs.agencies)
        self._alerting = alerting
        self._metrics = metrics
        self._clock = clock
        self._quorum = quorum or Quorum()
        self._others = others
        #: Those of them with a status of an agency.
        self._spoken: set[str] = set()
        self._site = site
        #: By dedup key and site.
        self._said: dict[str, dict[str, SiteStatus]] = {}
        #: Sites with a vote; `None`: all.
        self._fresh: AbstractSet[str] | None = None
        self._told: dict[str, IncidentType] = {}
        #: By agency: start of the reported outage, and the time of the report.
        self._outages: dict[str, tuple[datetime, datetime]] = {}
        #: By dedup key: a lesser type than reported, and since when.
        self._less: dict[str, tuple[IncidentType, datetime]] = {}
        #: Number of reported monitoring faults by metric labels.
        self._told_of: Counter[tuple[str, str]] = Counter()
        #: Agencies with statuses of several voting sites, and whether they disagree.
        self._disputed: dict[str, bool] = {}
        self._open_keys = open_keys
        self._looked_up_at = clock.now()
        #: By dedup key: an incident that a person closed while it is still detected.
        self.ended_by_hand: dict[str, Incident] = {}
        #: Dedup keys of failed events.
        self._untold: set[str] = set()
        #: Set when something may have to be reported.
        self._poked = asyncio.Event()
        #: Dedup keys whose status may differ from the report. Few: most runs change nothing, and there are thousands.
        self._unsettled: set[str] = set()
        #: Flapping of the joint status: each site may have seen too little of it.
        self._flapping_policy = flapping or FlappingPolicy()
        self._flapping: dict[str, Flapping] = {}
        #: By agency: until when a recovery is doubted, and when it was found.
        self._unbelieved: dict[str, tuple[datetime, datetime]] = {}
        for key, matter in open_incidents.items():
            self._note_told(key, matter)

    # -- agencies of this process --------------------------------------------------------------------------------

    @property
    def agencies(self) -> AbstractSet[str]:
        """The reported agencies."""
        return self._agencies

    @property
    def told(self) -> Mapping[str, IncidentType]:
        """Reported types that are not over, by dedup key."""
        return MappingProxyType(self._told)

    def brief(self, briefs: Briefs) -> None:
        """Replace the policies. An open incident keeps its own."""
        self._briefs = briefs

    def believe(self, flapping: FlappingPolicy) -> None:
        """Replace the flapping policy; the recorded falls stay."""
        self._flapping_policy = flapping
        for each in self._flapping.values():
            each.policy = flapping

    def restore_falls(self, falls: Mapping[str, Sequence[datetime]], unsteady: AbstractSet[str]) -> None:
        """Restore recent falls of agencies from their incidents, and those held open; after `gain`."""
        for agency in falls.keys() & self._agencies - self._flapping.keys():
            flapping = self._flapping[agency] = Flapping(self._flapping_policy)
            flapping.restore(falls[agency], is_down=agency in self._told, is_unsteady=agency in unsteady)

    def restore_outages(self, outages: Mapping[str, tuple[datetime, datetime]]) -> None:
        """Restore start and report time of outages; after `gain`."""
        self._outages |= {key: outages[key] for key in outages.keys() & self._told.keys() & self._agencies}

    def gain(self, agencies: AbstractSet[str], open_incidents: Mapping[str, IncidentType]) -> None:
        """Report *agencies* from now on, for which there are policies; *open_incidents*: what was reported."""
        self._agencies |= agencies
        self._unsettled |= agencies
        for agency in agencies:
            # Drop what another process of this site said: this one evaluates from now on.
            self._said.get(agency, {}).pop(self._site, None)
        for key, matter in open_incidents.items():
            if agency_of(key) in agencies:
                self._note_told(key, matter)

    def release(self, agencies: AbstractSet[str]) -> None:
        """Stop reporting *agencies*. Their incidents stay open, because their end is unknown here.

        Statuses of other sites are kept until they come back.
        """
        self._leave(agencies)
        for agency in agencies:
            self._said.get(agency, {}).pop(self._site, None)

    def hand_over(self, agencies: AbstractSet[str]) -> None:
        """Stop reporting *agencies* and our accounts there: another process does, and ends their incidents."""
        self._leave(agencies)
        for key in [key for key in self._told.keys() | self._said.keys() if agency_of(key) in agencies]:
            self._note_told(key, None)
            # The last status stays valid until the other process replaces it.
            if key.startswith(OURS):
                self._said.get(key, {}).pop(self._site, None)

    def inherit(self, open_incidents: Mapping[str, IncidentType]) -> AbstractSet[str]:
        """Take over the reported monitoring faults of dead processes; return the unknown ones.

        A process that sees the recovery ends them. A live one in trouble reports again.
        """
        # The operations centre also has incidents without a site: an alert, or an unreachable person.
        left = {
            key for key in open_incidents.keys() - self._told.keys() if key.startswith(OURS) and agency_of(key) is None
        }
        for key in left:
            self._note_told(key, open_incidents[key])
        self._unsettled |= left
        return left

    def _leave(self, agencies: AbstractSet[str]) -> None:
        self._agencies -= agencies
        for agency in agencies:
            self._told.pop(agency, None)
            self._outages.pop(agency, None)
            self._less.pop(agency, None)
            self._flapping.pop(agency, None)
            self._unbelieved.pop(agency, None)
            self.ended_by_hand.pop(agency, None)
            self._disputed.pop(agency, None)
            self._metrics.disputed(agency, is_so=None)
            self._show_told(agency)

    # -- status --------------------------------------------------------------------------------------------------

    def hear(self, site: str, key: str, standing: SiteStatus) -> None:
        """Record a *site*'s status of an agency or a monitoring fault; `tell` reports it.

        For an agency of another process it is only stored: the agency may come to this one.
        """
        if not key.startswith(OURS):
            self._spoken.add(site)
        said = self._said.setdefault(key, {})
        if said.get(site) != standing:
            said[site] = standing
            self._unsettle(key)

    def forget(self, site: str, key: str) -> None:
        """Record that *site* has no status of something any more."""
        said = self._said.get(key, {})
        if said.pop(site, None) is not None:
            if not said:
                # Keys of a site change over time.
                del self._said[key]
            self._unsettle(key)

    def fresh(self, sites: AbstractSet[str]) -> None:
        """Count only *sites* from now on. Until the first call all count."""
        if self._fresh != sites:
            self._fresh = frozenset(sites)
            for key in self._said:
                self._unsettle(key)

    def _unsettle(self, key: str) -> None:
        if self._is_told_of(key):
            self._unsettled.add(key)

    def says(self, agency: str) -> Mapping[str, SiteStatus | None]:
        """Return each site's status of an agency by name; `None`: no vote. Empty with fewer than two statuses."""
        said = self._said.get(agency, {})
        if len(said) < 2:
            return {}
        return {
            site: each if self._fresh is None or site in self._fresh else None for site, each in sorted(said.items())
        }

    def troubled(self, agency: str) -> AbstractSet[str]:
        """Return the unhealthy routes of an agency at voting sites, whichever process reports it."""
        said = self._said.get(agency, {}).items()
        voices = (each for site, each in said if self._fresh is None or site in self._fresh)
        return frozenset(route for each in voices for route in each.failing_routes)

    def together(self, agency: str) -> SiteStatus | None:
        """Return the joint status of an agency; `None`: fewer than two voting sites have one, or it is invalid."""
        said, silent = self._votes(agency)
        try:
            return agreed(said, self._quorum, silent) if len(said) + len(silent) > 1 else None
        except (TypeError, OverflowError):
            # The comparison logs the error; the page is shown nevertheless.
            return None

    def ails_us(self, key: str) -> bool:
        """Whether a monitoring fault is active at this site."""
        standing = self._said.get(key, {}).get(self._site)
        return standing is not None and standing.trouble is not None

    def ailing_sites(self) -> Mapping[str, datetime]:
        """Return other sites that are silent or cannot evaluate, and since when."""
        said = ((key, self._said[key].get(self._site)) for key in self._said if key.startswith(SITES))
        troubles = ((key, standing.trouble) for key, standing in said if standing is not None)
        return {key.removeprefix(SITES): trouble.since for key, trouble in troubles if trouble is not None}

    def short_of_sites_since(self) -> datetime | None:
        """Return since when too few sites are connected for any report; `None`: enough are."""
        standing = self._said.get(QUORUM, {}).get(self._site)
        return None if standing is None or standing.trouble is None else standing.trouble.since

    def _is_told_of(self, key: str) -> bool:
        return key.startswith(OURS) or key in self._agencies

    def told_faults(self) -> AbstractSet[tuple[str, str]]:
        """Return the reported monitoring faults as metric labels (`fault_of`)."""
        return {fault for fault, incidents in self._told_of.items() if incidents > 0}

    # -- reporting -----------------------------------------------------------------------------------------------

    def poke(self) -> None:
        """Wake `keep_telling`. Not awaited: probes must not wait for a database that may not even refuse."""
        self._poked.set()

    async def keep_telling(self) -> NoReturn:
        """Report whenever woken, and retry failed events: the next run may be minutes away."""
        await run_periodically("incident reporter", self._tell_when_poked, timedelta(0))

    async def _tell_when_poked(self) -> None:
        await self._poked.wait()
        self._poked.clear()
        if not await self.tell():
            self._poked.set()
            await asyncio.sleep(_RETRY.total_seconds())

    async def tell(self) -> bool:
        """Report all differences; return whether all events succeeded.

        Not reentrant: a report is recorded after its event.
        """
        now = self._clock.now()
        try:
            await self._look_up(now)
            self._unsettled |= {*self._ripe(now), *self._quiet(now)}
            # Agencies first: a short code consists of capital letters and digits.
            for number, key in enumerate(sorted(self._unsettled), 1):
                await self._compare(key, now)
                if number % AT_A_TIME == 0:
                    await asyncio.sleep(0)
        except StoreUnavailable:
            return False
        return not self._untold & self._unsettled

    async def _look_up(self, now: datetime) -> None:
        """Drop the reports of incidents that were closed elsewhere.

        Then a present problem is reported again. Only the engine suppresses what a person closed, for a while:
        otherwise an agency whose one route never recovers would never be reported again.
        """
        if self._open_keys is None or timedelta(0) <= now - self._looked_up_at < _LOOK_UP:
            return
        self._looked_up_at = now
        try:
            ended = self._told.keys() - await self._open_keys()
        except StoreUnavailable:
            raise
        # A bug here must not prevent reports.
        except Exception:
            log.exception("open incidents could not be read; retrying")
            return
        for key in ended:
            self._note_told(key, None)
        self._unsettled |= ended

    async def _compare(self, key: str, now: datetime) -> None:
        # Discard first: the status may change during the report.
        self._unsettled.discard(key)
        if not self._is_told_of(key):
            return  # Removed, or taken by another process, during an earlier report.
        try:
            if len(self._said.get(key, ())) > 1 or key in self._disputed:
                said = self._counted(key)
                self._show_dispute(key, is_so=disagree(said) if len(said) > 1 else None)
            standing = self._agreed(key)
            if standing is None:
                # No status, or removed (a person ends that), or invisible now: a lesser type has not lasted.
                self._less.pop(key, None)
                return
            if standing.trouble is not None:
                await self._tell(key, self._as_it_flaps(key, standing.trouble, now), standing, now)
            elif key in self._told and (ended_at := self._ended_at(key, standing, now)) is not None:
                await self._tell_over(key, ended_at, now)
        except StoreUnavailable:
            self._unsettled.add(key)
            raise
        # An invalid status of one must not prevent other reports.
        except Exception:
            if self._owe(key):
                log.exception("comparison of incidents with site statuses failed; retrying", key=key)

    def _as_it_flaps(self, key: str, trouble: ActiveProblem, now: datetime) -> ActiveProblem:
        """Record a fall, and return the problem with whether it flaps.

        A site detects the flapping of its own status.
        """
        if key.startswith(OURS) or len(self._said[key]) < 2:
            return trouble
        flapping = self._flapping.setdefault(key, Flapping(self._flapping_policy))
        flapping.fell(now)
        self._unbelieved.pop(key, None)
        return replace(trouble, flapping=trouble.flapping or flapping.is_unsteady)

    def _is_believed(self, key: str, now: datetime) -> bool:
        """Record a recovery; return whether it has lasted long enough to be reported."""
        if (flapping := self._flapping.get(key)) is None or len(self._said[key]) < 2:
            return True
        if (until := flapping.rose(now, now)) is None:
            self._unbelieved.pop(key, None)
            return True
        self._unbelieved[key] = until, now
        return False

    async def _tell(self, key: str, trouble: ActiveProblem, standing: SiteStatus, now: datetime) -> None:
        told, less_since = self._told.get(key), None
        if told is not None and not is_news(trouble.type, told):
            # During a recovery the type becomes lesser from run to run; what remains is reported once it has lasted.
            less_since = self._less_since(key, trouble.type, told, standing, now)
            if less_since is None or now - less_since < _LASTS:
                return
        event = Trigger(
            dedup_key=key,
            at=now,
            type=trouble.type,
            began_at=trouble.since,
            policy=self._brief_for(key, standing),
            flapping=trouble.flapping,
            latest_at=trouble.latest,
            less_since=less_since,
        )
        if await self._submit(event):
            self._note_told(key, trouble.type)
            if not key.startswith(OURS):
                self._outages[key] = trouble.since, now

    def _agreed(self, key: str) -> SiteStatus | None:
        if key.startswith(OURS):
            # A site's own fault needs its own vote only.
            return agreed(self._said.get(key, {}).values(), Quorum())
        if self._site not in self._said.get(key, {}):
            return None
        said, silent = self._votes(key)
        return agreed(said, self._quorum, silent)

    def _votes(self, agency: str) -> tuple[Sequence[SiteStatus], Sequence[SiteStatus]]:
        """Return the voting statuses of an agency, and the last ones of sites without a vote.

        A site that never reported may see everything.
        """
        said = self._said.get(agency, {})
        if self._fresh is None:
            return [*votes_of(said, self._quorum).values()], []
        heard = votes_of({site: each for site, each in said.items() if site in self._fresh}, self._quorum)
        known = dict.fromkeys(self._others - self._spoken, UNTROUBLED) | said
        silent = votes_of({site: each for site, each in known.items() if site not in self._fresh}, self._quorum)
        return [*heard.values()], [each for voter, each in silent.items() if voter not in heard]

    def _counted(self, agency: str) -> Sequence[SiteStatus]:
        """Return the statuses of an agency with a vote."""
        said = self._said.get(agency, {})
        return [each for site, each in said.items() if self._fresh is None or site in self._fresh]

    def _show_dispute(self, agency: str, *, is_so: bool | None) -> None:
        """Export whether sites disagree about an agency; `None`: fewer than two voting sites have a status."""
        if self._disputed.get(agency) == is_so:
            return
        self._disputed.pop(agency, None)
        if is_so is not None:
            self._disputed[agency] = is_so
        self._metrics.disputed(agency, is_so=is_so)
        self._show_told(agency)

    def _show_told(self, key: str) -> None:
        """Export the joint outage reported by several sites; a single site's is exported by its evaluator."""
        if not self._others or key.startswith(OURS):
            return
        told = self._told.get(key)
        is_known = told in OUTAGES if told is not None else key in self._disputed
        self._metrics.outage_agreed(key, WAYS.get(told, ()) if told is not None else (), is_known=is_known)

    def _brief_for(self, key: str, standing: SiteStatus) -> PolicySnapshot:
        if not key.startswith(OURS):
            return replace(self._briefs.agencies[key], cause=standing.cause)
        blame, _, name = key.removeprefix(OURS).partition("/")
        return self._briefs.ours(FaultSource(FaultDomain(blame), name))

    def _ended_at(self, key: str, standing: SiteStatus, now: datetime) -> datetime | None:
        """Return the end of a reported problem; `None`: not over, or doubted.

        Sites that saw it may be lost, and the others may have been well only because they have not probed since.
        """
        ended_at = standing.up_since
        if ended_at is None or not (key.startswith(OURS) or can_end(self._told[key], standing.directions)):
            return None
        began, told_at = self._outages.get(key, (ended_at, now))
        if ended_at < began and len(self._said[key]) > 1:
            seen = [each.up_since for each in self._counted(key) if each.up_since and each.up_since >= began]
            told_at = min(told_at, now)
            self._outages[key] = began, told_at
            if not seen and now - told_at < _LASTS:
                self._unbelieved[key] = told_at + _LASTS, now
                return None
            ended_at = min(seen, default=now)
        return ended_at if self._is_believed(key, now) else None

    def _less_since(
        self, key: str, matter: IncidentType, told: IncidentType, standing: SiteStatus, now: datetime
    ) -> datetime | None:
        """Return since when it is proven that no more than *matter* is wrong, which is less than reported."""
        if not is_proven_less(matter, told, standing.directions):
            self._less.pop(key, None)
            return None
        known, since = self._less.get(key, (matter, now))
        self._less[key] = matter, (since if known is matter else now)
        return self._less[key][1]

    def _ripe(self, now: datetime) -> Collection[str]:
        """Return the keys whose lesser type has lasted long enough, without a new status."""
        # After the clock was set back the time counts from now.
        self._less = {key: (matter, min(since, now)) for key, (matter, since) in self._less.items()}
        return [key for key, (_, since) in self._less.items() if now - since >= _LASTS]

    def _quiet(self, now: datetime) -> Collection[str]:
        """Return the keys whose recovery is not doubted any more, without a new status."""
        # A clock set back restarts the stable time.
        return [key for key, (until, found_at) in self._unbelieved.items() if not found_at <= now < until]

    async def _tell_over(self, key: str, ended_at: datetime, now: datetime) -> None:
        if await self._submit(Resolve(dedup_key=key, at=now, ended_at=ended_at)):
            self._note_told(key, None)

    def _note_told(self, key: str, matter: IncidentType | None) -> None:
        """Record the reported type; `None`: over."""
        before = self._told.pop(key, None)
        for notes in (self._outages, self._less, self._unbelieved):
            notes.pop(key, None)
        if matter is not None:
            self._told[key] = matter
        if matter is not before:
            self._show_told(key)
        if key.startswith(OURS):
            blame, _, name = key.removeprefix(OURS).partition("/")
            self._told_of[fault_of(blame, name)] += (matter is not None) - (before is not None)

    async def _submit(self, event: Trigger | Resolve) -> bool:
        """Submit an event; return whether it succeeded and its key still belongs to this process."""
        key = event.dedup_key
        try:
            incident = await self._alerting.submit(event)
        except StoreUnavailable:
            raise
        # A bug in one event must not prevent others.
        except Exception:
            if self._owe(key):
                log.exception("incident event could not be submitted; retrying", key=key)
            return False
        self._untold.discard(key)
        if not self._is_told_of(key) or self._site not in self._said.get(key, ()):
            # Removed, or taken by another process meanwhile: a record here would end its incident.
            return False
        is_held = isinstance(event, Trigger) and incident is not None and not incident.is_open
        self._note_ended_by_hand(key, incident if is_held else None)
        return True

    def _owe(self, key: str) -> bool:
        """Mark a failed event for a retry; return whether it is new and must be logged."""
        is_first = key not in self._untold
        self._untold.add(key)
        self._unsettled.add(key)
        return is_first

    def _note_ended_by_hand(self, key: str, incident: Incident | None) -> None:
        """Record and export a problem that is detected although a person closed it: it must not look healthy."""
        self.ended_by_hand.pop(key, None)
        if incident is not None:
            self.ended_by_hand[key] = incident
        if not key.startswith(OURS):
            self._metrics.ended_by_hand(key, is_so=incident is not None)


def outages_of(incidents: Iterable[Incident]) -> Mapping[str, tuple[datetime, datetime]]:
    """Return start and earliest report time of each detected incident, by dedup key."""
    measured = {each.dedup_key: each for each in incidents if each.detected is not None}
    return {
        key: (each.reported_type_began_at, max(each.reported_type_began_at, each.opened_at))
        for key, each in measured.items()
    }


def fault_of(blame: str, name: str) -> tuple[str, str]:
    """Return the metric labels of a monitoring fault: its cause, and the mailbox or site, or ""."""
    return _CAUSES.get(blame, blame), name
