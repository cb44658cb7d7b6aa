"""Joint status of an agency by a quorum of sites (places from which its mail is probed). Pure.

A broken line at one site is not an outage of the agency. So a problem needs a number of affirming votes
(`Quorum.votes_needed`). The end of a problem needs at least as many denying votes, and so many that the remaining sites
are too few to affirm the problem. Without either majority the problem is undecided, and no incident opens or ends.
Sites with a common uplink (provider or line) fail together, so they have one vote together: they are one *voter*.

Votes are counted for each *claim* separately. The claims are: sending is down; receiving is down; a certain direction
is in trouble; anything is wrong. A site that does not probe a direction, or has no observation of it, abstains, and
fewer votes may be needed. A site that probes it and is undecided counts as a voter. A *silent* site has sent no
heartbeat lately, and cannot vote.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from alerts.model.notification import Cause, IncidentType
from monitor.evaluation.incident_type import PASSING, TYPE_DIRECTIONS, most_frequent_cause
from monitor.evaluation.joint.site_status import UNTROUBLED, SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.model.health import UNHEALTHY, Health
from monitor.model.route import Direction

#: Incident type of an agency, by the directions that are down.
_OUTAGE_TYPES: Mapping[frozenset[Direction], IncidentType] = {
    frozenset(directions): incident_type for incident_type, directions in TYPE_DIRECTIONS.items() if directions
}

#: A claim: sending or receiving is down (an incident type); a direction is in trouble; or anything is wrong (`None`).
_Claim = IncidentType | Direction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """Number of votes that decide."""

    #: Minimum number of votes. Fewer are needed if fewer sites, including silent ones, probe the agency.
    minimum: int = 1
    #: Minimum number of votes as a percentage of the connected voters.
    share: int = 0
    #: Name of the shared uplink, by site name. Sites with uplinks of their own are missing.
    uplinks: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise `ValueError` for a quorum of zero."""
        if self.minimum < 1:
            raise ValueError(f"quorum of {self.minimum}: at least one site is required")

    def votes_needed(self, voters: int, silent: int) -> int:
        """Return how many votes decide. The number exceeds *voters* if too few voters are connected.

        *voters*: number of connected voters; *silent*: number of silent voters that would vote, too.
        """
        share_rounded_up = -(-self.share * voters // 100)
        return max(min(self.minimum, voters + silent), share_rounded_up, 1)

    def voters(self, sites: Iterable[str]) -> AbstractSet[tuple[bool, str]]:
        """Return the voters to which *sites* belong."""
        return {self.voter(site) for site in sites}

    def voter(self, site: str) -> tuple[bool, str]:
        """Return the voter of a site: whether it is a shared uplink, and the name of the uplink or site."""
        uplink = self.uplinks.get(site)
        return (False, site) if uplink is None else (True, uplink)

    def is_reached(self, fresh_sites: Iterable[str], sites: Iterable[str]) -> bool:
        """Whether *fresh_sites* (with a recent heartbeat) are enough to decide anything. *sites*: all sites."""
        return len(self.voters(fresh_sites)) >= min(self.minimum, len(self.voters(sites)))


def votes_by_voter(statuses: Mapping[str, SiteStatus], quorum: Quorum) -> Mapping[tuple[bool, str], SiteStatus]:
    """Return the status of each voter, given the statuses of sites by name.

    If one site of a shared uplink has a problem, the voter has it. The voter has recovered when all its sites have.
    """
    by_voter: dict[tuple[bool, str], list[SiteStatus]] = {}
    for site, status in statuses.items():
        by_voter.setdefault(quorum.voter(site), []).append(status)
    joined = {voter: each[0] if len(each) == 1 else joint_status(each, Quorum()) for voter, each in by_voter.items()}
    return {voter: status for voter, status in joined.items() if status is not None}


def joint_status(
    fresh_statuses: Iterable[SiteStatus], quorum: Quorum, silent_statuses: Iterable[SiteStatus] = ()
) -> SiteStatus | None:
    """Return the joint status of sites with a recent heartbeat; `None` if none of them has an observation.

    *silent_statuses*: the last statuses of the silent sites, which show on which claims these sites would vote.
    """
    statuses, silent = [*fresh_statuses], [*silent_statuses]
    if len(statuses) == 1 and not silent:
        return statuses[0]
    # `UNTROUBLED` means that recovery was not examined. Such a site has no claims of its own, and is undecided on all.
    untroubled = [status for status in statuses if status == UNTROUBLED]
    ballots = [(status, claims) for status in statuses if (claims := _claims(status))]
    if not ballots or (len(ballots) + len(untroubled) == 1 and not silent):
        return next(iter([*untroubled, *(status for status, _ in ballots)]), None)
    all_claims = dict.fromkeys(claim for _, claims in ballots for claim in claims)
    ballots += [(status, dict.fromkeys(all_claims)) for status in untroubled]
    silent_claims = [all_claims if status == UNTROUBLED else _claims(status) for status in silent]
    votes = {
        claim: _Vote.count(claim, ballots, quorum, sum(claim in claims for claims in silent_claims))
        for claim in all_claims
    }
    true_claims = [claim for claim, vote in votes.items() if vote.outcome]
    # If sending or receiving is down, other trouble does not matter.
    true_claims = [claim for claim in true_claims if isinstance(claim, IncidentType)] or true_claims
    supporters = [status for status, claims in ballots if any(claims.get(claim) for claim in true_claims)]
    return SiteStatus(
        trouble=_joint_trouble({claim: votes[claim] for claim in true_claims}) if true_claims else None,
        cause=_joint_cause(supporters),
        up_since=_up_since(votes.values()),
        directions=_joint_directions(statuses, quorum, silent),
    )


def sites_disagree(statuses: Collection[SiteStatus]) -> bool:
    """Return whether some sites report trouble while others prove that all works."""
    return any(each.trouble for each in statuses) and any(each.up_since for each in statuses)


def _claims(status: SiteStatus) -> Mapping[_Claim, bool | None]:
    """Return the votes of a site by claim: true, false or undecided (`None`). Empty if it has no observation."""
    incident_type = None if status.trouble is None else status.trouble.type
    failing = () if incident_type is None else TYPE_DIRECTIONS.get(incident_type, ())
    is_up = status.up_since is not None
    known = {direction: health for direction, health in status.directions.items() if health is not Health.UNKNOWN}
    claims: dict[_Claim, bool | None] = {}
    for direction in TYPE_DIRECTIONS[IncidentType.BOTH]:
        # Internal mail is both sent and received, so it is used if the health of the direction itself is unknown.
        if (health := known.get(direction, known.get(Direction.INTERNAL))) is not None:
            is_passing = is_up or (incident_type is not None and health in PASSING)
            claims[_OUTAGE_TYPES[frozenset({direction})]] = (
                True if direction in failing else (False if is_passing else None)
            )
    for direction, health in known.items():
        # The vote on a direction that fails is undecided while the site reports no trouble yet.
        in_trouble = incident_type is not None and health is not Health.UP
        claims[direction] = True if in_trouble else (False if health is Health.UP else None)
    if (
        known
        or incident_type in {IncidentType.MONITORING_FAULT, IncidentType.SIGN_IN}
        or (is_up and not status.directions)
    ):
        claims[None] = True if incident_type is not None else (False if is_up else None)
    return claims


def _outcome(answers: Collection[bool | None], needed: int) -> bool | None:
    """Return whether a claim is true by the votes; `None` if neither side has enough."""
    if sum(answer is True for answer in answers) >= needed:
        return True
    denying = sum(answer is False for answer in answers)
    return False if denying >= _denials_needed(needed, len(answers)) else None


def _denials_needed(needed: int, voters: int) -> int:
    """Return the number of denying votes that reject a claim: the remaining voters must be too few to affirm it."""
    return max(needed, voters - needed + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vote:
    """Result of the vote on one claim."""

    #: Whether the claim is true; `None`: undecided.
    outcome: bool | None
    #: Number of affirming votes that make the claim true.
    votes_needed: int
    #: Number of denying votes that make the claim false.
    denials_needed: int
    #: Problems that the affirming sites report.
    troubles: Sequence[ActiveProblem]
    #: Since when all mail works, for each denying site at which it does.
    up_since: Sequence[datetime]

    @classmethod
    def count(
        cls,
        claim: _Claim,
        ballots: Iterable[tuple[SiteStatus, Mapping[_Claim, bool | None]]],
        quorum: Quorum,
        silent_voters: int,
    ) -> _Vote:
        """Count the votes."""
        answers = [(status, claims[claim]) for status, claims in ballots if claim in claims]
        needed = quorum.votes_needed(len(answers), silent_voters)
        return cls(
            outcome=_outcome([answer for _, answer in answers], needed),
            votes_needed=needed,
            denials_needed=_denials_needed(needed, len(answers)),
            troubles=[status.trouble for status, answer in answers if answer and status.trouble],
            up_since=[status.up_since for status, answer in answers if answer is False and status.up_since],
        )


def _joint_trouble(true_claims: Mapping[_Claim, _Vote]) -> ActiveProblem:
    """Return the problem by the true claims. A claim is true since the vote that reached the needed number."""
    parts = [(vote.troubles, vote.votes_needed) for vote in true_claims.values()]
    return ActiveProblem(
        type=_joint_type(true_claims),
        since=min(sorted(each.since for each in troubles)[needed - 1] for troubles, needed in parts),
        latest=max(sorted(each.latest or each.since for each in troubles)[needed - 1] for troubles, needed in parts),
        flapping=any(sum(each.flapping for each in troubles) >= needed for troubles, needed in parts),
    )


def _joint_type(true_claims: Mapping[_Claim, _Vote]) -> IncidentType:
    if directions := frozenset(
        direction for claim in true_claims if isinstance(claim, IncidentType) for direction in TYPE_DIRECTIONS[claim]
    ):
        return _OUTAGE_TYPES[directions]
    for incident_type in (IncidentType.MONITORING_FAULT, IncidentType.SIGN_IN):
        if any(
            sum(each.type is incident_type for each in vote.troubles) >= vote.votes_needed
            for vote in true_claims.values()
        ):
            return incident_type
    return IncidentType.DEGRADED


def _joint_cause(statuses: Iterable[SiteStatus]) -> Cause | None:
    """Return the cause that most sites report; `None` on a tie, or if none reports one."""
    return most_frequent_cause(status.cause for status in statuses if status.cause is not None)


def _up_since(votes: Collection[_Vote]) -> datetime | None:
    """Return since when all claims are false; `None` if one is not."""
    if any(vote.outcome is not False for vote in votes):
        return None
    return max(
        (sorted(vote.up_since)[vote.denials_needed - 1] for vote in votes if len(vote.up_since) >= vote.denials_needed),
        default=None,
    )


def _joint_directions(
    statuses: Collection[SiteStatus], quorum: Quorum, silent_statuses: Collection[SiteStatus]
) -> Mapping[Direction, Health]:
    """Return the joint health of each direction that any site has observed."""
    known: dict[Direction, list[Health]] = {}
    for status in statuses:
        for direction, health in status.directions.items():
            if health is not Health.UNKNOWN:
                known.setdefault(direction, []).append(health)
    untroubled = sum(status == UNTROUBLED for status in statuses)
    joint: dict[Direction, Health] = {}
    for direction, healths in known.items():
        silent_voters = sum(
            status == UNTROUBLED or status.directions.get(direction, Health.UNKNOWN) is not Health.UNKNOWN
            for status in silent_statuses
        )
        # Untroubled sites did not examine the direction: they vote, but are undecided.
        all_healths = [*healths, *untroubled * [Health.UNKNOWN]]
        joint[direction] = _joint_health(all_healths, quorum.votes_needed(len(all_healths), silent_voters))
    return joint


def _joint_health(healths: Collection[Health], needed: int) -> Health:
    """Return the health on which *needed* sites agree; unknown if it is undecided whether mail passes."""
    if _outcome([health is Health.DOWN for health in healths], needed):
        return Health.DOWN
    if _outcome([False if health in PASSING else None for health in healths], needed) is None:
        return Health.UNKNOWN
    is_unhealthy = _outcome([health in UNHEALTHY for health in healths], needed)
    return Health.DEGRADED if is_unhealthy else Health.UP
