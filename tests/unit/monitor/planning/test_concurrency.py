"""Who may use which server now, and who goes first when there is room again."""

from __future__ import annotations

import time
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.planning.concurrency import DEFAULT_LIMIT, ConcurrencyLimits


def test_so_many_are_let_in_and_the_next_waits_its_turn() -> None:
    lanes = ConcurrencyLimits(room={"mel": 2})

    assert [lanes.enter(name, ["mel"]) for name in ("a", "b", "c", "d")] == [True, True, False, False]
    assert lanes.leave("b") == ["c"]
    assert lanes.leave("c") == ["d"]
    assert lanes.leave("a") == lanes.leave("d") == []
    assert [*lanes._taken, *lanes._needs, *lanes._waiting] == [], "of servers that nobody uses any more nothing is kept"


def test_who_waits_no_more_is_not_let_in_and_leaves_the_others_in_their_order() -> None:
    lanes = ConcurrencyLimits(room={"mel": 1, "lain": 1})
    assert [lanes.enter(name, ["mel"]) for name in "abcde"] == [True, False, False, False, False]
    lanes.enter("x", ["lain"])
    assert not lanes.enter("y", ["lain"])
    for name in "cey":
        lanes.withdraw(name)
    assert [lanes.leave(name) for name in "abdx"] == [["b"], ["d"], [], []]
    assert [*lanes._taken, *lanes._needs, *lanes._waiting] == []


def test_who_may_enter_when_there_is_more_room_is_told_at_once() -> None:
    lanes = ConcurrencyLimits(room={"mel": 1})
    assert [lanes.enter(name, ["mel"]) for name in "abcd"] == [True, False, False, False]
    assert lanes.resize({"mel": 3}) == ["b", "c"]
    assert lanes.resize({"mel": 2}) == lanes.leave("a") == []
    assert lanes.leave("b") == ["d"]


def test_a_lane_that_nothing_is_said_about_has_the_usual_room() -> None:
    lanes = ConcurrencyLimits()
    assert [lanes.enter(str(n), ["mel"]) for n in range(DEFAULT_LIMIT + 1)] == [True] * DEFAULT_LIMIT + [False]


def test_a_full_lane_delays_nobody_who_does_not_need_it() -> None:
    lanes = ConcurrencyLimits(room={"slow": 1, "quick": 1})
    lanes.enter("a", ["slow"])
    assert not lanes.enter("b", ["slow"])

    assert lanes.enter("c", ["quick"])
    assert lanes.leave("c") == []
    assert lanes.enter("d", ["quick"])


def test_who_waits_for_one_lane_keeps_nobody_out_of_another() -> None:
    lanes = ConcurrencyLimits(room={"account": 1, "provider": 2})
    lanes.enter("a", ["account", "provider"])
    assert not lanes.enter("b", ["account", "provider"])

    assert lanes.enter("c", ["other account", "provider"])


def test_who_needs_two_lanes_waits_for_both() -> None:
    lanes = ConcurrencyLimits(room={"account": 1, "provider": 1})
    lanes.enter("a", ["account"])
    lanes.enter("b", ["provider"])
    assert not lanes.enter("c", ["account", "provider"])

    assert lanes.leave("a") == []
    assert lanes.leave("b") == ["c"]


def test_who_asked_first_goes_first_whatever_else_they_waited_for() -> None:
    lanes = ConcurrencyLimits(room={"account": 1, "provider": 1})
    lanes.enter("a", ["account"])
    lanes.enter("b", ["provider"])
    lanes.enter("first", ["account", "provider"])
    lanes.enter("second", ["provider"])
    lanes.leave("a")

    assert lanes.leave("b") == ["first"]
    assert lanes.leave("first") == ["second"]


def test_who_asked_first_goes_first_when_one_leaves_two_lanes() -> None:
    lanes = ConcurrencyLimits(room={"account": 1, "provider": 1})
    lanes.enter("a", ["account", "provider"])
    lanes.enter("first", ["account", "provider"])
    lanes.enter("second", ["provider"])

    assert lanes.leave("a") == ["first"]


def test_who_needs_nothing_never_waits() -> None:
    assert all(ConcurrencyLimits().enter(str(n), []) for n in range(100))


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
    lanes = ConcurrencyLimits(room=room)
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
        for other in lanes.leave(name):
            waiting.remove(other)
            inside.append(other)

    for number, (wanted, leaves) in enumerate(steps):
        name = str(number)
        needs[name] = wanted
        (inside if lanes.enter(name, wanted) else waiting).append(name)
        check()
        if inside and leaves % 2:
            leave(inside[leaves % len(inside)])
            check()
    while inside:
        leave(inside[0])
        check()

    assert waiting == []


def test_ten_thousand_who_wait_are_no_work() -> None:
    lanes = ConcurrencyLimits(room={"provider": 5})
    names = [str(n) for n in range(10_000)]
    began = time.process_time()
    inside = [name for name in names if lanes.enter(name, [f"account {name}", "provider"])]
    order = list(inside)
    while inside:
        more = lanes.leave(inside.pop(0))
        inside += more
        order += more

    assert order == names
    assert time.process_time() - began < 1
