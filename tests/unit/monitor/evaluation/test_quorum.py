"""How something stands of which several sites judge: as enough of them say, and not as one of them does."""

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
from tests.unit.monitor.trial import MINUTE, T0

INTERNAL, OUTBOUND, INBOUND = Direction.INTERNAL, Direction.OUTBOUND, Direction.INBOUND
ALL = (INTERNAL, OUTBOUND, INBOUND)
UP, DEGRADED, DOWN, UNKNOWN = Health.UP, Health.DEGRADED, Health.DOWN, Health.UNKNOWN


def well(minute: int = 0, *directions: Direction) -> SiteStatus:
    """Return what a site says to which all works that it sees, since that minute."""
    return SiteStatus(up_since=at(minute), directions=dict.fromkeys(directions or ALL, UP))


def wrong(matter: IncidentType, minute: int = 0, *directions: Direction, **more: object) -> SiteStatus:
    """Return what a site says that is in trouble since that minute; mail within the agency works."""
    health = dict.fromkeys(directions or ALL, UP)
    health |= {way: DOWN for way in TYPE_DIRECTIONS.get(matter, ()) if way in health}
    if matter is IncidentType.DEGRADED:
        health[max(health)] = DEGRADED
    cause = more.pop("cause", None)
    trouble = ActiveProblem(type=matter, since=at(minute), **more)  # type: ignore[arg-type]
    return SiteStatus(trouble=trouble, cause=cause, directions=health)  # type: ignore[arg-type]


def at(minute: int) -> datetime:
    return T0 + minute * MINUTE


BOTH, SENDING, RECEIVING, SLOW = IncidentType.BOTH, IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.DEGRADED
#: It sees, and does not say yet: it is being confirmed, it recovers, or it has gone down and up too often.
UNCLEAR = SiteStatus(directions={INTERNAL: UP, OUTBOUND: DOWN, INBOUND: UP})
#: Its references are dead, whatever it was told before that.
BLIND = SiteStatus(directions=dict.fromkeys(ALL, UNKNOWN))
#: Its accounts are refused.
REFUSED = replace(BLIND, trouble=ActiveProblem(type=IncidentType.SIGN_IN, since=T0))


#: Two at least must say so.
TWO = Quorum(minimum=2)


def verdict(said: Sequence[SiteStatus], quorum: Quorum = TWO, silent: Sequence[SiteStatus] = ()) -> str:
    """Return what sites say together, as it stands in the tables below."""
    joint = joint_status(said, quorum, silent)
    if joint is None:
        return "nobody sees it"
    if joint.trouble is not None:
        return f"{joint.trouble.type}"
    return "as it was told" if joint.up_since is None else "well"


