"""Joint status of several sites by quorum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.model.notification import Cause, IncidentType
from monitor.evaluation.incident_type import TYPE_DIRECTIONS
from monitor.evaluation.joint.quorum import Quorum, joint_status, sites_disagree, votes_by_voter
from monitor.evaluation.joint.site_status import UNTROUBLED, SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.model.health import Health
from monitor.model.route import Direction
from tests.unit.monitor.world import MINUTE, T0

INTERNAL, OUTBOUND, INBOUND = Direction.INTERNAL, Direction.OUTBOUND, Direction.INBOUND
ALL = (INTERNAL, OUTBOUND, INBOUND)
UP, DEGRADED, DOWN, UNKNOWN = Health.UP, Health.DEGRADED, Health.DOWN, Health.UNKNOWN


def up_status(minute: int = 0, *directions: Direction) -> SiteStatus:
    """Return the status of a site to which all that it observes is up since that minute."""
    return SiteStatus(up_since=at(minute), directions=dict.fromkeys(directions or ALL, UP))


def trouble_status(type_: IncidentType, minute: int = 0, *directions: Direction, **more: object) -> SiteStatus:
    """Return the status of a site in trouble since that minute; internal mail works."""
    health = dict.fromkeys(directions or ALL, UP)
    health |= {way: DOWN for way in TYPE_DIRECTIONS.get(type_, ()) if way in health}
    if type_ is IncidentType.DEGRADED:
        health[max(health)] = DEGRADED
    cause = more.pop("cause", None)
    trouble = ActiveProblem(type=type_, since=at(minute), **more)  # type: ignore[arg-type]
    return SiteStatus(trouble=trouble, cause=cause, directions=health)  # type: ignore[arg-type]


def at(minute: int) -> datetime:
    return T0 + minute * MINUTE


BOTH, SENDING, RECEIVING, SLOW = IncidentType.BOTH, IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.DEGRADED
#: The site observes and does not decide yet: it confirms, recovers or flaps.
UNCLEAR = SiteStatus(directions={INTERNAL: UP, OUTBOUND: DOWN, INBOUND: UP})
#: Its references have failed; earlier statuses do not count.
BLIND = SiteStatus(directions=dict.fromkeys(ALL, UNKNOWN))
#: Its accounts are refused.
REFUSED = replace(BLIND, trouble=ActiveProblem(type=IncidentType.SIGN_IN, since=T0))


#: At least two sites must agree.
TWO = Quorum(minimum=2)


def verdict(statuses: Sequence[SiteStatus], quorum: Quorum = TWO, silent: Sequence[SiteStatus] = ()) -> str:
    """Return the joint status in the words of the tables below."""
    joint = joint_status(statuses, quorum, silent)
    if joint is None:
        return "nobody sees it"
    if joint.trouble is not None:
        return f"{joint.trouble.type}"
    return "as it was told" if joint.up_since is None else "well"


@pytest.mark.parametrize(
    ("case", "statuses", "together"),
    [
        ("nobody is fresh", [], "nobody sees it"),
        ("all are blind", [BLIND, BLIND], "nobody sees it"),
        ("one alone says what it says", [trouble_status(BOTH)], "both"),
        ("one of three is cut off", [trouble_status(BOTH), up_status(), up_status()], "well"),
        ("two of three say so", [trouble_status(BOTH), trouble_status(BOTH), up_status()], "both"),
        (
            "two say so, and two that all works",
            [trouble_status(BOTH), trouble_status(BOTH), up_status(), up_status()],
            "both",
        ),
        ("one of two says so", [trouble_status(BOTH), up_status()], "as it was told"),
        ("one says so, and the other is not clear yet", [trouble_status(BOTH), UNCLEAR], "as it was told"),
        ("one says so, and the others are not clear yet", [trouble_status(BOTH), UNCLEAR, UNCLEAR], "as it was told"),
        ("one says so, and the others are blind", [trouble_status(BOTH), BLIND, BLIND], "both"),
        ("one is well, and the others are blind", [up_status(), BLIND, BLIND], "well"),
        (
            "what one was told before it became blind says nothing",
            [trouble_status(BOTH), replace(BLIND, up_since=T0)],
            "both",
        ),
        (
            "nor what was wrong then",
            [replace(BLIND, trouble=trouble_status(BOTH).trouble), up_status(), up_status()],
            "well",
        ),
        (
            "one says so, and nothing is known to be wrong elsewhere",
            [trouble_status(BOTH), UNTROUBLED, UNTROUBLED],
            "as it was told",
        ),
        (
            "two say so, and the third knows of nothing",
            [trouble_status(BOTH), trouble_status(BOTH), UNTROUBLED],
            "both",
        ),
        (
            "one has seen it work, and the others know of nothing",
            [up_status(), UNTROUBLED, UNTROUBLED],
            "as it was told",
        ),
        ("two have seen it work, and the third knows of nothing", [up_status(), up_status(), UNTROUBLED], "well"),
        ("nobody knows of anything", [UNTROUBLED, UNTROUBLED, UNTROUBLED], "as it was told"),
        ("one knows of nothing, and the others are blind", [UNTROUBLED, BLIND, BLIND], "as it was told"),
        ("one of three recovers, one is down still", [trouble_status(BOTH), UNCLEAR, up_status()], "as it was told"),
        ("two of four waver, and two never saw it", [UNCLEAR, UNCLEAR, up_status(), up_status()], "as it was told"),
        ("one of four wavers", [UNCLEAR, up_status(), up_status(), up_status()], "well"),
        ("one says more than the others", [trouble_status(BOTH), trouble_status(SENDING), up_status()], "sending"),
        ("each way by other sites", [trouble_status(BOTH), trouble_status(SENDING), trouble_status(RECEIVING)], "both"),
        ("each another way", [trouble_status(SENDING), trouble_status(RECEIVING), up_status()], "degraded"),
        ("slow at one, and down at another", [trouble_status(SLOW), trouble_status(BOTH), up_status()], "degraded"),
        (
            "slow at two, and down at one",
            [trouble_status(SLOW), trouble_status(SLOW), trouble_status(BOTH)],
            "degraded",
        ),
        ("slow at one, and down at two", [trouble_status(SLOW), trouble_status(BOTH), trouble_status(BOTH)], "both"),
        ("sign-in is refused to two", [REFUSED, REFUSED, up_status()], "sign_in"),
        ("sign-in is refused to one", [REFUSED, up_status(), up_status()], "well"),
        ("sign-in is refused to one of two", [REFUSED, up_status()], "as it was told"),
        (
            "sign-in is refused to one, and mail is slow at another",
            [REFUSED, trouble_status(SLOW), up_status()],
            "degraded",
        ),
        (
            "sign-in is refused to one, and mail is down at two",
            [REFUSED, trouble_status(BOTH), trouble_status(BOTH)],
            "both",
        ),
    ],
)
def test_joint_status_needs_two_sites(case: str, statuses: Sequence[SiteStatus], together: str) -> None:
    assert verdict(statuses) == together, case


@pytest.mark.parametrize(
    ("case", "statuses", "quorum", "together"),
    [
        ("one is enough where one is asked for", [trouble_status(SENDING), up_status(), up_status()], 1, "sending"),
        ("it is over where one is enough once all are well", [UNCLEAR, up_status(), up_status()], 1, "as it was told"),
        (
            "two of four are too few for three, and two well too",
            [*2 * [trouble_status(BOTH)], *2 * [up_status()]],
            3,
            "as it was told",
        ),
        ("three of four are well", [trouble_status(BOTH), *3 * [up_status()]], 3, "well"),
        ("more are asked for than there are", [trouble_status(BOTH), trouble_status(BOTH)], 9, "both"),
        ("and one of these is well", [trouble_status(BOTH), up_status()], 9, "as it was told"),
    ],
)
def test_joint_status_needs_quorum(case: str, statuses: Sequence[SiteStatus], quorum: int, together: str) -> None:
    assert verdict(statuses, Quorum(minimum=quorum)) == together, case


@pytest.mark.parametrize(
    ("case", "statuses", "silent", "together"),
    [
        ("one is heard, and two are not", [trouble_status(BOTH)], [up_status(), up_status()], "as it was told"),
        (
            "nor does it end anything alone",
            [up_status()],
            [trouble_status(BOTH), trouble_status(BOTH)],
            "as it was told",
        ),
        ("two are heard, and one is not", [trouble_status(BOTH), trouble_status(BOTH)], [up_status()], "both"),
        ("those that are not heard do not see it", [trouble_status(BOTH)], [BLIND, BLIND], "both"),
        ("one that is not heard knew of nothing", [trouble_status(BOTH)], [UNTROUBLED], "as it was told"),
        (
            "one that is heard is blind, and one is not heard",
            [trouble_status(BOTH), BLIND],
            [up_status()],
            "as it was told",
        ),
        ("of the other way", [trouble_status(SENDING, 0, OUTBOUND)], [up_status(0, INBOUND)], "sending"),
        ("of the same way", [trouble_status(SENDING, 0, OUTBOUND)], [up_status(0, OUTBOUND)], "as it was told"),
        ("nobody is heard", [], [trouble_status(BOTH), trouble_status(BOTH)], "nobody sees it"),
        ("one that is heard knows of nothing", [UNTROUBLED], [trouble_status(BOTH)], "as it was told"),
    ],
)
def test_joint_status_silent_sites_keep_quorum(
    case: str, statuses: Sequence[SiteStatus], silent: Sequence[SiteStatus], together: str
) -> None:
    assert verdict(statuses, TWO, silent) == together, case


def test_joint_status_direction_seen_by_too_few_is_unknown() -> None:
    joint = joint_status([trouble_status(SENDING)], TWO, [up_status()])
    assert joint is not None
    assert set(joint.directions.values()) == {UNKNOWN}
    joint = joint_status([trouble_status(SENDING, 0, OUTBOUND)], TWO, [up_status(0, INBOUND)])
    assert joint is not None
    assert joint.directions == {OUTBOUND: DOWN}


@pytest.mark.parametrize(
    ("at_least", "share", "seeing", "silent", "needed"),
    [
        (1, 0, 10, 0, 1),
        (2, 0, 10, 0, 2),
        (2, 50, 10, 0, 5),
        (2, 50, 11, 0, 6),
        (2, 50, 3, 0, 2),
        (2, 50, 2, 0, 2),
        (1, 50, 2, 0, 1),
        (2, 70, 10, 0, 7),
        (2, 100, 4, 0, 4),
        # Fresh sites count for the share; all sites that would observe it count for the minimum.
        (2, 50, 4, 6, 2),
        (2, 50, 1, 3, 2),
        (2, 50, 1, 0, 1),
        (5, 0, 2, 1, 3),
        (1, 0, 0, 0, 1),
    ],
)
def test_votes_needed_is_share_of_observers_with_minimum(
    at_least: int, share: int, seeing: int, silent: int, needed: int
) -> None:
    assert Quorum(minimum=at_least, share=share).votes_needed(seeing, silent) == needed


@pytest.mark.blind
def test_joint_status_two_of_ten_sites_are_no_half() -> None:
    """Defect: Two sites of ten make an outage that eight do not see.

    Pantau: A quorum is a share of the fresh sites, with a floor.
    """
    half = Quorum(minimum=2, share=50)
    assert verdict([*2 * [trouble_status(BOTH)], *8 * [up_status()]], half) == "well"
    assert verdict([*4 * [trouble_status(BOTH)], UNCLEAR, *5 * [up_status()]], half) == "as it was told"
    assert verdict([*5 * [trouble_status(BOTH)], *5 * [up_status()]], half) == "both"


@pytest.mark.parametrize(
    ("case", "statuses", "together"),
    [
        ("both say so", [trouble_status(BOTH, 3), trouble_status(BOTH, 1)], "both"),
        ("one says so, and the other that all works", [trouble_status(BOTH), up_status()], "both"),
        ("one says so, and the other is not clear", [trouble_status(BOTH), UNCLEAR], "both"),
        ("one is well, and the other is not clear", [up_status(), UNCLEAR], "as it was told"),
        ("both are well", [up_status(), up_status()], "well"),
        ("one is blind", [trouble_status(SENDING), BLIND], "sending"),
    ],
)
def test_votes_by_voter_sites_sharing_uplink_have_one_vote(
    case: str, statuses: Sequence[SiteStatus], together: str
) -> None:
    names = ("johor", "kuching")
    uplinks = dict.fromkeys(names, "tm")
    # A site named like the uplink is a separate voter.
    votes = votes_by_voter(
        dict(zip(names, statuses, strict=True)) | {"tm": up_status()}, Quorum(minimum=2, uplinks=uplinks)
    )
    assert len(votes) == 2
    assert verdict([votes[True, "tm"]]) == together, case


@pytest.mark.parametrize(
    ("heard", "is_reached"),
    [(["noc"], False), (["noc", "johor"], True), (["johor", "kuching"], False), (["noc", "johor", "kuching"], True)],
)
def test_quorum_is_reached_counts_votes_and_not_sites(heard: Sequence[str], *, is_reached: bool) -> None:
    quorum = Quorum(minimum=2, uplinks={"johor": "tm", "kuching": "tm"})
    assert quorum.is_reached(heard, ["noc", "johor", "kuching"]) is is_reached
    assert Quorum(minimum=9).is_reached(["noc", "johor"], ["noc", "johor"])


@pytest.mark.parametrize(
    ("case", "statuses", "together"),
    [
        (
            "only one site sees how mail comes in",
            [trouble_status(RECEIVING, 0, OUTBOUND, INBOUND), up_status(0, OUTBOUND), up_status(0, OUTBOUND)],
            "receiving",
        ),
        (
            "and it is not clear whether it works again",
            [SiteStatus(directions={OUTBOUND: UP, INBOUND: DOWN}), up_status(0, OUTBOUND), up_status(0, OUTBOUND)],
            "as it was told",
        ),
        (
            "and it has gone down and up there too often to be believed",
            [SiteStatus(directions={OUTBOUND: UP, INBOUND: UP}), up_status(0, OUTBOUND), up_status(0, OUTBOUND)],
            "as it was told",
        ),
        (
            "and that works again",
            [trouble_status(SLOW, 0, OUTBOUND), up_status(0, OUTBOUND, INBOUND), up_status(0, OUTBOUND)],
            "well",
        ),
        (
            "one sees that sending fails that others do not see, who are well",
            [trouble_status(SENDING, 0, OUTBOUND, INBOUND), up_status(0, INBOUND), up_status(0, INBOUND)],
            "sending",
        ),
        (
            "only one sees that sending is slow",
            [trouble_status(SLOW, 0, INBOUND, OUTBOUND), up_status(0, INBOUND), up_status(0, INBOUND)],
            "degraded",
        ),
        (
            "mail within the agency says of both ways",
            [trouble_status(BOTH, 0, INTERNAL), trouble_status(BOTH, 0, INTERNAL), up_status(0, OUTBOUND, INBOUND)],
            "both",
        ),
        (
            "what a site says of a way that it does not see any more counts for that something is wrong",
            [trouble_status(SENDING, 0, INBOUND), trouble_status(SENDING, 0, INBOUND), up_status(0, INBOUND)],
            "degraded",
        ),
        (
            "one that knows of nothing wrong sees all that others see",
            [trouble_status(SENDING, 0, OUTBOUND, INBOUND), UNTROUBLED, up_status(0, INBOUND)],
            "as it was told",
        ),
    ],
)
def test_joint_status_site_votes_on_observed_directions(
    case: str, statuses: Sequence[SiteStatus], together: str
) -> None:
    assert verdict(statuses) == together, case


def test_quorum_minimum_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="quorum of 0"):
        Quorum(minimum=0)


def trouble(*statuses: SiteStatus, quorum: Quorum = TWO) -> ActiveProblem:
    joint = joint_status(statuses, quorum)
    assert joint is not None
    assert joint.trouble is not None
    return joint.trouble


def test_joint_status_trouble_began_when_last_needed_site_reported_it() -> None:
    found = trouble(trouble_status(BOTH, 9), trouble_status(BOTH, 1), trouble_status(BOTH, 5))
    assert (found.since, found.latest) == (at(5), at(5))
    # Sending has failed since minute 5, receiving since minute 7.
    found = trouble(trouble_status(SENDING, 1), trouble_status(BOTH, 5), trouble_status(RECEIVING, 7))
    assert (found.type, found.since, found.latest) == (BOTH, at(5), at(7))
    # Another, longer trouble at one site does not count.
    assert trouble(trouble_status(SLOW, 1), trouble_status(BOTH, 5), trouble_status(BOTH, 7)).since == at(7)


def test_joint_status_latest_is_when_enough_sites_report_it() -> None:
    """A manually closed incident is reported again when enough sites report a later start."""
    held = trouble_status(BOTH, 1, latest=at(3))
    assert trouble(held, held, trouble_status(BOTH, 1, latest=at(60))).latest == at(3)
    assert trouble(held, *2 * [trouble_status(BOTH, 1, latest=at(60))]).latest == at(60)


def test_joint_status_flapping_where_enough_sites_report_it() -> None:
    assert trouble(
        trouble_status(BOTH, flapping=True), trouble_status(BOTH, flapping=True), trouble_status(BOTH)
    ).flapping
    assert not trouble(trouble_status(BOTH, flapping=True), trouble_status(BOTH), trouble_status(BOTH)).flapping


def test_joint_status_up_since_when_enough_sites_were_up() -> None:
    joint = joint_status([up_status(1), up_status(5), up_status(9)], TWO)
    assert joint is not None
    assert joint.up_since == at(5)
    # Three of four must be up, otherwise two could still report it.
    joint = joint_status([up_status(1), up_status(5), up_status(9), trouble_status(BOTH)], TWO)
    assert joint is not None
    assert joint.up_since == at(9)
    # The only site that observes receiving saw it work later than the others saw anything.
    joint = joint_status([up_status(1, OUTBOUND), up_status(2, OUTBOUND), up_status(9, OUTBOUND, INBOUND)], TWO)
    assert joint is not None
    assert joint.up_since == at(9)


@pytest.mark.parametrize(
    ("case", "causes", "cause"),
    [
        ("all say the same", [Cause.CONNECT, Cause.CONNECT, Cause.CONNECT], Cause.CONNECT),
        ("most do", [Cause.CONNECT, Cause.TIMEOUT, Cause.TIMEOUT], Cause.TIMEOUT),
        ("each another", [Cause.CONNECT, Cause.TIMEOUT, Cause.DNS], None),
        ("one knows", [Cause.CONNECT, None, None], Cause.CONNECT),
        ("none knows", [None, None, None], None),
    ],
)
def test_joint_status_cause_is_most_frequent_known(
    case: str, causes: Sequence[Cause | None], cause: Cause | None
) -> None:
    joint = joint_status([trouble_status(BOTH, cause=each) for each in causes], TWO)
    assert joint is not None
    assert joint.cause is cause, case


def test_joint_status_cause_is_of_sites_reporting_that_type() -> None:
    statuses = [
        trouble_status(SENDING, cause=Cause.AUTH),
        trouble_status(BOTH),
        trouble_status(RECEIVING, cause=Cause.DNS),
        up_status(),
    ]
    joint = joint_status([*statuses, up_status(), up_status()], TWO)
    assert joint is not None
    assert (joint.trouble and joint.trouble.type, joint.cause) == (BOTH, None)
    joint = joint_status([*statuses[:2], trouble_status(SLOW, cause=Cause.DNS), up_status()], TWO)
    assert joint is not None
    assert (joint.trouble and joint.trouble.type, joint.cause) == (SENDING, Cause.AUTH)


@pytest.mark.parametrize(
    ("healths", "joint"),
    [
        ([DOWN, DOWN, UP], DOWN),
        ([DOWN, UP, UP], UP),
        ([DEGRADED, DOWN, UP], DEGRADED),
        ([DEGRADED, UP, UP], UP),
        # Too few sites have seen it work.
        ([DEGRADED, DOWN], UNKNOWN),
        ([UP, DOWN], UNKNOWN),
        ([UP, UNKNOWN, UNKNOWN], UP),
        ([UP, None, None], UP),
        ([DOWN, None, None], DOWN),
        ([None, None, None], None),
        ([UNKNOWN, UNKNOWN, UNKNOWN], None),
    ],
)
def test_joint_status_direction_is_up_where_enough_sites_saw_it(
    healths: Sequence[Health | None], joint: Health | None
) -> None:
    statuses = [
        SiteStatus(directions={INTERNAL: UP} | ({} if health is None else {OUTBOUND: health})) for health in healths
    ]
    found = joint_status(statuses, TWO)
    assert found is not None
    assert found.directions.get(OUTBOUND) is joint


def test_sites_disagree_where_one_is_in_trouble_and_another_up() -> None:
    assert sites_disagree([trouble_status(SLOW), up_status(), BLIND])
    assert not sites_disagree([trouble_status(SLOW), trouble_status(BOTH)])
    assert not sites_disagree([up_status(), BLIND, UNCLEAR])
    assert not sites_disagree([])


def test_joint_status_monitoring_fault_needs_quorum() -> None:
    dead, alive = (
        SiteStatus(trouble=ActiveProblem(type=IncidentType.MONITORING_FAULT, since=T0)),
        SiteStatus(up_since=T0),
    )
    assert verdict([dead, dead, alive]) == "monitoring_fault"
    assert verdict([dead, alive, alive]) == "well"
    assert verdict([dead, alive]) == "as it was told"
    assert verdict([dead, UNTROUBLED, UNTROUBLED]) == "as it was told"


# -- whatever they say ------------------------------------------------------------------------------------------------

minutes = st.integers(0, 30).map(at)
healths = st.dictionaries(st.sampled_from(ALL), st.sampled_from(Health))


@st.composite
def site_statuses(draw: st.DrawFn) -> SiteStatus:
    """Return any status of a site, including ones that no evaluator returns."""
    directions: Mapping[Direction, Health] = draw(healths)
    match draw(st.sampled_from(["wrong", "wrong", "well", "unclear", "blind", "untroubled"])):
        case "wrong":
            since = draw(minutes)
            found = ActiveProblem(
                type=draw(st.sampled_from(sorted(TYPE_DIRECTIONS))),
                since=since,
                latest=draw(st.none() | st.integers(0, 9).map(lambda later: since + later * MINUTE)),
                flapping=draw(st.booleans()),
            )
            directions = directions or {INTERNAL: DOWN}
            return SiteStatus(trouble=found, cause=draw(st.none() | st.sampled_from(Cause)), directions=directions)
        case "well":
            return SiteStatus(up_since=draw(minutes), directions=dict.fromkeys(directions or ALL, UP))
        case "unclear":
            return SiteStatus(directions=directions or {OUTBOUND: UP})
        case "blind":
            return BLIND
        case _:
            return UNTROUBLED


several = st.lists(site_statuses(), min_size=2, max_size=5)
quorums = st.builds(Quorum, minimum=st.integers(1, 6), share=st.sampled_from([0, 0, 34, 50, 100]))


def observes(site: SiteStatus, way: Direction | None = None) -> bool:
    """Return whether the site knows anything, about that direction if given."""
    known = {each for each, health in site.directions.items() if health is not UNKNOWN}
    if way is None and site.trouble is not None and site.trouble.type is IncidentType.SIGN_IN:
        return True
    return site == UNTROUBLED or bool(known & (set(ALL) if way is None else {way, INTERNAL}))


def is_in_trouble(site: SiteStatus | None, way: Direction | None = None) -> bool:
    """Return whether the site reports trouble, in that direction if given."""
    if site is None or site.trouble is None:
        return False
    return way is None or way in TYPE_DIRECTIONS[site.trouble.type]


def needed(
    statuses: Sequence[SiteStatus],
    quorum: Quorum,
    way: Direction | None = None,
    silent: Sequence[SiteStatus] = (),
) -> int:
    return quorum.votes_needed(
        sum(observes(site, way) for site in statuses), sum(observes(site, way) for site in silent)
    )


@given(site_statuses(), quorums)
def test_any_statuses_one_site_is_unchanged(site: SiteStatus, quorum: Quorum) -> None:
    assert joint_status([site], quorum) is site


@given(several, quorums)
def test_any_statuses_outage_is_reported_exactly_when_quorum_holds(
    statuses: Sequence[SiteStatus], quorum: Quorum
) -> None:
    joint = joint_status(statuses, quorum)
    seeing = [site for site in statuses if observes(site)]
    for way in (OUTBOUND, INBOUND):
        holders = [site for site in seeing if is_in_trouble(site, way) and (observes(site, way) or len(seeing) == 1)]
        enough = len(holders) >= needed(statuses, quorum, way) and bool(holders)
        assert is_in_trouble(joint, way) == enough
    if sum(is_in_trouble(site) for site in seeing) >= needed(statuses, quorum) and seeing:
        assert is_in_trouble(joint)


@given(several, quorums, st.randoms())
def test_any_statuses_order_does_not_matter(statuses: Sequence[SiteStatus], quorum: Quorum, chance: object) -> None:
    mixed = [*statuses]
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert joint_status(mixed, quorum) == joint_status(statuses, quorum)


@given(several, quorums)
def test_any_statuses_up_when_all_are_and_not_while_quorum_could_fail(
    statuses: Sequence[SiteStatus], quorum: Quorum
) -> None:
    joint = joint_status(statuses, quorum)
    seeing = [site for site in statuses if observes(site)]
    proven = [site for site in seeing if site.up_since]
    is_well = joint is not None and joint.up_since is not None
    if seeing and len(proven) == len(seeing):
        assert is_well
    if is_well:
        assert len(seeing) - len(proven) < needed(statuses, quorum) <= len(proven)
        assert not is_in_trouble(joint)


@given(several, quorums)
def test_any_statuses_trouble_begins_with_quorum(statuses: Sequence[SiteStatus], quorum: Quorum) -> None:
    joint = joint_status(statuses, quorum)
    if joint is None or joint.trouble is None:
        return
    since, ways = joint.trouble.since, TYPE_DIRECTIONS[joint.trouble.type]
    in_trouble = [site for site in statuses if observes(site) and is_in_trouble(site)]
    by_then = [site for site in in_trouble if site.trouble and site.trouble.since <= since]
    enough = {
        way: sum(is_in_trouble(site, way) for site in by_then) >= needed(statuses, quorum, way)
        for way in ways or (None,)
    }
    if not ways:
        # Slow in one direction, according to the sites that observe it.
        for each in ALL:
            seen = [
                site for site in statuses if site == UNTROUBLED or site.directions.get(each, UNKNOWN) is not UNKNOWN
            ]
            holding = sum(site in by_then and site.directions.get(each) in {DEGRADED, DOWN} for site in seen)
            enough[each] = holding >= quorum.votes_needed(len(seen), 0) and bool(seen)
    assert any(enough.values())
    assert since <= max(site.trouble.since for site in in_trouble if site.trouble)
    assert since <= (joint.trouble.latest or since)


def severity(site: SiteStatus | None) -> tuple[int, frozenset[Direction]]:
    """Return the severity (up, unclear, in trouble) and the failed directions."""
    if site is None or site.trouble is None:
        return (0 if site and site.up_since else 1), frozenset()
    return 2, frozenset(TYPE_DIRECTIONS[site.trouble.type])


def worse(site: SiteStatus, type_: IncidentType | None) -> SiteStatus:
    """Return the status with more trouble than before and the same observations."""
    if type_ is None:
        return replace(site, up_since=None)
    if site.trouble and not set(TYPE_DIRECTIONS[type_]) > set(TYPE_DIRECTIONS[site.trouble.type]):
        return site
    if all(health is UNKNOWN for health in site.directions.values()):
        # A blind site can report a refused sign-in only; other trouble would add votes on directions.
        return site
    found = ActiveProblem(type=type_, since=at(3))
    return replace(site, up_since=None, trouble=found)


@given(several, quorums, st.integers(0, 4), st.sampled_from([None, SLOW, SENDING, BOTH]))
def test_any_statuses_worse_site_makes_joint_status_no_better(
    statuses: Sequence[SiteStatus], quorum: Quorum, which: int, type_: IncidentType | None
) -> None:
    which %= len(statuses)
    before = severity(joint_status(statuses, quorum))
    statuses = [*statuses[:which], worse(statuses[which], type_), *statuses[which + 1 :]]
    after = severity(joint_status(statuses, quorum))
    assert after[0] >= before[0]
    assert after[1] >= before[1]


@given(several, quorums)
def test_any_statuses_blind_site_changes_nothing(statuses: Sequence[SiteStatus], quorum: Quorum) -> None:
    seeing = [site for site in statuses if observes(site)]
    assert joint_status([*statuses, BLIND], quorum) == (joint_status(seeing, quorum) if len(seeing) > 0 else None)
