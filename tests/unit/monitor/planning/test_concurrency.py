"""Who may use which server now, and who goes first when there is room again."""

from __future__ import annotations

import time
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.planning.concurrency import DEFAULT_LIMIT, ConcurrencyLimits


def test_so_many_are_let_in_and_the_next_waits_its_turn() -> None:
    lanes = ConcurrencyLimits(limits={"mel": 2})

    assert [lanes.acquire(name, ["mel"]) for name in ("a", "b", "c", "d")] == [True, True, False, False]
    assert lanes.release("b") == ["c"]
    assert lanes.release("c") == ["d"]
    assert lanes.release("a") == lanes.release("d") == []
    assert [*lanes._used, *lanes._limit_names, *lanes._waiting] == [], (
        "of servers that nobody uses any more nothing is kept"
    )


def test_who_waits_no_more_is_not_let_in_and_leaves_the_others_in_their_order() -> None:
    lanes = ConcurrencyLimits(limits={"mel": 1, "lain": 1})
    assert [lanes.acquire(name, ["mel"]) for name in "abcde"] == [True, False, False, False, False]
    lanes.acquire("x", ["lain"])
    assert not lanes.acquire("y", ["lain"])
    for name in "cey":
        lanes.withdraw(name)
    assert [lanes.release(name) for name in "abdx"] == [["b"], ["d"], [], []]
    assert [*lanes._used, *lanes._limit_names, *lanes._waiting] == []


def test_who_may_enter_when_there_is_more_room_is_told_at_once() -> None:
    lanes = ConcurrencyLimits(limits={"mel": 1})
    assert [lanes.acquire(name, ["mel"]) for name in "abcd"] == [True, False, False, False]
    assert lanes.resize({"mel": 3}) == ["b", "c"]
    assert lanes.resize({"mel": 2}) == lanes.release("a") == []
    assert lanes.release("b") == ["d"]


def test_a_lane_that_nothing_is_said_about_has_the_usual_room() -> None:
    lanes = ConcurrencyLimits()
    assert [lanes.acquire(str(n), ["mel"]) for n in range(DEFAULT_LIMIT + 1)] == [True] * DEFAULT_LIMIT + [False]


def test_a_full_lane_delays_nobody_who_does_not_need_it() -> None:
    lanes = ConcurrencyLimits(limits={"slow": 1, "quick": 1})
    lanes.acquire("a", ["slow"])
    assert not lanes.acquire("b", ["slow"])

    assert lanes.acquire("c", ["quick"])
    assert lanes.release("c") == []
    assert lanes.acquire("d", ["quick"])


def test_who_waits_for_one_lane_keeps_nobody_out_of_another() -> None:
    lanes = ConcurrencyLimits(limits={"account": 1, "provider": 2})
    lanes.acquire("a", ["account", "provider"])
    assert not lanes.acquire("b", ["account", "provider"])

    assert lanes.acquire("c", ["other account", "provider"])


def test_who_needs_two_lanes_waits_for_both() -> None:
    lanes = ConcurrencyLimits(limits={"account": 1, "provider": 1})
    lanes.acquire("a", ["account"])
    lanes.acquire("b", ["provider"])
    assert not lanes.acquire("c", ["account", "provider"])

    assert lanes.release("a") == []
    assert lanes.release("b") == ["c"]


def test_who_asked_first_goes_first_whatever_else_they_waited_for() -> None:
    lanes = ConcurrencyLimits(limits={"account": 1, "provider": 1})
    lanes.acquire("a", ["account"])
    lanes.acquire("b", ["provider"])
    lanes.acquire("first", ["account", "provider"])
    lanes.acquire("second", ["provider"])
    lanes.release("a")

    assert lanes.release("b") == ["first"]
    assert lanes.release("first") == ["second"]


def test_who_asked_first_goes_first_when_one_leaves_two_lanes() -> None:
    lanes = ConcurrencyLimits(limits={"account": 1, "provider": 1})
    lanes.acquire("a", ["account", "provider"])
    lanes.acquire("first", ["account", "provider"])
    lanes.acquire("second", ["provider"])

    assert lanes.release("a") == ["first"]


def test_who_needs_nothing_never_waits() -> None:
    assert all(ConcurrencyLimits().acquire(str(n), []) for n in range(100))


@settings(max_examples=100, deadline=None)
@given(
    room=st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3)),
    steps=st.lists(
        st.tuples(st.lists(st.sampled_from("abcd"), unique=True, max_size=3), st.integers(0, 50)), max_size=120
    ),
)
def test_no_lane_is_overfull_nobody_waits_for_nothing_and_all_get_their_turn(
    room: dict[str, int], steps: list[tuple[list[str], int]]
) -> None:
    lanes = ConcurrencyLimits(limits=room)
    needs: dict[str, list[str]] = {}
    inside: list[str] = []
    waiting: list[str] = []

    def check() -> None:
        taken = Counter(lane for name in inside for lane in needs[name])
        assert all(taken[lane] <= room.get(lane, DEFAULT_LIMIT) for lane in taken)
        for name in waiting:
            assert any(taken[lane] >= room.get(lane, DEFAULT_LIMIT) for lane in needs[name])

    def leave(name: str) -> None:
        inside.remove(name)
        for other in lanes.release(name):
            waiting.remove(other)
            inside.append(other)

    for number, (wanted, leaves) in enumerate(steps):
        name = str(number)
        needs[name] = wanted
        (inside if lanes.acquire(name, wanted) else waiting).append(name)
        check()
        if inside and leaves % 2:
            leave(inside[leaves % len(inside)])
            check()
    while inside:
        leave(inside[0])
        check()

    assert waiting == []


def test_ten_thousand_who_wait_are_no_work() -> None:
    lanes = ConcurrencyLimits(limits={"provider": 5})
    names = [str(n) for n in range(10_000)]
    began = time.process_time()
    inside = [name for name in names if lanes.acquire(name, [f"account {name}", "provider"])]
    order = list(inside)
    while inside:
        more = lanes.release(inside.pop(0))
        inside += more
        order += more

    assert order == names
    assert time.process_time() - began < 1