@pytest.mark.parametrize(
    ("case", "said", "together"),
    [
        ("nobody is fresh", [], "nobody sees it"),
        ("all are blind", [BLIND, BLIND], "nobody sees it"),
        ("one alone says what it says", [wrong(BOTH)], "both"),
        ("one of three is cut off", [wrong(BOTH), well(), well()], "well"),
        ("two of three say so", [wrong(BOTH), wrong(BOTH), well()], "both"),
        ("two say so, and two that all works", [wrong(BOTH), wrong(BOTH), well(), well()], "both"),
        ("one of two says so", [wrong(BOTH), well()], "as it was told"),
        ("one says so, and the other is not clear yet", [wrong(BOTH), UNCLEAR], "as it was told"),
        ("one says so, and the others are not clear yet", [wrong(BOTH), UNCLEAR, UNCLEAR], "as it was told"),
        ("one says so, and the others are blind", [wrong(BOTH), BLIND, BLIND], "both"),
        ("one is well, and the others are blind", [well(), BLIND, BLIND], "well"),
        ("what one was told before it became blind says nothing", [wrong(BOTH), replace(BLIND, up_since=T0)], "both"),
        ("nor what was wrong then", [replace(BLIND, trouble=wrong(BOTH).trouble), well(), well()], "well"),
        (
            "one says so, and nothing is known to be wrong elsewhere",
            [wrong(BOTH), UNTROUBLED, UNTROUBLED],
            "as it was told",
        ),
        ("two say so, and the third knows of nothing", [wrong(BOTH), wrong(BOTH), UNTROUBLED], "both"),
        ("one has seen it work, and the others know of nothing", [well(), UNTROUBLED, UNTROUBLED], "as it was told"),
        ("two have seen it work, and the third knows of nothing", [well(), well(), UNTROUBLED], "well"),
        ("nobody knows of anything", [UNTROUBLED, UNTROUBLED, UNTROUBLED], "as it was told"),
        ("one knows of nothing, and the others are blind", [UNTROUBLED, BLIND, BLIND], "as it was told"),
        ("one of three recovers, one is down still", [wrong(BOTH), UNCLEAR, well()], "as it was told"),
        ("two of four waver, and two never saw it", [UNCLEAR, UNCLEAR, well(), well()], "as it was told"),
        ("one of four wavers", [UNCLEAR, well(), well(), well()], "well"),
        ("one says more than the others", [wrong(BOTH), wrong(SENDING), well()], "sending"),
        ("each way by other sites", [wrong(BOTH), wrong(SENDING), wrong(RECEIVING)], "both"),
        ("each another way", [wrong(SENDING), wrong(RECEIVING), well()], "degraded"),
        ("slow at one, and down at another", [wrong(SLOW), wrong(BOTH), well()], "degraded"),
        ("slow at two, and down at one", [wrong(SLOW), wrong(SLOW), wrong(BOTH)], "degraded"),
        ("slow at one, and down at two", [wrong(SLOW), wrong(BOTH), wrong(BOTH)], "both"),
        ("sign-in is refused to two", [REFUSED, REFUSED, well()], "sign_in"),
        ("sign-in is refused to one", [REFUSED, well(), well()], "well"),
        ("sign-in is refused to one of two", [REFUSED, well()], "as it was told"),
        ("sign-in is refused to one, and mail is slow at another", [REFUSED, wrong(SLOW), well()], "degraded"),
        ("sign-in is refused to one, and mail is down at two", [REFUSED, wrong(BOTH), wrong(BOTH)], "both"),
    ],
)
def test_two_must_say_the_same(case: str, said: Sequence[SiteStatus], together: str) -> None:
    assert verdict(said) == together, case


@pytest.mark.parametrize(
    ("case", "said", "quorum", "together"),
    [
        ("one is enough where one is asked for", [wrong(SENDING), well(), well()], 1, "sending"),
        ("it is over where one is enough once all are well", [UNCLEAR, well(), well()], 1, "as it was told"),
        (
            "two of four are too few for three, and two well too",
            [*2 * [wrong(BOTH)], *2 * [well()]],
            3,
            "as it was told",
        ),
        ("three of four are well", [wrong(BOTH), *3 * [well()]], 3, "well"),
        ("more are asked for than there are", [wrong(BOTH), wrong(BOTH)], 9, "both"),
        ("and one of these is well", [wrong(BOTH), well()], 9, "as it was told"),
    ],
)
def test_a_quorum_is_asked_for(case: str, said: Sequence[SiteStatus], quorum: int, together: str) -> None:
    assert verdict(said, Quorum(minimum=quorum)) == together, case


@pytest.mark.parametrize(
    ("case", "said", "silent", "together"),
    [
        ("one is heard, and two are not", [wrong(BOTH)], [well(), well()], "as it was told"),
        ("nor does it end anything alone", [well()], [wrong(BOTH), wrong(BOTH)], "as it was told"),
        ("two are heard, and one is not", [wrong(BOTH), wrong(BOTH)], [well()], "both"),
        ("those that are not heard do not see it", [wrong(BOTH)], [BLIND, BLIND], "both"),
        ("one that is not heard knew of nothing", [wrong(BOTH)], [UNTROUBLED], "as it was told"),
        ("one that is heard is blind, and one is not heard", [wrong(BOTH), BLIND], [well()], "as it was told"),
        ("of the other way", [wrong(SENDING, 0, OUTBOUND)], [well(0, INBOUND)], "sending"),
        ("of the same way", [wrong(SENDING, 0, OUTBOUND)], [well(0, OUTBOUND)], "as it was told"),
        ("nobody is heard", [], [wrong(BOTH), wrong(BOTH)], "nobody sees it"),
        ("one that is heard knows of nothing", [UNTROUBLED], [wrong(BOTH)], "as it was told"),
    ],
)
def test_sites_that_are_not_heard_leave_the_quorum_as_it_is(
    case: str, said: Sequence[SiteStatus], silent: Sequence[SiteStatus], together: str
) -> None:
    assert verdict(said, TWO, silent) == together, case


