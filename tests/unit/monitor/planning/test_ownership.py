"""Live members of the cluster, and the owner of each agency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.planning.ownership import (
    ABANDONED_AFTER,
    UNSHARDED,
    ClusterMember,
    ClusterMembership,
    Shard,
    TakeoverPolicy,
    owners,
)
from tests.unit.monitor.world import SECOND, T0

CODES = [f"AG{number:05d}" for number in range(10_000)]
NAMES = st.sets(st.text("abcxyz-0189", min_size=1, max_size=12), min_size=1, max_size=8)
AGENCIES = st.sets(st.text("ABCXYZ0189", min_size=1, max_size=8), max_size=60)


def owned(agencies: Iterable[str], alive: AbstractSet[str], name: str) -> frozenset[str]:
    return Shard(name=name, alive=frozenset(alive)).owned(agencies)


def at(seconds: float, name: str = "dua", *, left: bool = False) -> ClusterMember:
    return ClusterMember(name=name, heartbeat_at=T0 + seconds * SECOND, has_left=left)


def live_members(membership: ClusterMembership, seconds: float, *others: ClusterMember) -> set[str]:
    return {*membership.record_heartbeats(others, T0 + seconds * SECOND)} - {"satu"}


def test_takeover_policy_derives_heartbeat_interval_and_dead_after() -> None:
    assert TakeoverPolicy() == TakeoverPolicy(timeout=10 * SECOND)
    assert TakeoverPolicy().heartbeat_interval == SECOND
    assert TakeoverPolicy().dead_after == 4 * SECOND


# -- who is alive ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "looks", "alive"),
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
        ("it was given up a day before we began", [(ABANDONED_AFTER / SECOND + 1, at(0))], False),
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
def test_record_heartbeats_returns_live_members(
    case: str, looks: Sequence[tuple[float, ClusterMember]], *, alive: bool
) -> None:
    membership = ClusterMembership(name="satu")

    found = [live_members(membership, seconds, other) for seconds, other in looks]

    assert (found[-1] == {"dua"}) is alive, case


def test_record_heartbeats_after_store_outage_waits_for_new_heartbeats() -> None:
    membership = ClusterMembership(name="satu")
    for second in range(5):
        live_members(membership, second, at(second))

    membership.record_failure()

    assert live_members(membership, 5, at(4)) == {"dua"}
    assert live_members(membership, 8.9, at(4)) == {"dua"}, (
        "its heartbeat is older than four seconds, our own ones are not"
    )
    assert live_members(membership, 9.1, at(4)) == set()


def test_record_failure_keeps_dead_member_dead() -> None:
    membership = ClusterMembership(name="satu")
    for second in range(6):
        live_members(membership, second, at(0))

    membership.record_failure()

    assert live_members(membership, 7, at(0)) == set(), "otherwise its agencies would return to it"
    assert live_members(membership, 8, at(7.5)) == {"dua"}


def test_record_failure_long_store_outage_abandons_no_member_early() -> None:
    membership, days = ClusterMembership(name="satu"), 3 * ABANDONED_AFTER / SECOND
    live_members(membership, 0, at(0))
    membership.record_failure()

    assert live_members(membership, days, at(0)) == {"dua"}
    assert live_members(membership, days + 3, at(0)) == {"dua"}
    assert live_members(membership, days + 5, at(0)) == set(), (
        "by then our own heartbeats have succeeded for long enough"
    )


def test_record_heartbeats_includes_itself() -> None:
    assert ClusterMembership(name="satu").record_heartbeats((), T0) == {"satu"}


@given(beats=st.lists(st.booleans(), max_size=40))
def test_any_own_failures_member_is_dead_only_after_own_heartbeats(beats: Sequence[bool]) -> None:
    membership, since = ClusterMembership(name="satu"), 0
    for second, went_through in enumerate(beats):
        if not went_through:
            membership.record_failure()
            since = second + 1
        elif not live_members(membership, second, at(-1)):
            assert second - since > 4
            return


# -- whose an agency is ------------------------------------------------------------------------------------------


@given(agencies=AGENCIES, alive=NAMES)
def test_owners_every_agency_has_one_live_owner(agencies: set[str], alive: set[str]) -> None:
    shares = [owned(agencies, alive, name) for name in alive]

    assert Counter(code for share in shares for code in share) == dict.fromkeys(agencies, 1)


@given(agencies=AGENCIES, alive=NAMES)
def test_owners_order_of_members_does_not_matter(agencies: set[str], alive: set[str]) -> None:
    assert owners(agencies, sorted(alive)) == owners(agencies, sorted(alive, reverse=True))


@given(agencies=AGENCIES, alive=NAMES)
def test_owners_join_moves_share_of_new_member_only(agencies: set[str], alive: set[str]) -> None:
    before, after = owners(agencies, alive), owners(agencies, alive | {"baharu"})

    assert {code for code in agencies if before[code] != after[code]} == owned(agencies, alive | {"baharu"}, "baharu")


@given(alive=NAMES, data=st.data())
def test_shard_agency_goes_to_one_member_with_its_document(alive: set[str], data: st.DataObject) -> None:
    documents = {name: data.draw(AGENCIES) for name in alive}

    shares = [
        Shard(
            name=name, alive=frozenset(alive), other_documents={n: d for n, d in documents.items() if n != name}
        ).owned(has)
        for name, has in documents.items()
    ]

    assert Counter(code for share in shares for code in share) == dict.fromkeys(set().union(*documents.values()), 1)


def test_shard_member_without_document_list_has_all() -> None:
    share = Shard(name="satu", alive=frozenset({"satu", "dua", "tiga"}), other_documents={"dua": frozenset(CODES)})

    assert {code: share.owner(code) for code in CODES[:50]} == owners(CODES[:50], share.alive)


def test_owners_are_stable_between_versions() -> None:
    """During a rolling upgrade an agency would have two owners, or none."""
    whose = owners(["JCM", "JKT", "MDC", "AGÉ", "A1", "A2"], ["satu", "dua", "tiga"])

    assert whose == {"JCM": "satu", "JKT": "satu", "MDC": "satu", "AGÉ": "dua", "A1": "tiga", "A2": "tiga"}


def test_owners_agency_without_document_has_one_owner() -> None:
    known = {"satu": frozenset({"JCM"}), "dua": frozenset({"MDC"})}
    share = Shard(name="satu", alive=frozenset(known), other_documents={"dua": known["dua"]})

    assert owners(["JKT"], known, known) == owners(["JKT"], known)
    assert share.monitored_elsewhere == {"MDC"}
    assert UNSHARDED.monitored_elsewhere == set()


def test_shard_single_process_owns_all() -> None:
    assert owned(CODES, {"satu"}, "satu") == set(CODES)
    assert UNSHARDED.owned(CODES) == set(CODES)


def test_shard_owner_equals_owners() -> None:
    share = Shard(name="satu", alive=frozenset({"satu", "dua", "tiga"}))

    assert {code: share.owner(code) for code in CODES[:50]} == owners(CODES[:50], share.alive)


def test_owners_name_and_code_are_separated_in_hash() -> None:
    """Without a separator `a` with `BC` would hash like `aB` with `C`."""
    alive = {"a", "aB"}

    assert {owners(["BC"], alive)["BC"], owners(["C"], alive)["C"]} <= alive
    assert Counter(owners(CODES, alive).values())["a"] == pytest.approx(5000, rel=0.05)


@pytest.mark.parametrize("processes", [3, 10])
def test_owners_ten_thousand_agencies_are_spread_evenly(processes: int) -> None:
    names = [f"prober-{number}" for number in range(processes)]

    shares = Counter(owners(CODES, names).values())

    assert max(shares.values()) <= 1.15 * len(CODES) / processes


def test_takeover_policy_short_timeout_shortens_heartbeat_interval() -> None:
    policy = TakeoverPolicy(timeout=timedelta(seconds=5))

    assert (policy.heartbeat_interval, policy.dead_after) == (SECOND / 2, 2 * SECOND)
