"""Reporter of outages and monitoring faults to the notification engine, as events that open, change and end incidents.

A site is a location that probes the mail of agencies, and determines a status of each agency. The sites vote, unless
they have sent nothing lately: when a quorum of them agrees, its vote is the joint status of an agency. When a site's
status changes, the reporter compares the joint status with the type of the incident that it reported last, and submits
the difference as an event. It receives the open incidents at the start, so that it also reports changes that happened
while this process was down.

A status belongs to a dedup key: the short code of an agency, or the key of a monitoring fault (a fault of the
monitoring itself, such as the network of a site). It has the present problem (`trouble`), or the time since when
everything works (`up_since`), or neither.
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
from alerts.model.incident import OUTAGES, Incident, is_significant_change
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.bridge.incident_policy import agency_of
from monitor.evaluation.attribution import FaultDomain
from monitor.evaluation.evaluator import ATTRIBUTIONS_PER_STEP
from monitor.evaluation.flapping import Flapping, FlappingPolicy
from monitor.evaluation.incident_type import TYPE_DIRECTIONS, can_prove_end, is_partial_recovery
from monitor.evaluation.joint.quorum import Quorum, joint_status, sites_disagree, votes_by_voter
from monitor.evaluation.joint.site_status import UNTROUBLED, SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem, FaultSource
from monitor.metrics import Metrics
from monitor.runtime.repeat import run_periodically

log = structlog.get_logger()

#: Prefix of the dedup keys of monitoring faults. An agency's key is its short code.
MONITORING_FAULT_PREFIX = "ours/"

#: Prefix of the dedup keys of faults of other sites, which send no status or cannot evaluate.
SITE_FAULT_PREFIX = f"{MONITORING_FAULT_PREFIX}{FaultDomain.SITE}/"

#: Dedup key of the fault that too few sites are connected.
QUORUM_FAULT_KEY = f"{MONITORING_FAULT_PREFIX}{FaultDomain.QUORUM}"
#: Monitoring faults that the hub (the installation that decides for several sites) detects, and not the evaluator.
HUB_FAULT_PREFIXES = (SITE_FAULT_PREFIX, QUORUM_FAULT_KEY)

#: Retry interval of failed events.
_RETRY_INTERVAL = timedelta(seconds=2)

#: Interval for reading the open incidents: a person may have closed an incident, or marked it as a false alarm.
_OPEN_KEYS_INTERVAL = timedelta(minutes=1)

#: Time that a partial recovery must last before a lesser type of incident is reported (only receiving fails, instead of
#: both directions). Also the time that the voting sites must see an agency up before they end an outage that only other
#: sites saw. It is long enough for a regular run of every route.
_CONFIRMATION_PERIOD = timedelta(minutes=10)

#: Names in metrics of the fault domains that have another name there.
_METRIC_CAUSES = {str(FaultDomain.PANTAU): "configuration"}


class Alerting(Protocol):
    """The part of `alerts.engine.dispatcher.Dispatcher` that is used here."""

    async def submit(self, event: Event) -> Incident | None:
        """Process an event. Return its incident after the event, or `None` if the event applies to none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentPolicies:
    """Currently configured policies of incidents."""

    #: Policy of each agency, by short code.
    agencies: Mapping[str, PolicySnapshot]
    #: Returns the policy for a monitoring fault.
    monitoring_fault: Callable[[FaultSource], PolicySnapshot]


