"""Concurrency limits per server, and the order of waiting runs."""

from __future__ import annotations

import time
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.planning.concurrency import DEFAULT_LIMIT, ConcurrencyLimits


def test_acquire_up_to_limit_and_release_admits_next() -> None:
    limits = ConcurrencyLimits(limits={"mel": 2})

    assert [limits.acquire(name, ["mel"]) for name in ("a", "b", "c", "d")] == [True, True, False, False]
    assert limits.release("b") == ["c"]
    assert limits.release("c") == ["d"]
    assert limits.release("a") == limits.release("d") == []
    assert [*limits._used, *limits._limit_names, *limits._waiting] == [], "unused limits leave nothing"


def test_withdraw_leaves_order_of_others() -> None:
    limits = ConcurrencyLimits(limits={"mel": 1, "lain": 1})
    assert [limits.acquire(name, ["mel"]) for name in "abcde"] == [True, False, False, False, False]
    limits.acquire("x", ["lain"])
    assert not limits.acquire("y", ["lain"])
    for name in "cey":
        limits.withdraw(name)
    assert [limits.release(name) for name in "abdx"] == [["b"], ["d"], [], []]
    assert [*limits._used, *limits._limit_names, *limits._waiting] == []


def test_resize_admits_waiting_at_once() -> None:
    limits = ConcurrencyLimits(limits={"mel": 1})
    assert [limits.acquire(name, ["mel"]) for name in "abcd"] == [True, False, False, False]
    assert limits.resize({"mel": 3}) == ["b", "c"]
    assert limits.resize({"mel": 2}) == limits.release("a") == []
    assert limits.release("b") == ["d"]


def test_acquire_unknown_limit_uses_default() -> None:
    limits = ConcurrencyLimits()
    assert [limits.acquire(str(n), ["mel"]) for n in range(DEFAULT_LIMIT + 1)] == [True] * DEFAULT_LIMIT + [False]


def test_acquire_full_limit_does_not_delay_others() -> None:
    limits = ConcurrencyLimits(limits={"slow": 1, "quick": 1})
    limits.acquire("a", ["slow"])
    assert not limits.acquire("b", ["slow"])

    assert limits.acquire("c", ["quick"])
    assert limits.release("c") == []
    assert limits.acquire("d", ["quick"])


def test_acquire_waiting_for_one_limit_holds_no_other() -> None:
    limits = ConcurrencyLimits(limits={"account": 1, "provider": 2})
    limits.acquire("a", ["account", "provider"])
    assert not limits.acquire("b", ["account", "provider"])

    assert limits.acquire("c", ["other account", "provider"])


def test_acquire_two_limits_waits_for_both() -> None:
    limits = ConcurrencyLimits(limits={"account": 1, "provider": 1})
    limits.acquire("a", ["account"])
    limits.acquire("b", ["provider"])
    assert not limits.acquire("c", ["account", "provider"])

    assert limits.release("a") == []
    assert limits.release("b") == ["c"]


def test_release_admits_first_waiting_of_different_limits() -> None:
    limits = ConcurrencyLimits(limits={"account": 1, "provider": 1})
    limits.acquire("a", ["account"])
    limits.acquire("b", ["provider"])
    limits.acquire("first", ["account", "provider"])
    limits.acquire("second", ["provider"])
    limits.release("a")

    assert limits.release("b") == ["first"]
    assert limits.release("first") == ["second"]


def test_release_of_two_limits_admits_first_waiting() -> None:
    limits = ConcurrencyLimits(limits={"account": 1, "provider": 1})
    limits.acquire("a", ["account", "provider"])
    limits.acquire("first", ["account", "provider"])
    limits.acquire("second", ["provider"])

    assert limits.release("a") == ["first"]


def test_acquire_without_limits_never_waits() -> None:
    assert all(ConcurrencyLimits().acquire(str(n), []) for n in range(100))


@settings(max_examples=100, deadline=None)
@given(
    room=st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3)),
    steps=st.lists(
        st.tuples(st.lists(st.sampled_from("abcd"), unique=True, max_size=3), st.integers(0, 50)), max_size=120
    ),
)
def test_any_steps_limits_hold_and_all_are_admitted(room: dict[str, int], steps: list[tuple[list[str], int]]) -> None:
    limits = ConcurrencyLimits(limits=room)
    needs: dict[str, list[str]] = {}
    inside: list[str] = []
    waiting: list[str] = []

    def check() -> None:
        taken = Counter(limit for name in inside for limit in needs[name])
        assert all(taken[limit] <= room.get(limit, DEFAULT_LIMIT) for limit in taken)
        for name in waiting:
            assert any(taken[limit] >= room.get(limit, DEFAULT_LIMIT) for limit in needs[name])

    def leave(name: str) -> None:
        inside.remove(name)
        for other in limits.release(name):
            waiting.remove(other)
            inside.append(other)

    for number, (wanted, leaves) in enumerate(steps):
        name = str(number)
        needs[name] = wanted
        (inside if limits.acquire(name, wanted) else waiting).append(name)
        check()
        if inside and leaves % 2:
            leave(inside[leaves % len(inside)])
            check()
    while inside:
        leave(inside[0])
        check()

    assert waiting == []


def test_ten_thousand_waiting_are_admitted_quickly() -> None:
    limits = ConcurrencyLimits(limits={"provider": 5})
    names = [str(n) for n in range(10_000)]
    began = time.process_time()
    inside = [name for name in names if limits.acquire(name, [f"account {name}", "provider"])]
    order = list(inside)
    while inside:
        more = limits.release(inside.pop(0))
        inside += more
        order += more

    assert order == names
    assert time.process_time() - began < 1