def test_direction_that_only_one_of_two_needed_sees_is_unknown() -> None:
    joint = joint_status([wrong(SENDING)], TWO, [well()])
    assert joint is not None
    assert set(joint.directions.values()) == {UNKNOWN}
    joint = joint_status([wrong(SENDING, 0, OUTBOUND)], TWO, [well(0, INBOUND)])
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
        # Only what is heard counts for the share, and all that would see it for the floor.
        (2, 50, 4, 6, 2),
        (2, 50, 1, 3, 2),
        (2, 50, 1, 0, 1),
        (5, 0, 2, 1, 3),
        (1, 0, 0, 0, 1),
    ],
)
def test_quorum_is_a_share_of_those_that_see_it_with_a_floor(
    at_least: int, share: int, seeing: int, silent: int, needed: int
) -> None:
    assert Quorum(minimum=at_least, share=share).votes_needed(seeing, silent) == needed


@pytest.mark.blind
def test_two_of_ten_sites_are_no_half() -> None:
    """Defect: Two sites of ten make an outage that eight do not see.

    Pantau: A quorum is a share of the fresh sites, with a floor.
    """
    half = Quorum(minimum=2, share=50)
    assert verdict([*2 * [wrong(BOTH)], *8 * [well()]], half) == "well"
    assert verdict([*4 * [wrong(BOTH)], UNCLEAR, *5 * [well()]], half) == "as it was told"
    assert verdict([*5 * [wrong(BOTH)], *5 * [well()]], half) == "both"


@pytest.mark.parametrize(
    ("case", "said", "together"),
    [
        ("both say so", [wrong(BOTH, 3), wrong(BOTH, 1)], "both"),
        ("one says so, and the other that all works", [wrong(BOTH), well()], "both"),
        ("one says so, and the other is not clear", [wrong(BOTH), UNCLEAR], "both"),
        ("one is well, and the other is not clear", [well(), UNCLEAR], "as it was told"),
        ("both are well", [well(), well()], "well"),
        ("one is blind", [wrong(SENDING), BLIND], "sending"),
    ],
)
def test_sites_that_share_an_uplink_say_together_what_one_of_them_does(
    case: str, said: Sequence[SiteStatus], together: str
) -> None:
    names = ("johor", "kuching")
    uplinks = dict.fromkeys(names, "tm")
    # A site of the uplink's name is another voter.
    votes = votes_by_voter(dict(zip(names, said, strict=True)) | {"tm": well()}, Quorum(minimum=2, uplinks=uplinks))
    assert len(votes) == 2
    assert verdict([votes[True, "tm"]]) == together, case


@pytest.mark.parametrize(
    ("heard", "is_reached"),
    [(["noc"], False), (["noc", "johor"], True), (["johor", "kuching"], False), (["noc", "johor", "kuching"], True)],
)
def test_quorum_is_reached_by_votes_and_not_by_sites(heard: Sequence[str], *, is_reached: bool) -> None:
    quorum = Quorum(minimum=2, uplinks={"johor": "tm", "kuching": "tm"})
    assert quorum.is_reached(heard, ["noc", "johor", "kuching"]) is is_reached
    assert Quorum(minimum=9).is_reached(["noc", "johor"], ["noc", "johor"])


