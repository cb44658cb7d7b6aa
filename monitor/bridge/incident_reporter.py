"""What was told is compared with how things stand, and what differs is told: the bridge to the alerting side.

Level-triggered: whenever a site says how something stands, what the sites say together is compared with what the alerting
side was last told, and told again if it differs. At start that is read from the open incidents, so nothing depends on
having seen a change happen.
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

#: Dedup keys of what is our own; an agency's is its short code.
OURS = "ours/"

#: Of these, those of other sites, which no judge here knows.
SITES = f"{OURS}{FaultDomain.SITE}/"

#: And that too few are heard for anything to be told, which no judge knows, either.
QUORUM = f"{OURS}{FaultDomain.QUORUM}"
OF_HUB = (SITES, QUORUM)

#: What could not be told is told again after this.
_RETRY = timedelta(seconds=2)

#: This often it is looked up which incidents are open: a person may have closed one, or declared it a false alarm.
_LOOK_UP = timedelta(minutes=1)

#: So long one direction works again, and the other not, before that is told; and so long sites deny an outage that none of
#: them has seen, before it is over. By then a recovery has gone round all routes at usual intervals.
_LASTS = timedelta(minutes=10)

#: What the metrics call a fault of ours; the others are called as they are here.
_CAUSES = {str(FaultDomain.OURS): "configuration"}


class Alerting(Protocol):
    """The part of `alerts.engine.dispatcher.Dispatcher` that is needed here."""

    async def submit(self, event: Event) -> Incident | None:
        """Take an event in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefs:
    """Whom to tell about what, as configured now."""

    agencies: Mapping[str, PolicySnapshot]
    #: The brief for something of ours.
    ours: Callable[[FaultSource], PolicySnapshot]