class IncidentReporter:
    """Comparison of the sites' statuses with the reported incidents, for the agencies that this process monitors."""

    def __init__(
        self,
        *,
        policies: IncidentPolicies,
        alerting: Alerting,
        metrics: Metrics,
        clock: Clock,
        site: str,
        open_incidents: Mapping[str, IncidentType],
        open_keys: Callable[[], Awaitable[Collection[str]]] | None = None,
        quorum: Quorum | None = None,
        other_sites: AbstractSet[str] = frozenset(),
        flapping: FlappingPolicy | None = None,
    ) -> None:
        """*site*: this site. Nothing is reported about an agency until this site has a status of it.

        *other_sites*: the other sites that may vote. *quorum*: the required number of votes. *open_incidents*: the
        reported type of each open incident, by dedup key. *open_keys* returns the dedup keys of the incidents that are
        open now; without it, the reporter assumes that nobody else ends incidents. Neither contains incidents that a
        person declared and no probe detected.
        """
        self._policies = policies
        #: Agencies that this process reports.
        self._agencies = set(policies.agencies)
        self._alerting = alerting
        self._metrics = metrics
        self._clock = clock
        self._quorum = quorum or Quorum()
        self._other_sites = other_sites
        #: Sites that have ever reported a status of an agency.
        self._reporting_sites: set[str] = set()
        self._site = site
        #: Statuses by dedup key and site.
        self._statuses: dict[str, dict[str, SiteStatus]] = {}
        #: Sites with a vote now; `None`: all.
        self._voting_sites: AbstractSet[str] | None = None
        #: Type of the reported incident, by dedup key.
        self._reported_types: dict[str, IncidentType] = {}
        #: Start and report time of the reported outage, by agency.
        self._reported_outages: dict[str, tuple[datetime, datetime]] = {}
        #: By dedup key, while the present type is lesser than the reported one: the present type, and since when.
        self._lesser_types: dict[str, tuple[IncidentType, datetime]] = {}
        #: Number of reported monitoring faults, by metric labels.
        self._reported_fault_counts: Counter[tuple[str, str]] = Counter()
        #: Whether the voting sites disagree, by agency. Only agencies with statuses of several voting sites are
        #: present.
        self._disagreements: dict[str, bool] = {}
        self._open_keys = open_keys
        self._open_keys_read_at = clock.now()
        #: Incidents that a person closed while the problem is still detected, by dedup key.
        self.manually_closed: dict[str, Incident] = {}
        #: Dedup keys whose last event failed.
        self._failed_keys: set[str] = set()
        #: Set when something may have to be reported.
        self._wake_event = asyncio.Event()
        #: Dedup keys whose status may differ from the reported one. Only these are compared, because most of the
        #: thousands of runs per minute change no status.
        self._pending_keys: set[str] = set()
        #: Flapping of the joint status, by agency: repeated falls (changes to down). Each single site may have seen too
        #: few falls to detect it.
        self._flapping_policy = flapping or FlappingPolicy()
        self._flapping: dict[str, Flapping] = {}
        #: Unconfirmed recoveries, by agency: when to examine the recovery again, and when it was recorded.
        self._unconfirmed_recoveries: dict[str, tuple[datetime, datetime]] = {}
        for key, incident_type in open_incidents.items():
            self._set_reported_type(key, incident_type)

    # -- agencies of this process --------------------------------------------------------------------------------

    @property
    def agencies(self) -> AbstractSet[str]:
        """Agencies that this process reports."""
        return self._agencies

    @property
    def reported_types(self) -> Mapping[str, IncidentType]:
        """Types of the reported incidents that have not ended, by dedup key."""
        return MappingProxyType(self._reported_types)

    def set_policies(self, policies: IncidentPolicies) -> None:
        """Replace the policies. An open incident keeps the policy that it was opened with."""
        self._policies = policies

    def set_flapping_policy(self, flapping: FlappingPolicy) -> None:
        """Replace the flapping policy. Recorded falls are kept."""
        self._flapping_policy = flapping
        for agency_flapping in self._flapping.values():
            agency_flapping.policy = flapping

    def restore_falls(self, falls: Mapping[str, Sequence[datetime]], flapping_agencies: AbstractSet[str]) -> None:
        """Restore the recent falls (changes to down) of agencies from their incidents. Call it after `add_agencies`.

        *flapping_agencies*: agencies whose incident stays open because they were flapping.
        """
        for agency in falls.keys() & self._agencies - self._flapping.keys():
            flapping = self._flapping[agency] = Flapping(self._flapping_policy)
            flapping.restore(
                falls[agency], is_down=agency in self._reported_types, is_flapping=agency in flapping_agencies
            )

    def restore_outages(self, outages: Mapping[str, tuple[datetime, datetime]]) -> None:
        """Restore start and report time of outages. Call it after `add_agencies`."""
        self._reported_outages |= {
            key: outages[key] for key in outages.keys() & self._reported_types.keys() & self._agencies
        }

    def add_agencies(self, agencies: AbstractSet[str], open_incidents: Mapping[str, IncidentType]) -> None:
        """Report *agencies* from now on. Their policies must be set. *open_incidents*: reported types by dedup key."""
        self._agencies |= agencies
        self._pending_keys |= agencies
        for agency in agencies:
            # Drop the status from another process of this site, because this process evaluates the agency from now on.
            self._statuses.get(agency, {}).pop(self._site, None)
        for key, incident_type in open_incidents.items():
            if agency_of(key) in agencies:
                self._set_reported_type(key, incident_type)

    def remove_agencies(self, agencies: AbstractSet[str]) -> None:
        """Stop reporting *agencies*. Their incidents stay open, because this process cannot detect their end any more.

        Statuses of other sites are kept, in case the agencies are added again.
        """
        self._drop_agencies(agencies)
        for agency in agencies:
            self._statuses.get(agency, {}).pop(self._site, None)

    def transfer_agencies(self, agencies: AbstractSet[str]) -> None:
        """Stop reporting *agencies* and the faults of their probe accounts, because another process takes them over."""
        self._drop_agencies(agencies)
        for key in [key for key in self._reported_types.keys() | self._statuses.keys() if agency_of(key) in agencies]:
            self._set_reported_type(key, None)
            # The last status of an agency itself stays valid until the other process replaces it.
            if key.startswith(MONITORING_FAULT_PREFIX):
                self._statuses.get(key, {}).pop(self._site, None)

    def take_over_faults(self, open_incidents: Mapping[str, IncidentType]) -> AbstractSet[str]:
        """Take over the reported monitoring faults of dead processes; return the dedup keys that are new here.

        The first process that detects the recovery ends the incident. A process that still has the fault reports it
        again.
        """
        # Other incidents of the NOC (network operations centre), about alerts and unreachable people, are left out.
        new_keys = {
            key
            for key in open_incidents.keys() - self._reported_types.keys()
            if key.startswith(MONITORING_FAULT_PREFIX) and agency_of(key) is None
        }
        for key in new_keys:
            self._set_reported_type(key, open_incidents[key])
        self._pending_keys |= new_keys
        return new_keys

    def _drop_agencies(self, agencies: AbstractSet[str]) -> None:
        self._agencies -= agencies
        for agency in agencies:
            self._reported_types.pop(agency, None)
            self._reported_outages.pop(agency, None)
            self._lesser_types.pop(agency, None)
            self._flapping.pop(agency, None)
            self._unconfirmed_recoveries.pop(agency, None)
            self.manually_closed.pop(agency, None)
            self._disagreements.pop(agency, None)
            self._metrics.set_disputed(agency, is_disputed=None)
            self._export_reported_outage(agency)

    # -- status --------------------------------------------------------------------------------------------------

    def record_status(self, site: str, key: str, status: SiteStatus) -> None:
        """Record a *site*'s status of an agency or a monitoring fault, for the next `report`.

        A status of an agency that another process reports is only kept, because this process may take the agency over.
        """
        if not key.startswith(MONITORING_FAULT_PREFIX):
            self._reporting_sites.add(site)
        statuses = self._statuses.setdefault(key, {})
        if statuses.get(site) != status:
            statuses[site] = status
            self._mark_pending(key)

    def remove_status(self, site: str, key: str) -> None:
        """Record that *site* has no status of *key* any more."""
        statuses = self._statuses.get(key, {})
        if statuses.pop(site, None) is not None:
            if not statuses:
                # The keys of a site change over time, and the dictionary must not grow without limit.
                del self._statuses[key]
            self._mark_pending(key)

    def set_voting_sites(self, sites: AbstractSet[str]) -> None:
        """Count only the statuses of *sites* from now on. Until the first call all sites count."""
        if self._voting_sites != sites:
            self._voting_sites = frozenset(sites)
            for key in self._statuses:
                self._mark_pending(key)

    def _mark_pending(self, key: str) -> None:
        if self._is_responsible_for(key):
            self._pending_keys.add(key)

    def site_statuses(self, agency: str) -> Mapping[str, SiteStatus | None]:
        """Return an agency's statuses by site, `None` for a site without a vote; empty with fewer than two statuses."""
        statuses = self._statuses.get(agency, {})
        if len(statuses) < 2:
            return {}
        return {
            site: status if self._voting_sites is None or site in self._voting_sites else None
            for site, status in sorted(statuses.items())
        }

    def failing_routes(self, agency: str) -> AbstractSet[str]:
        """Return the unhealthy routes of an agency at voting sites. The agency may be one of another process."""
        statuses = self._statuses.get(agency, {}).items()
        voting = (status for site, status in statuses if self._voting_sites is None or site in self._voting_sites)
        return frozenset(route for status in voting for route in status.failing_routes)

    def joint_status(self, agency: str) -> SiteStatus | None:
        """Return the joint status of an agency; `None` if fewer than two sites have a status, or one is invalid."""
        statuses, silent = self._votes(agency)
        try:
            return joint_status(statuses, self._quorum, silent) if len(statuses) + len(silent) > 1 else None
        except (TypeError, OverflowError):
            # `report` logs the error. The web page that calls this method must work nevertheless.
            return None

    def has_fault(self, key: str) -> bool:
        """Whether this site has a monitoring fault with this key."""
        status = self._statuses.get(key, {}).get(self._site)
        return status is not None and status.trouble is not None

    def faulty_sites(self) -> Mapping[str, datetime]:
        """Return the other sites that send no status or cannot evaluate, and since when."""
        statuses = (
            (key, by_site.get(self._site))
            for key, by_site in self._statuses.items()
            if key.startswith(SITE_FAULT_PREFIX)
        )
        troubles = ((key, status.trouble) for key, status in statuses if status is not None)
        return {key.removeprefix(SITE_FAULT_PREFIX): trouble.since for key, trouble in troubles if trouble is not None}

    def quorum_missing_since(self) -> datetime | None:
        """Return since when too few sites are connected to report an outage; `None`: enough are connected."""
        status = self._statuses.get(QUORUM_FAULT_KEY, {}).get(self._site)
        return None if status is None or status.trouble is None else status.trouble.since

    def _is_responsible_for(self, key: str) -> bool:
        return key.startswith(MONITORING_FAULT_PREFIX) or key in self._agencies

    def reported_faults(self) -> AbstractSet[tuple[str, str]]:
        """Return the reported monitoring faults as metric labels (`fault_of`)."""
        return {fault for fault, incidents in self._reported_fault_counts.items() if incidents > 0}

    # -- reporting -----------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Make `run` report soon, without waiting for it: a probe must not wait for a database that may hang."""
        self._wake_event.set()

    async def run(self) -> NoReturn:
        """Report whenever woken. Retry failed events: the next probe that wakes this task may be minutes away."""
        await run_periodically("incident reporter", self._report_when_woken, timedelta(0))

    async def _report_when_woken(self) -> None:
        await self._wake_event.wait()
        self._wake_event.clear()
        if not await self.report():
            self._wake_event.set()
            await asyncio.sleep(_RETRY_INTERVAL.total_seconds())

    async def report(self) -> bool:
        """Report all differences. Return whether all events succeeded.

        Not reentrant: the reported type is recorded after its event, so that a second call would submit the event
        again.
        """
        now = self._clock.now()
        try:
            await self._drop_closed(now)
            self._pending_keys |= {*self._lasting_lesser_types(now), *self._recoveries_to_reexamine(now)}
            # Agencies sort before monitoring faults: codes have capital letters and digits, "ours/" has small letters.
            for number, key in enumerate(sorted(self._pending_keys), 1):
                await self._compare(key, now)
                # Other tasks run from time to time.
                if number % ATTRIBUTIONS_PER_STEP == 0:
                    await asyncio.sleep(0)
        except StoreUnavailable:
            return False
        return not self._failed_keys & self._pending_keys

    async def _drop_closed(self, now: datetime) -> None:
        """Drop the reported types of incidents that were closed elsewhere, so that a present problem is reported again.

        The engine suppresses a problem whose incident a person closed, but only for a while. The reporter must not
        suppress it, too: an agency with one route that never recovers would never be reported again.
        """
        if self._open_keys is None or timedelta(0) <= now - self._open_keys_read_at < _OPEN_KEYS_INTERVAL:
            return
        self._open_keys_read_at = now
        try:
            ended = self._reported_types.keys() - await self._open_keys()
        except StoreUnavailable:
            raise
        # An unexpected error, which is a bug, must not prevent reports.
        except Exception:
            log.exception("open incidents could not be read; retrying")
            return
        for key in ended:
            self._set_reported_type(key, None)
        self._pending_keys |= ended

    async def _compare(self, key: str, now: datetime) -> None:
        """Compare the status of *key* with the reported type, and report the difference."""
        # The key is discarded first, because its status may change during the report.
        self._pending_keys.discard(key)
        if not self._is_responsible_for(key):
            return  # The agency was removed, or taken over by another process, during the report of an earlier key.
        try:
            if len(self._statuses.get(key, ())) > 1 or key in self._disagreements:
                statuses = self._voting_statuses(key)
                self._set_disagreement(key, is_disputed=sites_disagree(statuses) if len(statuses) > 1 else None)
            status = self._status_to_report(key)
            if status is None:
                # A lesser type needs a status. Its confirmation period begins again with the next status.
                self._lesser_types.pop(key, None)
                return
            if status.trouble is not None:
                await self._report_problem(key, self._record_fall(key, status.trouble, now), status, now)
            elif key in self._reported_types and (ended_at := self._confirmed_end(key, status, now)) is not None:
                await self._report_end(key, ended_at, now)
        except StoreUnavailable:
            self._pending_keys.add(key)
            raise
        # An invalid status of one key must not prevent reports of other keys.
        except Exception:
            if self._mark_failed(key):
                log.exception("comparison of incidents with site statuses failed; retrying", key=key)

    def _record_fall(self, key: str, trouble: ActiveProblem, now: datetime) -> ActiveProblem:
        """Record that the joint status of an agency is down. Return the problem with its flapping.

        If only one site has a status, that site's evaluator detects the flapping.
        """
        if key.startswith(MONITORING_FAULT_PREFIX) or len(self._statuses[key]) < 2:
            return trouble
        flapping = self._flapping.setdefault(key, Flapping(self._flapping_policy))
        flapping.record_fall(now)
        self._unconfirmed_recoveries.pop(key, None)
        return replace(trouble, flapping=trouble.flapping or flapping.is_flapping)

    def _is_recovery_confirmed(self, key: str, now: datetime) -> bool:
        """Record a recovery of the joint status. Return whether it has lasted long enough to be reported."""
        if (flapping := self._flapping.get(key)) is None or len(self._statuses[key]) < 2:
            return True
        if (reexamine_at := flapping.record_recovery(now, now)) is None:
            self._unconfirmed_recoveries.pop(key, None)
            return True
        self._unconfirmed_recoveries[key] = reexamine_at, now
        return False

    async def _report_problem(self, key: str, trouble: ActiveProblem, status: SiteStatus, now: datetime) -> None:
        reported_type, lesser_since = self._reported_types.get(key), None
        # A significant change is one to another type that is at least as severe.
        if reported_type is not None and not is_significant_change(trouble.type, reported_type):
            # During a recovery the type may change with each run. So a lesser type is reported only after the
            # confirmation period.
            lesser_since = self._lesser_type_since(key, trouble.type, reported_type, status, now)
            if lesser_since is None or now - lesser_since < _CONFIRMATION_PERIOD:
                return
        event = Trigger(
            dedup_key=key,
            at=now,
            type=trouble.type,
            began_at=trouble.since,
            policy=self._policy_for(key, status),
            flapping=trouble.flapping,
            latest_part_began_at=trouble.latest,
            less_severe_since=lesser_since,
        )
        if await self._submit(event):
            self._set_reported_type(key, trouble.type)
            if not key.startswith(MONITORING_FAULT_PREFIX):
                self._reported_outages[key] = trouble.since, now

    def _status_to_report(self, key: str) -> SiteStatus | None:
        if key.startswith(MONITORING_FAULT_PREFIX):
            # A monitoring fault needs no vote of another site.
            return joint_status(self._statuses.get(key, {}).values(), Quorum())
        if self._site not in self._statuses.get(key, {}):
            return None
        statuses, silent = self._votes(key)
        return joint_status(statuses, self._quorum, silent)

    def _votes(self, agency: str) -> tuple[Sequence[SiteStatus], Sequence[SiteStatus]]:
        """Return the statuses of an agency at sites with a vote, and the last known ones at sites without a vote.

        Sites with a shared uplink have one vote together. A site that never reported counts as disconnected, and as one
        that would vote on every problem.
        """
        statuses = self._statuses.get(agency, {})
        if self._voting_sites is None:
            return [*votes_by_voter(statuses, self._quorum).values()], []
        voting = votes_by_voter(
            {site: status for site, status in statuses.items() if site in self._voting_sites}, self._quorum
        )
        all_statuses = dict.fromkeys(self._other_sites - self._reporting_sites, UNTROUBLED) | statuses
        silent = votes_by_voter(
            {site: status for site, status in all_statuses.items() if site not in self._voting_sites}, self._quorum
        )
        return [*voting.values()], [status for voter, status in silent.items() if voter not in voting]

    def _voting_statuses(self, agency: str) -> Sequence[SiteStatus]:
        """Return the statuses of an agency at the sites with a vote, one per site."""
        statuses = self._statuses.get(agency, {})
        return [status for site, status in statuses.items() if self._voting_sites is None or site in self._voting_sites]

    def _set_disagreement(self, agency: str, *, is_disputed: bool | None) -> None:
        """Record and export whether voting sites disagree about an agency; `None`: fewer than two have a status."""
        if self._disagreements.get(agency) == is_disputed:
            return
        self._disagreements.pop(agency, None)
        if is_disputed is not None:
            self._disagreements[agency] = is_disputed
        self._metrics.set_disputed(agency, is_disputed=is_disputed)
        self._export_reported_outage(agency)

    def _export_reported_outage(self, key: str) -> None:
        """Export the reported outage of an agency, if there are several sites; a single site exports its own health."""
        if not self._other_sites or key.startswith(MONITORING_FAULT_PREFIX):
            return
        reported_type = self._reported_types.get(key)
        # Without a reported incident, it is known that there is no outage if several voting sites have a status.
        is_known = reported_type in OUTAGES if reported_type is not None else key in self._disagreements
        self._metrics.set_quorum_outage(
            key, TYPE_DIRECTIONS.get(reported_type, ()) if reported_type is not None else (), has_quorum_result=is_known
        )

    def _policy_for(self, key: str, status: SiteStatus) -> PolicySnapshot:
        if not key.startswith(MONITORING_FAULT_PREFIX):
            return replace(self._policies.agencies[key], cause=status.cause)
        domain, _, name = key.removeprefix(MONITORING_FAULT_PREFIX).partition("/")
        return self._policies.monitoring_fault(FaultSource(FaultDomain(domain), name))

    def _confirmed_end(self, key: str, status: SiteStatus, now: datetime) -> datetime | None:
        """Return the end of a reported problem; `None` if it has not ended, or the end is not confirmed yet.

        If everything works since before the outage began, the end needs a confirmation: the sites that saw the problem
        may be disconnected, and the remaining sites may not have probed the agency since the problem began.
        """
        ended_at = status.up_since
        if ended_at is None or not (
            key.startswith(MONITORING_FAULT_PREFIX) or can_prove_end(self._reported_types[key], status.directions)
        ):
            return None
        began_at, reported_at = self._reported_outages.get(key, (ended_at, now))
        if ended_at < began_at and len(self._statuses[key]) > 1:
            voting = self._voting_statuses(key)
            recoveries = [each.up_since for each in voting if each.up_since and each.up_since >= began_at]
            reported_at = min(reported_at, now)  # The clock may have been set back.
            self._reported_outages[key] = began_at, reported_at
            if not recoveries and now - reported_at < _CONFIRMATION_PERIOD:
                self._unconfirmed_recoveries[key] = reported_at + _CONFIRMATION_PERIOD, now
                return None
            ended_at = min(recoveries, default=now)
        return ended_at if self._is_recovery_confirmed(key, now) else None

    def _lesser_type_since(
        self, key: str, incident_type: IncidentType, reported_type: IncidentType, status: SiteStatus, now: datetime
    ) -> datetime | None:
        """Return since when it is proven that only the lesser *incident_type* remains; `None` if it is not proven."""
        if not is_partial_recovery(incident_type, reported_type, status.directions):
            self._lesser_types.pop(key, None)
            return None
        previous, since = self._lesser_types.get(key, (incident_type, now))
        self._lesser_types[key] = incident_type, (since if previous is incident_type else now)
        return self._lesser_types[key][1]

    def _lasting_lesser_types(self, now: datetime) -> Collection[str]:
        """Return the keys whose lesser type has lasted long enough to be reported."""
        # If the clock was set back, the period begins again now.
        self._lesser_types = {
            key: (incident_type, min(since, now)) for key, (incident_type, since) in self._lesser_types.items()
        }
        return [key for key, (_, since) in self._lesser_types.items() if now - since >= _CONFIRMATION_PERIOD]

    def _recoveries_to_reexamine(self, now: datetime) -> Collection[str]:
        """Return the keys whose unconfirmed recovery must be examined again: it is time, or the clock was set back."""
        return [
            key
            for key, (reexamine_at, recorded_at) in self._unconfirmed_recoveries.items()
            if not recorded_at <= now < reexamine_at
        ]

    async def _report_end(self, key: str, ended_at: datetime, now: datetime) -> None:
        if await self._submit(Resolve(dedup_key=key, at=now, ended_at=ended_at)):
            self._set_reported_type(key, None)

    def _set_reported_type(self, key: str, incident_type: IncidentType | None) -> None:
        """Record the reported type of an incident; `None`: the incident has ended."""
        before = self._reported_types.pop(key, None)
        for records in (self._reported_outages, self._lesser_types, self._unconfirmed_recoveries):
            records.pop(key, None)
        if incident_type is not None:
            self._reported_types[key] = incident_type
        if incident_type is not before:
            self._export_reported_outage(key)
        if key.startswith(MONITORING_FAULT_PREFIX):
            domain, _, name = key.removeprefix(MONITORING_FAULT_PREFIX).partition("/")
            self._reported_fault_counts[fault_of(domain, name)] += (incident_type is not None) - (before is not None)

    async def _submit(self, event: Trigger | Resolve) -> bool:
        """Submit an event. Return whether it succeeded and this process still reports its key."""
        key = event.dedup_key
        try:
            incident = await self._alerting.submit(event)
        except StoreUnavailable:
            raise
        # An unexpected error of one event, which is a bug, must not prevent other events.
        except Exception:
            if self._mark_failed(key):
                log.exception("incident event could not be submitted; retrying", key=key)
            return False
        self._failed_keys.discard(key)
        if not self._is_responsible_for(key) or self._site not in self._statuses.get(key, ()):
            # The agency was removed or taken over meanwhile. This process must not record the type, because it would
            # then end the incident.
            return False
        is_suppressed = isinstance(event, Trigger) and incident is not None and not incident.is_open
        self._set_manually_closed(key, incident if is_suppressed else None)
        return True

    def _mark_failed(self, key: str) -> bool:
        """Mark the event of *key* for a retry. Return whether this is its first failure, which must be logged."""
        is_first = key not in self._failed_keys
        self._failed_keys.add(key)
        self._pending_keys.add(key)
        return is_first

    def _set_manually_closed(self, key: str, incident: Incident | None) -> None:
        """Record and export the closed *incident* of a problem that is still detected; `None` removes the record.

        The status page needs the record, because without an open incident the agency would look healthy.
        """
        self.manually_closed.pop(key, None)
        if incident is not None:
            self.manually_closed[key] = incident
        if not key.startswith(MONITORING_FAULT_PREFIX):
            self._metrics.set_closed_manually(key, is_closed=incident is not None)


def outages_of(incidents: Iterable[Incident]) -> Mapping[str, tuple[datetime, datetime]]:
    """Return the start of each detected incident, and the earliest time of its report, by dedup key."""
    detected = {incident.dedup_key: incident for incident in incidents if incident.detected is not None}
    return {
        key: (incident.reported_type_began_at, max(incident.reported_type_began_at, incident.opened_at))
        for key, incident in detected.items()
    }


def fault_of(domain: str, name: str) -> tuple[str, str]:
    """Return the metric labels of a monitoring fault: its cause, and the mailbox or site, or ""."""
    return _METRIC_CAUSES.get(domain, domain), name