@pytest.mark.parametrize(
    ("case", "said", "together"),
    [
        (
            "only one site sees how mail comes in",
            [wrong(RECEIVING, 0, OUTBOUND, INBOUND), well(0, OUTBOUND), well(0, OUTBOUND)],
            "receiving",
        ),
        (
            "and it is not clear whether it works again",
            [SiteStatus(directions={OUTBOUND: UP, INBOUND: DOWN}), well(0, OUTBOUND), well(0, OUTBOUND)],
            "as it was told",
        ),
        (
            "and it has gone down and up there too often to be believed",
            [SiteStatus(directions={OUTBOUND: UP, INBOUND: UP}), well(0, OUTBOUND), well(0, OUTBOUND)],
            "as it was told",
        ),
        (
            "and that works again",
            [wrong(SLOW, 0, OUTBOUND), well(0, OUTBOUND, INBOUND), well(0, OUTBOUND)],
            "well",
        ),
        (
            "one sees that sending fails that others do not see, who are well",
            [wrong(SENDING, 0, OUTBOUND, INBOUND), well(0, INBOUND), well(0, INBOUND)],
            "sending",
        ),
        (
            "only one sees that sending is slow",
            [wrong(SLOW, 0, INBOUND, OUTBOUND), well(0, INBOUND), well(0, INBOUND)],
            "degraded",
        ),
        (
            "mail within the agency says of both ways",
            [wrong(BOTH, 0, INTERNAL), wrong(BOTH, 0, INTERNAL), well(0, OUTBOUND, INBOUND)],
            "both",
        ),
        (
            "what a site says of a way that it does not see any more counts for that something is wrong",
            [wrong(SENDING, 0, INBOUND), wrong(SENDING, 0, INBOUND), well(0, INBOUND)],
            "degraded",
        ),
        (
            "one that knows of nothing wrong sees all that others see",
            [wrong(SENDING, 0, OUTBOUND, INBOUND), UNTROUBLED, well(0, INBOUND)],
            "as it was told",
        ),
    ],
)
def test_a_site_has_a_say_in_what_it_sees(case: str, said: Sequence[SiteStatus], together: str) -> None:
    assert verdict(said) == together, case


def test_a_quorum_of_none_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="quorum of 0"):
        Quorum(minimum=0)


def trouble(*said: SiteStatus, quorum: Quorum = TWO) -> ActiveProblem:
    joint = joint_status(said, quorum)
    assert joint is not None
    assert joint.trouble is not None
    return joint.trouble


def test_it_began_when_the_last_of_those_that_are_needed_said_so() -> None:
    found = trouble(wrong(BOTH, 9), wrong(BOTH, 1), wrong(BOTH, 5))
    assert (found.since, found.latest) == (at(5), at(5))
    # Nothing can be sent since the 5th minute, nothing received since the 7th.
    found = trouble(wrong(SENDING, 1), wrong(BOTH, 5), wrong(RECEIVING, 7))
    assert (found.type, found.since, found.latest) == (BOTH, at(5), at(7))
    # That one alone has been in another trouble for longer is not it.
    assert trouble(wrong(SLOW, 1), wrong(BOTH, 5), wrong(BOTH, 7)).since == at(7)


def test_the_latest_of_it_began_when_enough_say_that_of_it() -> None:
    """What a person has ended by hand is told again when anything began afterwards, and not because of one site."""
    held = wrong(BOTH, 1, latest=at(3))
    assert trouble(held, held, wrong(BOTH, 1, latest=at(60))).latest == at(3)
    assert trouble(held, *2 * [wrong(BOTH, 1, latest=at(60))]).latest == at(60)


def test_it_is_unsteady_where_enough_say_so() -> None:
    assert trouble(wrong(BOTH, flapping=True), wrong(BOTH, flapping=True), wrong(BOTH)).flapping
    assert not trouble(wrong(BOTH, flapping=True), wrong(BOTH), wrong(BOTH)).flapping


def test_it_is_well_since_enough_were() -> None:
    joint = joint_status([well(1), well(5), well(9)], TWO)
    assert joint is not None
    assert joint.up_since == at(5)
    # Three of four must be, or two would be left that could hold it.
    joint = joint_status([well(1), well(5), well(9), wrong(BOTH)], TWO)
    assert joint is not None
    assert joint.up_since == at(9)
    # The only one that sees how mail comes in has seen it work later than the others see anything.
    joint = joint_status([well(1, OUTBOUND), well(2, OUTBOUND), well(9, OUTBOUND, INBOUND)], TWO)
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
def test_why_it_fails_is_what_most_say_that_know(
    case: str, causes: Sequence[Cause | None], cause: Cause | None
) -> None:
    joint = joint_status([wrong(BOTH, cause=each) for each in causes], TWO)
    assert joint is not None
    assert joint.cause is cause, case


