"""Joint status of an agency by a quorum of sites. Pure.

A cut cable at one site is no outage of a ministry elsewhere. So a problem needs as many votes as are *needed*
(`Quorum`), its end as many, and fewer may be left without that proof. In between, the status stays: no incident opens
or ends. Sites with a common uplink fail together and have one vote.

Each claim is counted by itself: sending is down, receiving is down, a direction is in trouble, anything is. A site
votes on what it sees: one that does not probe a direction, or knows nothing about it, abstains, and fewer votes may be
needed. An undecided site counts as seeing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from alerts.model.notification import Cause, IncidentType
from monitor.evaluation.incident_type import WAYS, WORKS, prevailing
from monitor.evaluation.joint.site_status import UNTROUBLED, SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.model.health import IN_TROUBLE, Health
from monitor.model.route import Direction

#: Incident type of an agency when mail passes in none of these directions.
_OUT: Mapping[frozenset[Direction], IncidentType] = {frozenset(ways): matter for matter, ways in WAYS.items() if ways}

#: A direction is down; a direction is in trouble; `None`: anything is wrong.
_Claim = IncidentType | Direction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """Number of votes that decide."""

    #: Minimum, limited by the number of sites that probe the agency, including silent ones.
    at_least: int = 1
    #: Minimum as a percentage of the sites that see it now.
    share: int = 0
    #: Shared uplinks, by site name.
    uplinks: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise `ValueError` for a quorum of zero."""
        if self.at_least < 1:
            raise ValueError(f"a quorum of {self.at_least}: at least one site must say so")

    def needed(self, seeing: int, silent: int) -> int:
        """Return how many of those *seeing* must agree: more than there are if too few are left.

        *silent*: others that would see it if they were connected.
        """
        return max(min(self.at_least, seeing + silent), -(-self.share * seeing // 100), 1)

    def voters(self, sites: Iterable[str]) -> AbstractSet[tuple[bool, str]]:
        """Return the voters among *sites*: a site, or its shared uplink."""
        return {self.voter(site) for site in sites}

    def voter(self, site: str) -> tuple[bool, str]:
        """Return the voter of a site."""
        uplink = self.uplinks.get(site)
        return (False, site) if uplink is None else (True, uplink)

    def is_reached(self, heard: Iterable[str], sites: Iterable[str]) -> bool:
        """Whether enough of *sites* are *heard* to decide anything."""
        return len(self.voters(heard)) >= min(self.at_least, len(self.voters(sites)))


def votes_of(said: Mapping[str, SiteStatus], quorum: Quorum) -> Mapping[tuple[bool, str], SiteStatus]:
    """Return the status by voter, from the statuses of sites by name.

    For sites with a shared uplink a problem needs one of them, a recovery all.
    """
    found: dict[tuple[bool, str], list[SiteStatus]] = {}
    for site, standing in said.items():
        found.setdefault(quorum.voter(site), []).append(standing)
    joined = {voter: each[0] if len(each) == 1 else agreed(each, Quorum()) for voter, each in found.items()}
    return {voter: standing for voter, standing in joined.items() if standing is not None}


def agreed(said: Iterable[SiteStatus], quorum: Quorum, silent: Iterable[SiteStatus] = ()) -> SiteStatus | None:
    """Return the joint status of the fresh sites; `None` if none of them sees it.

    *silent*: the last statuses of the others, which show what they would see.
    """
    sites, unheard = [*said], [*silent]
    if len(sites) == 1 and not unheard:
        return sites[0]
    # These sites see what others see, and were not asked for a proof of recovery.
    untroubled = [site for site in sites if site == UNTROUBLED]
    ballots = [(site, claims) for site in sites if (claims := _claims(site))]
    if not ballots or (len(ballots) + len(untroubled) == 1 and not unheard):
        return next(iter([*untroubled, *(site for site, _ in ballots)]), None)
    seen = dict.fromkeys(claim for _, claims in ballots for claim in claims)
    ballots += [(site, dict.fromkeys(seen)) for site in untroubled]
    would_see = [seen if site == UNTROUBLED else _claims(site) for site in unheard]
    votes = {claim: _Vote.on(claim, ballots, quorum, sum(claim in claims for claims in would_see)) for claim in seen}
    held = [claim for claim, vote in votes.items() if vote.outcome]
    # If a direction is down, lesser trouble elsewhere does not matter.
    held = [claim for claim in held if isinstance(claim, IncidentType)] or held
    holders = [site for site, claims in ballots if any(claims.get(claim) for claim in held)]
    return SiteStatus(
        trouble=_joint_trouble({claim: votes[claim] for claim in held}) if held else None,
        cause=_joint_cause(holders),
        up_since=_up_since(votes.values()),
        directions=_joint_directions(sites, quorum, unheard),
    )


def disagree(said: Collection[SiteStatus]) -> bool:
    """Return whether some sites report trouble while others prove that all works."""
    return any(each.trouble for each in said) and any(each.up_since for each in said)


def _claims(site: SiteStatus) -> Mapping[_Claim, bool | None]:
    """Return the claims that a site sees, each true, false or undecided (`None`). Empty if it sees nothing."""
    matter = None if site.trouble is None else site.trouble.type
    failing = () if matter is None else WAYS.get(matter, ())
    is_well = site.up_since is not None
    known = {direction: health for direction, health in site.directions.items() if health is not Health.UNKNOWN}
    claims: dict[_Claim, bool | None] = {}
    for way in WAYS[IncidentType.BOTH]:
        # Mail within the agency uses both directions, and counts where nothing else is known.
        if (health := known.get(way, known.get(Direction.INTERNAL))) is not None:
            works = is_well or (matter is not None and health in WORKS)
            claims[_OUT[frozenset({way})]] = True if way in failing else (False if works else None)
    for direction, health in known.items():
        # A failing direction without trouble yet is undecided.
        in_trouble = matter is not None and health is not Health.UP
        claims[direction] = True if in_trouble else (False if health is Health.UP else None)
    if known or matter in {IncidentType.MONITORING_FAULT, IncidentType.SIGN_IN} or (is_well and not site.directions):
        claims[None] = True if matter is not None else (False if is_well else None)
    return claims


def _outcome(says: Collection[bool | None], needed: int) -> bool | None:
    """Return whether a claim holds by those that see it; `None` if neither side has enough votes."""
    so, not_so = 0, 0
    for each in says:
        so, not_so = so + (each is True), not_so + (each is False)
    if so >= needed:
        return True
    return False if not_so >= _enough(needed, len(says)) else None


def _enough(needed: int, seeing: int) -> int:
    """Return how many must deny a claim: as many as are needed, and so many that fewer are left to affirm it."""
    return max(needed, seeing - needed + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vote:
    """Votes on one claim."""

    outcome: bool | None
    needed: int
    #: Votes that deny it by quorum.
    enough: int
    troubles: Sequence[ActiveProblem]
    #: Since when each denying site without other trouble is well.
    well: Sequence[datetime]

    @classmethod
    def on(
        cls,
        claim: _Claim,
        ballots: Iterable[tuple[SiteStatus, Mapping[_Claim, bool | None]]],
        quorum: Quorum,
        silent: int,
    ) -> _Vote:
        """Count the votes."""
        seeing = [(site, claims[claim]) for site, claims in ballots if claim in claims]
        needed = quorum.needed(len(seeing), silent)
        return cls(
            outcome=_outcome([is_so for _, is_so in seeing], needed),
            needed=needed,
            enough=_enough(needed, len(seeing)),
            troubles=[site.trouble for site, is_so in seeing if is_so and site.trouble],
            well=[site.up_since for site, is_so in seeing if is_so is False and site.up_since],
        )


def _joint_trouble(held: Mapping[_Claim, _Vote]) -> ActiveProblem:
    """Return the problem of the claims that hold, each since the quorum was reached."""
    parts = [(vote.troubles, vote.needed) for vote in held.values()]
    return ActiveProblem(
        type=_joint_matter(held),
        since=min(sorted(each.since for each in troubles)[needed - 1] for troubles, needed in parts),
        latest=max(sorted(each.latest or each.since for each in troubles)[needed - 1] for troubles, needed in parts),
        flapping=any(sum(each.flapping for each in troubles) >= needed for troubles, needed in parts),
    )


def _joint_matter(held: Mapping[_Claim, _Vote]) -> IncidentType:
    if ways := frozenset(way for claim in held if isinstance(claim, IncidentType) for way in WAYS[claim]):
        return _OUT[ways]
    for matter in (IncidentType.MONITORING_FAULT, IncidentType.SIGN_IN):
        if any(sum(each.type is matter for each in vote.troubles) >= vote.needed for vote in held.values()):
            return matter
    return IncidentType.DEGRADED


def _joint_cause(sites: Iterable[SiteStatus]) -> Cause | None:
    """Return the cause that most of the knowing sites report."""
    return prevailing(site.cause for site in sites if site.cause is not None)


def _up_since(votes: Collection[_Vote]) -> datetime | None:
    """Return since when a quorum denies every claim; `None` if one is not denied."""
    if any(vote.outcome is not False for vote in votes):
        return None
    return max((sorted(vote.well)[vote.enough - 1] for vote in votes if len(vote.well) >= vote.enough), default=None)


def _joint_directions(
    sites: Collection[SiteStatus], quorum: Quorum, silent: Collection[SiteStatus]
) -> Mapping[Direction, Health]:
    """Return the health of each direction that any site knows."""
    known: dict[Direction, list[Health]] = {}
    for site in sites:
        for direction, health in site.directions.items():
            if health is not Health.UNKNOWN:
                known.setdefault(direction, []).append(health)
    untroubled = sum(site == UNTROUBLED for site in sites)
    found: dict[Direction, Health] = {}
    for each, healths in known.items():
        would_see = sum(
            site == UNTROUBLED or site.directions.get(each, Health.UNKNOWN) is not Health.UNKNOWN for site in silent
        )
        seeing = [*healths, *untroubled * [Health.UNKNOWN]]
        found[each] = _joint_health(seeing, quorum.needed(len(seeing), would_see))
    return found


def _joint_health(healths: Collection[Health], needed: int) -> Health:
    if _outcome([health is Health.DOWN for health in healths], needed):
        return Health.DOWN
    if _outcome([False if health in WORKS else None for health in healths], needed) is None:
        return Health.UNKNOWN
    in_trouble = _outcome([health in IN_TROUBLE for health in healths], needed)
    return Health.DEGRADED if in_trouble else Health.UP