class IncidentReporter:
    """Hears from sites how things stand, and tells the alerting side what differs from what it was told."""

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
        """*open_incidents*: what each open incident was told of, by dedup key; *quorum*: how many votes decide.

        *site*: ours; until it has said how an agency stands, nothing is told of it: others would be taken for all that see it.
        *open_keys* asks which keys they have now; without it nobody else ends an incident. Those that are open by a
        person's word alone are in neither: nobody was told of what is measured. *others*: the other sites that have a say.
        """
        self._briefs = briefs
        #: Those that are told of; the briefs themselves are few that are ever asked for.
        self._agencies = set(briefs.agencies)
        self._alerting = alerting
        self._metrics = metrics
        self._clock = clock
        self._quorum = quorum or Quorum()
        self._others = others
        #: Those of them that have said anything of an agency.
        self._spoken: set[str] = set()
        self._site = site
        #: By dedup key and site.
        self._said: dict[str, dict[str, SiteStatus]] = {}
        #: Those that have a vote; `None`: all.
        self._fresh: AbstractSet[str] | None = None
        self._told: dict[str, IncidentType] = {}
        #: By agency: since when it is as was told, and when that was.
        self._outages: dict[str, tuple[datetime, datetime]] = {}
        #: By dedup key: what is wrong by now where more was told, and since when that is so.
        self._less: dict[str, tuple[IncidentType, datetime]] = {}
        #: How much was told of what is ours, by what the metrics call it.
        self._told_of: Counter[tuple[str, str]] = Counter()
        #: Of which agencies several sites that have a vote say something, and whether they disagree.
        self._disputed: dict[str, bool] = {}
        self._open_keys = open_keys
        self._looked_up_at = clock.now()
        #: By dedup key: the incident that a person has ended by hand, while what it was about is measured all the same.
        self.ended_by_hand: dict[str, Incident] = {}
        #: By dedup key: what the alerting side could not take in.
        self._untold: set[str] = set()
        #: Something may be to be told.
        self._poked = asyncio.Event()
        #: By dedup key: what may stand otherwise than was last told. Few: most runs change nothing, and there are thousands.
        self._unsettled: set[str] = set()
        #: When what several sites say of an agency goes down and up too often to be believed: each may have seen too little of it.
        self._flapping_policy = flapping or FlappingPolicy()
        self._flapping: dict[str, Flapping] = {}
        #: By agency: until when it is not believed that it is over, and when that was found.
        self._unbelieved: dict[str, tuple[datetime, datetime]] = {}
        for key, matter in open_incidents.items():
            self._note_told(key, matter)

    # -- of whom is told -----------------------------------------------------------------------------------------

    @property
    def agencies(self) -> AbstractSet[str]:
        """Those of which is told."""
        return self._agencies

    @property
    def told(self) -> Mapping[str, IncidentType]:
        """What was last told and is not over, by dedup key."""
        return MappingProxyType(self._told)

    def brief(self, briefs: Briefs) -> None:
        """Tell by *briefs* from now on. An incident that is open goes on by its own."""
        self._briefs = briefs

    def believe(self, flapping: FlappingPolicy) -> None:
        """Believe by *flapping* from now on; when something fell is not forgotten."""
        self._flapping_policy = flapping
        for each in self._flapping.values():
            each.policy = flapping

    def restore_falls(self, falls: Mapping[str, Sequence[datetime]], unsteady: AbstractSet[str]) -> None:
        """Take up when agencies fell lately, by their incidents, and whose incident is held open; after `gain`."""
        for agency in falls.keys() & self._agencies - self._flapping.keys():
            flapping = self._flapping[agency] = Flapping(self._flapping_policy)
            flapping.restore(falls[agency], is_down=agency in self._told, is_unsteady=agency in unsteady)

    def restore_outages(self, outages: Mapping[str, tuple[datetime, datetime]]) -> None:
        """Restore when what was told of agencies began, and when it was told; after `gain`."""
        self._outages |= {key: outages[key] for key in outages.keys() & self._told.keys() & self._agencies}

    def gain(self, agencies: AbstractSet[str], open_incidents: Mapping[str, IncidentType]) -> None:
        """Tell of *agencies* from now on, too, of which there are briefs; *open_incidents*: what was told of them."""
        self._agencies |= agencies
        self._unsettled |= agencies
        for agency in agencies:
            # What another process of ours has said of it: this one judges from now on.
            self._said.get(agency, {}).pop(self._site, None)
        for key, matter in open_incidents.items():
            if agency_of(key) in agencies:
                self._note_told(key, matter)

    def release(self, agencies: AbstractSet[str]) -> None:
        """Tell of *agencies* no more. What is open of them stays open: nobody here knows when it ends.

        What other sites say of them is kept, for when they come back.
        """
        self._leave(agencies)
        for agency in agencies:
            self._said.get(agency, {}).pop(self._site, None)

    def hand_over(self, agencies: AbstractSet[str]) -> None:
        """Tell of *agencies* no more, nor of our accounts there: another process here does from now on, and ends what is open."""
        self._leave(agencies)
        for key in [key for key in self._told.keys() | self._said.keys() if agency_of(key) in agencies]:
            self._note_told(key, None)
            # What was said of an agency stands, until the other has it said otherwise.
            if key.startswith(OURS):
                self._said.get(key, {}).pop(self._site, None)

    def inherit(self, open_incidents: Mapping[str, IncidentType]) -> AbstractSet[str]:
        """Answer for what was told of what is our own, by processes that are gone; return what of it was not known here.

        Who sees that it is well ends it. One that lives and is in trouble tells of it again.
        """
        # The operations centre has incidents, too, of which no site speaks: an alert, or somebody who could not be told.
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

    # -- how things stand ----------------------------------------------------------------------------------------

    def hear(self, site: str, key: str, standing: SiteStatus) -> None:
        """Take in what *site* says of an agency, or of what is our own; it is told by `tell`.

        Of an agency that another process of ours tells of it is only remembered: it may come to this one.
        """
        if not key.startswith(OURS):
            self._spoken.add(site)
        said = self._said.setdefault(key, {})
        if said.get(site) != standing:
            said[site] = standing
            self._unsettle(key)

    def forget(self, site: str, key: str) -> None:
        """Take in that *site* says nothing of something any more."""
        said = self._said.get(key, {})
        if said.pop(site, None) is not None:
            if not said:
                # A site may speak of ever other things.
                del self._said[key]
            self._unsettle(key)

    def fresh(self, sites: AbstractSet[str]) -> None:
        """Count what *sites* say from now on, and nobody else. Until somebody says so, all count."""
        if self._fresh != sites:
            self._fresh = frozenset(sites)
            for key in self._said:
                self._unsettle(key)

    def _unsettle(self, key: str) -> None:
        if self._is_told_of(key):
            self._unsettled.add(key)

    def says(self, agency: str) -> Mapping[str, SiteStatus | None]:
        """Return what each site says of an agency, by its name; `None`: it has no vote. Empty where no two say anything."""
        said = self._said.get(agency, {})
        if len(said) < 2:
            return {}
        return {
            site: each if self._fresh is None or site in self._fresh else None for site, each in sorted(said.items())
        }

    def troubled(self, agency: str) -> AbstractSet[str]:
        """Return the routes of an agency that are in trouble at a site that has a vote, whoever of ours tells of it."""
        said = self._said.get(agency, {}).items()
        voices = (each for site, each in said if self._fresh is None or site in self._fresh)
        return frozenset(route for each in voices for route in each.troubled)

    def together(self, agency: str) -> SiteStatus | None:
        """Return how an agency stands by all that have a vote; `None`: no two do that say anything of it, or it makes no sense."""
        said, silent = self._votes(agency)
        try:
            return agreed(said, self._quorum, silent) if len(said) + len(silent) > 1 else None
        except (TypeError, OverflowError):
            # Whoever compares says so in the log; a page is shown all the same.
            return None

    def ails_us(self, key: str) -> bool:
        """Whether something of what is our own is in trouble as this site sees it."""
        standing = self._said.get(key, {}).get(self._site)
        return standing is not None and standing.trouble is not None

    def ailing_sites(self) -> Mapping[str, datetime]:
        """Return other sites that are not heard, or cannot judge, by name, and since when."""
        said = ((key, self._said[key].get(self._site)) for key in self._said if key.startswith(SITES))
        troubles = ((key, standing.trouble) for key, standing in said if standing is not None)
        return {key.removeprefix(SITES): trouble.since for key, trouble in troubles if trouble is not None}

    def short_of_sites_since(self) -> datetime | None:
        """Return since when so few sites are heard that nothing can be told of an agency; `None`: enough are."""
        standing = self._said.get(QUORUM, {}).get(self._site)
        return None if standing is None or standing.trouble is None else standing.trouble.since

    def _is_told_of(self, key: str) -> bool:
        return key.startswith(OURS) or key in self._agencies

    def told_faults(self) -> AbstractSet[tuple[str, str]]:
        """Return the faults of ours that were told and are not over, as the metrics call them (`fault_of`)."""
        return {fault for fault, incidents in self._told_of.items() if incidents > 0}

    # -- telling -------------------------------------------------------------------------------------------------

    def poke(self) -> None:
        """Have `keep_telling` tell at once. Nobody waits for it: probing must not wait for a store that may not even refuse."""
        self._poked.set()

    async def keep_telling(self) -> NoReturn:
        """Tell whenever somebody pokes, and what could not be told again and again until it is: the next run may be minutes away."""
        await run_periodically("telling the alerting side", self._tell_when_poked, timedelta(0))

    async def _tell_when_poked(self) -> None:
        await self._poked.wait()
        self._poked.clear()
        if not await self.tell():
            self._poked.set()
            await asyncio.sleep(_RETRY.total_seconds())

    async def tell(self) -> bool:
        """Tell what stands otherwise than was last told; return whether all of it could be told.

        It is for one at a time: what was told is noted after it is.
        """
        now = self._clock.now()
        try:
            await self._look_up(now)
            self._unsettled |= {*self._ripe(now), *self._quiet(now)}
            # Agencies first: a short code is capital letters and digits.
            for number, key in enumerate(sorted(self._unsettled), 1):
                await self._compare(key, now)
                if number % AT_A_TIME == 0:
                    await asyncio.sleep(0)
        except StoreUnavailable:
            return False
        return not self._untold & self._unsettled

    async def _look_up(self, now: datetime) -> None:
        """Forget what was told of incidents that have ended without us.

        What is wrong is told again then. The alerting side keeps quiet about what a person has ended by hand, for a while,
        and about nothing else: an agency of which one route never worked again would never be told of again.
        """
        if self._open_keys is None or timedelta(0) <= now - self._looked_up_at < _LOOK_UP:
            return
        self._looked_up_at = now
        try:
            ended = self._told.keys() - await self._open_keys()
        except StoreUnavailable:
            raise
        # Our bug must not keep anybody from being told.
        except Exception:
            log.exception("could not look up what is open; trying again")
            return
        for key in ended:
            self._note_told(key, None)
        self._unsettled |= ended

    async def _compare(self, key: str, now: datetime) -> None:
        # Before, not after: it may move again while it is told of.
        self._unsettled.discard(key)
        if not self._is_told_of(key):
            return  # It has left, or another process has it, since somebody was being told of it.
        try:
            if len(self._said.get(key, ())) > 1 or key in self._disputed:
                said = self._counted(key)
                self._show_dispute(key, is_so=disagree(said) if len(said) > 1 else None)
            standing = self._agreed(key)
            if standing is None:
                # Nobody has said anything of it, or of what has left (that is ended by a person), or nobody sees it now: what is
                # less by then has not lasted meanwhile.
                self._less.pop(key, None)
                return
            if standing.trouble is not None:
                await self._tell(key, self._as_it_flaps(key, standing.trouble, now), standing, now)
            elif key in self._told and (ended_at := self._ended_at(key, standing, now)) is not None:
                await self._tell_over(key, ended_at, now)
        except StoreUnavailable:
            self._unsettled.add(key)
            raise
        # What a site says of one may make no sense: that must not keep the others from being told.
        except Exception:
            if self._owe(key):
                log.exception("could not compare what was told with what sites say; trying again", key=key)

    def _as_it_flaps(self, key: str, trouble: ActiveProblem, now: datetime) -> ActiveProblem:
        """Note that something fell, and return its trouble with whether it is believed. Of what one site sees that one has said it."""
        if key.startswith(OURS) or len(self._said[key]) < 2:
            return trouble
        flapping = self._flapping.setdefault(key, Flapping(self._flapping_policy))
        flapping.fell(now)
        self._unbelieved.pop(key, None)
        return replace(trouble, unsteady=trouble.unsteady or flapping.is_unsteady)

    def _is_believed(self, key: str, now: datetime) -> bool:
        """Note that something is well, and return whether it stays so long enough that it may be told."""
        if (flapping := self._flapping.get(key)) is None or len(self._said[key]) < 2:
            return True
        if (until := flapping.rose(now, now)) is None:
            self._unbelieved.pop(key, None)
            return True
        self._unbelieved[key] = until, now
        return False

    async def _tell(self, key: str, trouble: ActiveProblem, standing: SiteStatus, now: datetime) -> None:
        told, less_since = self._told.get(key), None
        if told is not None and not is_news(trouble.matter, told):
            # While a recovery spreads, the matter grows less from run to run; what is left of it once it has lasted is told.
            less_since = self._less_since(key, trouble.matter, told, standing, now)
            if less_since is None or now - less_since < _LASTS:
                return
        event = Trigger(
            dedup_key=key,
            at=now,
            matter=trouble.matter,
            began_at=trouble.since,
            brief=self._brief_for(key, standing),
            unsteady=trouble.unsteady,
            latest_at=trouble.latest,
            less_since=less_since,
        )
        if await self._submit(event):
            self._note_told(key, trouble.matter)
            if not key.startswith(OURS):
                self._outages[key] = trouble.since, now

    def _agreed(self, key: str) -> SiteStatus | None:
        if key.startswith(OURS):
            # Only this site speaks of what is its own, and always has a vote in it.
            return agreed(self._said.get(key, {}).values(), Quorum())
        if self._site not in self._said.get(key, {}):
            return None
        said, silent = self._votes(key)
        return agreed(said, self._quorum, silent)

    def _votes(self, agency: str) -> tuple[Sequence[SiteStatus], Sequence[SiteStatus]]:
        """Return how an agency stands by each vote, and by what those last said that have none now.

        One that has never said anything may see all that others see.
        """
        said = self._said.get(agency, {})
        if self._fresh is None:
            return [*votes_of(said, self._quorum).values()], []
        heard = votes_of({site: each for site, each in said.items() if site in self._fresh}, self._quorum)
        known = dict.fromkeys(self._others - self._spoken, UNTROUBLED) | said
        silent = votes_of({site: each for site, each in known.items() if site not in self._fresh}, self._quorum)
        return [*heard.values()], [each for voter, each in silent.items() if voter not in heard]

    def _counted(self, agency: str) -> Sequence[SiteStatus]:
        """Return what those say of an agency that have a vote."""
        said = self._said.get(agency, {})
        return [each for site, each in said.items() if self._fresh is None or site in self._fresh]

    def _show_dispute(self, agency: str, *, is_so: bool | None) -> None:
        """Show whether sites disagree about an agency; `None`: no two that have a vote say anything of it."""
        if self._disputed.get(agency) == is_so:
            return
        self._disputed.pop(agency, None)
        if is_so is not None:
            self._disputed[agency] = is_so
        self._metrics.disputed(agency, is_so=is_so)
        self._show_told(agency)

    def _show_told(self, key: str) -> None:
        """Show which outage sites have told of together, or that they have told of none; one that is alone says it by its judge."""
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
        """Return when what was told ended; `None`: it has not, or that is not believed yet.

        Sites that saw it may be lost. Those that are left may have been well all along because they have not probed since.
        """
        ended_at = standing.well_since
        if ended_at is None or not (key.startswith(OURS) or can_end(self._told[key], standing.directions)):
            return None
        began, told_at = self._outages.get(key, (ended_at, now))
        if ended_at < began and len(self._said[key]) > 1:
            seen = [each.well_since for each in self._counted(key) if each.well_since and each.well_since >= began]
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
        """Return since when it is proven that no more than *matter* is wrong, which is less than was told."""
        if not is_proven_less(matter, told, standing.directions):
            self._less.pop(key, None)
            return None
        known, since = self._less.get(key, (matter, now))
        self._less[key] = matter, (since if known is matter else now)
        return self._less[key][1]

    def _ripe(self, now: datetime) -> Collection[str]:
        """Return what has been less for long enough: no run need say anything new for that to be told."""
        # After a clock was set back it lasts from now on: what was before cannot be told any more.
        self._less = {key: (matter, min(since, now)) for key, (matter, since) in self._less.items()}
        return [key for key, (_, since) in self._less.items() if now - since >= _LASTS]

    def _quiet(self, now: datetime) -> Collection[str]:
        """Return what has been quiet for long enough to be believed: no site need say anything new for that to be told."""
        # A clock that was set back begins the quiet anew.
        return [key for key, (until, found_at) in self._unbelieved.items() if not found_at <= now < until]

    async def _tell_over(self, key: str, ended_at: datetime, now: datetime) -> None:
        if await self._submit(Resolve(dedup_key=key, at=now, ended_at=ended_at)):
            self._note_told(key, None)

    def _note_told(self, key: str, matter: IncidentType | None) -> None:
        """Remember what was told; `None`: that it is over."""
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
        """Submit an event; return whether it is taken in, and what it is about still for this process to tell."""
        key = event.dedup_key
        try:
            incident = await self._alerting.submit(event)
        except StoreUnavailable:
            raise
        # One event that cannot be taken in (our bug) must not keep the others from being told.
        except Exception:
            if self._owe(key):
                log.exception("could not tell the alerting side; telling it until it hears", key=key)
            return False
        self._untold.discard(key)
        if not self._is_told_of(key) or self._site not in self._said.get(key, ()):
            # It has left meanwhile, or another process has it: of what is noted here this one would tell that it is over.
            return False
        is_held = isinstance(event, Trigger) and incident is not None and not incident.is_open
        self._note_ended_by_hand(key, incident if is_held else None)
        return True

    def _owe(self, key: str) -> bool:
        """Come back to what could not be told for an exception; return whether that is news, and to be logged."""
        is_first = key not in self._untold
        self._untold.add(key)
        self._unsettled.add(key)
        return is_first

    def _note_ended_by_hand(self, key: str, incident: Incident | None) -> None:
        """Remember and show what is measured though a person has ended it: whoever looks must not take it for well."""
        self.ended_by_hand.pop(key, None)
        if incident is not None:
            self.ended_by_hand[key] = incident
        if not key.startswith(OURS):
            self._metrics.ended_by_hand(key, is_so=incident is not None)


def outages_of(incidents: Iterable[Incident]) -> Mapping[str, tuple[datetime, datetime]]:
    """Return since when each incident that was measured is as was told, and when that was told at the earliest, by dedup key."""
    measured = {each.dedup_key: each for each in incidents if each.measured is not None}
    return {key: (each.told_began_at, max(each.told_began_at, each.opened_at)) for key, each in measured.items()}


def fault_of(blame: str, name: str) -> tuple[str, str]:
    """Return what the metrics call a fault of ours: its cause, and the mailbox or site that is meant, or ""."""
    return _CAUSES.get(blame, blame), name