def test_why_it_fails_is_asked_of_those_that_say_what_fails() -> None:
    said = [wrong(SENDING, cause=Cause.AUTH), wrong(BOTH), wrong(RECEIVING, cause=Cause.DNS), well()]
    joint = joint_status([*said, well(), well()], TWO)
    assert joint is not None
    assert (joint.trouble and joint.trouble.type, joint.cause) == (BOTH, None)
    joint = joint_status([*said[:2], wrong(SLOW, cause=Cause.DNS), well()], TWO)
    assert joint is not None
    assert (joint.trouble and joint.trouble.type, joint.cause) == (SENDING, Cause.AUTH)


@pytest.mark.parametrize(
    ("healths", "joint"),
    [
        ([DOWN, DOWN, UP], DOWN),
        ([DOWN, UP, UP], UP),
        ([DEGRADED, DOWN, UP], DEGRADED),
        ([DEGRADED, UP, UP], UP),
        # Too few have seen it work.
        ([DEGRADED, DOWN], UNKNOWN),
        ([UP, DOWN], UNKNOWN),
        ([UP, UNKNOWN, UNKNOWN], UP),
        ([UP, None, None], UP),
        ([DOWN, None, None], DOWN),
        ([None, None, None], None),
        ([UNKNOWN, UNKNOWN, UNKNOWN], None),
    ],
)
def test_a_direction_works_where_enough_have_seen_it_work(
    healths: Sequence[Health | None], joint: Health | None
) -> None:
    said = [
        SiteStatus(directions={INTERNAL: UP} | ({} if health is None else {OUTBOUND: health})) for health in healths
    ]
    found = joint_status(said, TWO)
    assert found is not None
    assert found.directions.get(OUTBOUND) is joint


def test_sites_disagree_where_one_says_that_something_is_wrong_and_another_that_all_is_well() -> None:
    assert sites_disagree([wrong(SLOW), well(), BLIND])
    assert not sites_disagree([wrong(SLOW), wrong(BOTH)])
    assert not sites_disagree([well(), BLIND, UNCLEAR])
    assert not sites_disagree([])


def test_a_fault_of_ours_is_told_where_enough_have_it() -> None:
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
def standings(draw: st.DrawFn) -> SiteStatus:
    """Return what a site may say of an agency; more than a judge would."""
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


several = st.lists(standings(), min_size=2, max_size=5)
quorums = st.builds(Quorum, minimum=st.integers(1, 6), share=st.sampled_from([0, 0, 34, 50, 100]))


def sees(site: SiteStatus, way: Direction | None = None) -> bool:
    """Return whether it knows anything; of that way."""
    known = {each for each, health in site.directions.items() if health is not UNKNOWN}
    if way is None and site.trouble is not None and site.trouble.type is IncidentType.SIGN_IN:
        return True
    return site == UNTROUBLED or bool(known & (set(ALL) if way is None else {way, INTERNAL}))


def is_wrong(site: SiteStatus | None, way: Direction | None = None) -> bool:
    """Return whether it says that anything is wrong; that mail does not go that way."""
    if site is None or site.trouble is None:
        return False
    return way is None or way in TYPE_DIRECTIONS[site.trouble.type]


def needed(
    said: Sequence[SiteStatus],
    quorum: Quorum,
    way: Direction | None = None,
    silent: Sequence[SiteStatus] = (),
) -> int:
    return quorum.votes_needed(sum(sees(site, way) for site in said), sum(sees(site, way) for site in silent))


@given(standings(), quorums)
def test_one_site_says_what_it_says(site: SiteStatus, quorum: Quorum) -> None:
    assert joint_status([site], quorum) is site


@given(several, quorums)
def test_there_is_no_outage_that_fewer_hold_than_are_needed_and_none_is_lost_that_enough_hold(
    said: Sequence[SiteStatus], quorum: Quorum
) -> None:
    joint = joint_status(said, quorum)
    seeing = [site for site in said if sees(site)]
    for way in (OUTBOUND, INBOUND):
        holders = [site for site in seeing if is_wrong(site, way) and (sees(site, way) or len(seeing) == 1)]
        enough = len(holders) >= needed(said, quorum, way) and bool(holders)
        assert is_wrong(joint, way) == enough
    if sum(is_wrong(site) for site in seeing) >= needed(said, quorum) and seeing:
        assert is_wrong(joint)


