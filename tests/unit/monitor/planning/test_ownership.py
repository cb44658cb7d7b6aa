"""Which process is alive, and whose an agency is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.planning.ownership import GIVEN_UP, WHOLE, ClusterMember, ClusterMembership, Shard, TakeoverPolicy, owners
from tests.unit.monitor.trial import SECOND, T0

CODES = [f"AG{number:05d}" for number in range(10_000)]
NAMES = st.sets(st.text("abcxyz-0189", min_size=1, max_size=12), min_size=1, max_size=8)
AGENCIES = st.sets(st.text("ABCXYZ0189", min_size=1, max_size=8), max_size=60)


def owned(agencies: Iterable[str], alive: AbstractSet[str], name: str) -> frozenset[str]:
    return Shard(name=name, alive=frozenset(alive)).owned(agencies)


def at(seconds: float, name: str = "dua", *, left: bool = False) -> ClusterMember:
    return ClusterMember(name=name, heartbeat_at=T0 + seconds * SECOND, has_left=left)


def seen(membership: ClusterMembership, seconds: float, *others: ClusterMember) -> set[str]:
    return {*membership.record_heartbeats(others, T0 + seconds * SECOND)} - {"satu"}


def test_beats_and_deaths_follow_from_the_time_within_which_others_take_over() -> None:
    assert TakeoverPolicy() == TakeoverPolicy(within=10 * SECOND)
    assert TakeoverPolicy().heartbeat_interval == SECOND
    assert TakeoverPolicy().dead_after == 4 * SECOND


# -- who is alive ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "looks", "alive"),
    [
        ("it beats each second", [(n, at(n - 0.5)) for n in range(10)], True),
        ("it stops", [(n, at(min(n, 3))) for n in range(9)], False),
        ("it stopped four seconds ago, and no longer", [(n, at(min(n, 3))) for n in range(8)], True),
        ("it says that it ends", [(0, at(0)), (1, at(1, left=True))], False),
        ("it ended, and begins anew", [(0, at(0)), (1, at(1, left=True)), (2, at(1.5))], True),
        ("it died, and lives again", [*((n, at(0)) for n in range(7)), (7, at(6.5))], True),
        ("it was dead before we began, and we have just begun", [(100, at(0))], True),
        (
            "it was dead before we began, and we have looked for long enough",
            [(100 + n, at(0)) for n in range(6)],
            False,
        ),
        ("it was given up a day before we began", [(GIVEN_UP / SECOND + 1, at(0))], False),
        ("we stood still, and not it alone", [(0, at(0)), (1, at(1)), (60, at(1)), (61, at(1)), (64, at(1))], True),
        ("we stood still, and it does not come back", [(0, at(0)), *((60 + n, at(0)) for n in range(6))], False),
        ("the store's clock was set back", [(100, at(100)), (40, at(100)), (41, at(41))], True),
        (
            "it was set back, and it has not heard of that",
            [(100, at(99)), *((n, at(n + 60)) for n in range(40, 50))],
            True,
        ),
        ("it was set back, and it died", [(100, at(99.5)), *((40 + n, at(99.5)) for n in range(6))], False),
        ("it died before that, and we begin", [(40 + n, at(99.5)) for n in range(6)], False),
        ("it died, and it was set back twice", [(9, at(99)), (8, at(99)), *((2 + n, at(99)) for n in range(6))], False),
        ("its clock is a little ahead", [(n, at(n + 0.5)) for n in range(10)], True),
    ],
)
def test_who_is_alive(story: str, looks: Sequence[tuple[float, ClusterMember]], *, alive: bool) -> None:
    membership = ClusterMembership(name="satu")

    found = [seen(membership, seconds, other) for seconds, other in looks]

    assert (found[-1] == {"dua"}) is alive, story


def test_after_a_store_that_was_away_everybody_has_the_time_to_beat_again() -> None:
    membership = ClusterMembership(name="satu")
    for second in range(5):
        seen(membership, second, at(second))

    membership.record_failure()

    assert seen(membership, 5, at(4)) == {"dua"}
    assert seen(membership, 8.9, at(4)) == {"dua"}, "its beat is older than four seconds, ours are not"
    assert seen(membership, 9.1, at(4)) == set()


def test_who_is_dead_stays_dead_while_our_own_beats_fail_and_go_through_again() -> None:
    membership = ClusterMembership(name="satu")
    for second in range(6):
        seen(membership, second, at(0))

    membership.record_failure()

    assert seen(membership, 7, at(0)) == set(), "or its agencies would be given back to it"
    assert seen(membership, 8, at(7.5)) == {"dua"}


def test_who_was_silent_while_the_store_was_away_for_days_is_given_up_by_nobody_who_had_begun() -> None:
    membership, days = ClusterMembership(name="satu"), 3 * GIVEN_UP / SECOND
    seen(membership, 0, at(0))
    membership.record_failure()

    assert seen(membership, days, at(0)) == {"dua"}
    assert seen(membership, days + 3, at(0)) == {"dua"}
    assert seen(membership, days + 5, at(0)) == set(), "by then our own beats have gone through for long enough"


def test_who_begins_is_alive_by_itself() -> None:
    assert ClusterMembership(name="satu").record_heartbeats((), T0) == {"satu"}


@given(beats=st.lists(st.booleans(), max_size=40))
def test_nobody_is_called_dead_by_one_whose_own_beats_did_not_go_through_for_that_long(beats: Sequence[bool]) -> None:
    membership, since = ClusterMembership(name="satu"), 0
    for second, went_through in enumerate(beats):
        if not went_through:
            membership.record_failure()
            since = second + 1
        elif not seen(membership, second, at(-1)):
            assert second - since > 4
            return


# -- whose an agency is ------------------------------------------------------------------------------------------


@given(agencies=AGENCIES, alive=NAMES)
def test_every_agency_has_one_owner_and_it_is_alive(agencies: set[str], alive: set[str]) -> None:
    shares = [owned(agencies, alive, name) for name in alive]

    assert Counter(code for share in shares for code in share) == dict.fromkeys(agencies, 1)


@given(agencies=AGENCIES, alive=NAMES)
def test_all_come_to_the_same(agencies: set[str], alive: set[str]) -> None:
    assert owners(agencies, sorted(alive)) == owners(agencies, sorted(alive, reverse=True))


@given(agencies=AGENCIES, alive=NAMES)
def test_only_the_share_of_who_joins_or_dies_moves(agencies: set[str], alive: set[str]) -> None:
    before, after = owners(agencies, alive), owners(agencies, alive | {"baharu"})

    assert {code for code in agencies if before[code] != after[code]} == owned(agencies, alive | {"baharu"}, "baharu")


@given(alive=NAMES, data=st.data())
def test_an_agency_goes_to_one_process_that_has_its_document_though_each_knows_of_the_others_only(
    alive: set[str], data: st.DataObject
) -> None:
    documents = {name: data.draw(AGENCIES) for name in alive}

    shares = [
        Shard(name=name, alive=frozenset(alive), known={n: d for n, d in documents.items() if n != name}).owned(has)
        for name, has in documents.items()
    ]

    assert Counter(code for share in shares for code in share) == dict.fromkeys(set().union(*documents.values()), 1)


def test_who_has_not_said_of_which_agencies_it_has_documents_has_those_of_all() -> None:
    share = Shard(name="satu", alive=frozenset({"satu", "dua", "tiga"}), known={"dua": frozenset(CODES)})

    assert {code: share.owner(code) for code in CODES[:50]} == owners(CODES[:50], share.alive)


def test_two_versions_come_to_the_same() -> None:
    """While one takes the place of the other on one store, each agency would have two owners, or none."""
    whose = owners(["JCM", "JKT", "MDC", "AGÉ", "A1", "A2"], ["satu", "dua", "tiga"])

    assert whose == {"JCM": "satu", "JKT": "satu", "MDC": "satu", "AGÉ": "dua", "A1": "tiga", "A2": "tiga"}


def test_an_agency_of_which_nobody_has_a_document_has_one_owner_all_the_same() -> None:
    known = {"satu": frozenset({"JCM"}), "dua": frozenset({"MDC"})}
    share = Shard(name="satu", alive=frozenset(known), known={"dua": known["dua"]})

    assert owners(["JKT"], known, known) == owners(["JKT"], known)
    assert share.monitored_elsewhere == {"MDC"}
    assert WHOLE.monitored_elsewhere == set()


def test_a_process_alone_owns_all() -> None:
    assert owned(CODES, {"satu"}, "satu") == set(CODES)
    assert WHOLE.owned(CODES) == set(CODES)


def test_who_owns_one_agency_is_who_owns_it_among_all() -> None:
    share = Shard(name="satu", alive=frozenset({"satu", "dua", "tiga"}))

    assert {code: share.owner(code) for code in CODES[:50]} == owners(CODES[:50], share.alive)


def test_names_and_codes_are_told_apart_where_they_meet() -> None:
    """Without that `a` with `BC` would weigh as much as `aB` with `C`, and shares would hang together."""
    alive = {"a", "aB"}

    assert {owners(["BC"], alive)["BC"], owners(["C"], alive)["C"]} <= alive
    assert Counter(owners(CODES, alive).values())["a"] == pytest.approx(5000, rel=0.05)


@pytest.mark.parametrize("processes", [3, 10])
def test_ten_thousand_agencies_are_spread_evenly(processes: int) -> None:
    names = [f"prober-{number}" for number in range(processes)]

    shares = Counter(owners(CODES, names).values())

    assert max(shares.values()) <= 1.15 * len(CODES) / processes


def test_a_takeover_that_is_to_be_quick_has_quick_beats() -> None:
    policy = TakeoverPolicy(within=timedelta(seconds=5))

    assert (policy.heartbeat_interval, policy.dead_after) == (SECOND / 2, 2 * SECOND)
