"""Decide how something stands of which several sites judge: as enough of them say. Pure.

A cut cable at one site is no outage of a ministry elsewhere. So what is wrong must be said by as many sites as are *needed*.
That it is over must be proven by as many, and fewer may be left that have not seen it work. In between it stands as it was
told: neither opens an incident nor ends one.

Each claim is counted by itself: that nothing can be sent, that nothing can be received, that a direction is in trouble, that
anything is. A site has a say in what it sees: one that does not probe a direction, or knows nothing of it, abstains, and fewer
may be needed. One that is not clear yet, or is not believed yet, does see: nobody speaks for it meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.model.notice import Cause, Matter
from monitor.judging.joint.standing import UNTROUBLED, SiteStanding
from monitor.judging.matter import WAYS, WORKS, prevailing
from monitor.judging.suspect import Trouble
from monitor.model.health import IN_TROUBLE, Health
from monitor.model.route import Direction

#: What is wrong with an agency when mail goes in none of these ways.
_OUT: Mapping[frozenset[Direction], Matter] = {frozenset(ways): matter for matter, ways in WAYS.items()}

#: That mail does not go one way at all; that a direction is in trouble; `None`: that something is wrong, whatever it is.
_Claim = Matter | Direction | None


def agreed(said: Iterable[SiteStanding], quorum: int) -> SiteStanding | None:
    """Return how it stands by what the fresh sites say; `None` when none of them sees it.

    *quorum*: how many must say the same, or all that see it where they are fewer. Raise `ValueError` for one below 1.
    """
    if quorum < 1:
        raise ValueError(f"a quorum of {quorum}: at least one site must say so")
    sites = [*said]
    if len(sites) == 1:
        return sites[0]
    # Those see all that others see, and have not been asked what of it is proven to work.
    untroubled = [site for site in sites if site == UNTROUBLED]
    ballots = [(site, claims) for site in sites if (claims := _claims(site))]
    if len(ballots) + len(untroubled) <= 1 or not ballots:
        return next(iter([*untroubled, *(site for site, _ in ballots)]), None)
    seen = dict.fromkeys(claim for _, claims in ballots for claim in claims)
    ballots += [(site, dict.fromkeys(seen)) for site in untroubled]
    votes = {claim: _Vote.on(claim, ballots, quorum) for claim in seen}
    held = [claim for claim, vote in votes.items() if vote.outcome]
    # Where mail does not go at all, it does not matter where else something is wrong.
    held = [claim for claim in held if isinstance(claim, Matter)] or held
    holders = [site for site, claims in ballots if any(claims.get(claim) for claim in held)]
    return SiteStanding(
        trouble=_joint_trouble({claim: votes[claim] for claim in held}) if held else None,
        cause=_joint_cause(holders),
        well_since=_well_since(votes.values()),
        directions=_joint_directions(sites, quorum),
    )


def disagree(said: Collection[SiteStanding]) -> bool:
    """Return whether some sites say that something is wrong, and others that all is proven to work."""
    return any(each.trouble for each in said) and any(each.well_since for each in said)


def _claims(site: SiteStanding) -> Mapping[_Claim, bool | None]:
    """Return which claims a site sees, and whether each is so; `None`: it is not clear. Empty where it sees nothing."""
    matter = None if site.trouble is None else site.trouble.matter
    failing = () if matter is None else WAYS.get(matter, ())
    is_well = site.well_since is not None
    known = {direction: health for direction, health in site.directions.items() if health is not Health.UNKNOWN}
    claims: dict[_Claim, bool | None] = {}
    for way in WAYS[Matter.BOTH]:
        # Mail within the agency goes both ways: it speaks where nothing else is known.
        if (health := known.get(way, known.get(Direction.INTERNAL))) is not None:
            works = is_well or (matter is not None and health in WORKS)
            claims[_OUT[frozenset({way})]] = True if way in failing else (False if works else None)
    for direction, health in known.items():
        # Where a direction fails and it does not say so yet, it waits to see how much is wrong.
        in_trouble = matter is not None and health is not Health.UP
        claims[direction] = True if in_trouble else (False if health is Health.UP else None)
    if known or matter is Matter.OWN_FAULT or (is_well and not site.directions):
        claims[None] = True if matter is not None else (False if is_well else None)
    return claims


def _outcome(says: Collection[bool | None], quorum: int) -> bool | None:
    """Return whether a claim is so by those that see it; `None`: neither that, nor that it is not, is said by enough."""
    needed, so, not_so = min(quorum, len(says)), 0, 0
    for each in says:
        so, not_so = so + (each is True), not_so + (each is False)
    if so >= needed:
        return True
    return False if not_so >= _enough(needed, len(says)) else None


def _enough(needed: int, seeing: int) -> int:
    """Return how many must deny a claim: as many as are needed, and so many that fewer are left that could hold it."""
    return max(needed, seeing - needed + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vote:
    """What those say of a claim that see it."""

    outcome: bool | None
    needed: int
    #: How many must deny it.
    enough: int
    troubles: Sequence[Trouble]
    #: Since when each is well that denies it, and that nothing else is wrong with.
    well: Sequence[datetime]

    @classmethod
    def on(
        cls, claim: _Claim, ballots: Iterable[tuple[SiteStanding, Mapping[_Claim, bool | None]]], quorum: int
    ) -> _Vote:
        """Count."""
        seeing = [(site, claims[claim]) for site, claims in ballots if claim in claims]
        needed = min(quorum, len(seeing))
        return cls(
            outcome=_outcome([is_so for _, is_so in seeing], quorum),
            needed=needed,
            enough=_enough(needed, len(seeing)),
            troubles=[site.trouble for site, is_so in seeing if is_so and site.trouble],
            well=[site.well_since for site, is_so in seeing if is_so is False and site.well_since],
        )


def _joint_trouble(held: Mapping[_Claim, _Vote]) -> Trouble:
    """Return what is wrong by the claims that are held: of each, from when on as many said so as are needed."""
    own = any(trouble.matter is Matter.OWN_FAULT for vote in held.values() for trouble in vote.troubles)
    ways = frozenset(way for claim in held if isinstance(claim, Matter) for way in WAYS[claim])
    parts = [(vote.troubles, vote.needed) for vote in held.values()]
    return Trouble(
        matter=Matter.OWN_FAULT if own else _OUT[ways],
        since=min(sorted(each.since for each in troubles)[needed - 1] for troubles, needed in parts),
        latest=max(sorted(each.latest or each.since for each in troubles)[needed - 1] for troubles, needed in parts),
        unsteady=any(sum(each.unsteady for each in troubles) >= needed for troubles, needed in parts),
    )


def _joint_cause(sites: Iterable[SiteStanding]) -> Cause | None:
    """Return why it fails as most of the sites say that know."""
    return prevailing(site.cause for site in sites if site.cause is not None)


def _well_since(votes: Collection[_Vote]) -> datetime | None:
    """Return since when enough deny every claim; `None`: of some, not enough do."""
    if any(vote.outcome is not False for vote in votes):
        return None
    return max((sorted(vote.well)[vote.enough - 1] for vote in votes if len(vote.well) >= vote.enough), default=None)


def _joint_directions(sites: Collection[SiteStanding], quorum: int) -> Mapping[Direction, Health]:
    """Return how each direction is that any of the sites knows of."""
    known: dict[Direction, list[Health]] = {}
    for site in sites:
        for direction, health in site.directions.items():
            if health is not Health.UNKNOWN:
                known.setdefault(direction, []).append(health)
    untroubled = sum(site == UNTROUBLED for site in sites)
    return {each: _joint_health([*healths, *untroubled * [Health.UNKNOWN]], quorum) for each, healths in known.items()}


def _joint_health(healths: Collection[Health], quorum: int) -> Health:
    if _outcome([health is Health.DOWN for health in healths], quorum):
        return Health.DOWN
    if _outcome([False if health in WORKS else None for health in healths], quorum) is None:
        return Health.UNKNOWN
    in_trouble = _outcome([health in IN_TROUBLE for health in healths], quorum)
    return Health.DEGRADED if in_trouble else Health.UP