@given(several, quorums, st.randoms())
def test_it_does_not_matter_who_says_it_first(said: Sequence[SiteStatus], quorum: Quorum, chance: object) -> None:
    mixed = [*said]
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert joint_status(mixed, quorum) == joint_status(said, quorum)


@given(several, quorums)
def test_where_all_say_well_it_is_well_and_where_enough_may_hold_it_it_is_not(
    said: Sequence[SiteStatus], quorum: Quorum
) -> None:
    joint = joint_status(said, quorum)
    seeing = [site for site in said if sees(site)]
    proven = [site for site in seeing if site.up_since]
    is_well = joint is not None and joint.up_since is not None
    if seeing and len(proven) == len(seeing):
        assert is_well
    if is_well:
        assert len(seeing) - len(proven) < needed(said, quorum) <= len(proven)
        assert not is_wrong(joint)


@given(several, quorums)
def test_it_begins_once_enough_hold_it_and_not_later_than_all_do(said: Sequence[SiteStatus], quorum: Quorum) -> None:
    joint = joint_status(said, quorum)
    if joint is None or joint.trouble is None:
        return
    since, ways = joint.trouble.since, TYPE_DIRECTIONS[joint.trouble.type]
    in_trouble = [site for site in said if sees(site) and is_wrong(site)]
    by_then = [site for site in in_trouble if site.trouble and site.trouble.since <= since]
    enough = {way: sum(is_wrong(site, way) for site in by_then) >= needed(said, quorum, way) for way in ways or (None,)}
    if not ways:
        # Slow in one direction, by those that see it.
        for each in ALL:
            seen = [site for site in said if site == UNTROUBLED or site.directions.get(each, UNKNOWN) is not UNKNOWN]
            holding = sum(site in by_then and site.directions.get(each) in {DEGRADED, DOWN} for site in seen)
            enough[each] = holding >= quorum.votes_needed(len(seen), 0) and bool(seen)
    assert any(enough.values())
    assert since <= max(site.trouble.since for site in in_trouble if site.trouble)
    assert since <= (joint.trouble.latest or since)


def grave(site: SiteStatus | None) -> tuple[int, frozenset[Direction]]:
    """Return how bad it is: well, not clear, something wrong; and which ways are out."""
    if site is None or site.trouble is None:
        return (0 if site and site.up_since else 1), frozenset()
    return 2, frozenset(TYPE_DIRECTIONS[site.trouble.type])


def worse(site: SiteStatus, matter: IncidentType | None) -> SiteStatus:
    """Return what a site says that sees what it saw, and says that so much is wrong, if that is more than it said."""
    if matter is None:
        return replace(site, up_since=None)
    if site.trouble and not set(TYPE_DIRECTIONS[matter]) > set(TYPE_DIRECTIONS[site.trouble.type]):
        return site
    if all(health is UNKNOWN for health in site.directions.values()):
        # It can report a refused sign-in; a fault of the mail would come with votes on directions that it had none on.
        return site
    found = ActiveProblem(type=matter, since=at(3))
    return replace(site, up_since=None, trouble=found)


@given(several, quorums, st.integers(0, 4), st.sampled_from([None, SLOW, SENDING, BOTH]))
def test_a_site_that_says_worse_makes_it_no_better(
    said: Sequence[SiteStatus], quorum: Quorum, which: int, matter: IncidentType | None
) -> None:
    which %= len(said)
    before = grave(joint_status(said, quorum))
    said = [*said[:which], worse(said[which], matter), *said[which + 1 :]]
    after = grave(joint_status(said, quorum))
    assert after[0] >= before[0]
    assert after[1] >= before[1]


@given(several, quorums)
def test_a_site_that_is_blind_changes_nothing(said: Sequence[SiteStatus], quorum: Quorum) -> None:
    seeing = [site for site in said if sees(site)]
    assert joint_status([*said, BLIND], quorum) == (joint_status(seeing, quorum) if len(seeing) > 0 else None)
