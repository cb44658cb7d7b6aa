"""Health from a streak of runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.evaluation.health import assess, combine, has_just_failed, needs_another_run
from monitor.model.health import Grade, Health, HealthPolicy

POLICY = HealthPolicy()
GRADES = {"g": Grade.GOOD, "s": Grade.SLOW, "b": Grade.BAD, "p": Grade.PENDING, "n": Grade.NONE}
UP, DOWN, DEGRADED, UNKNOWN = Health.UP, Health.DOWN, Health.DEGRADED, Health.UNKNOWN


def grades(letters: str) -> list[Grade]:
    return [GRADES[letter] for letter in letters]


@pytest.mark.parametrize(
    ("runs", "before", "after"),
    [
        ("", UNKNOWN, UNKNOWN),
        ("g", UNKNOWN, UNKNOWN),
        ("gg", UNKNOWN, UP),
        ("gs", UNKNOWN, DEGRADED),
        ("sg", UNKNOWN, UP),
        ("bb", UNKNOWN, UNKNOWN),
        ("bbb", UNKNOWN, DOWN),
        ("b", UP, UP),
        ("bb", UP, UP),
        ("bbb", UP, DOWN),
        ("gbgb", UP, UP),
        ("bbgbb", UP, UP),
        ("ss", UP, UP),
        ("sss", UP, DEGRADED),
        ("sbs", UP, UP),
        ("bsbs", UP, UP),
        ("bsbsb", UP, DEGRADED),
        ("gsbsb", UP, UP),
        ("gbgb", UNKNOWN, UNKNOWN),
        ("gbgbg", UNKNOWN, DEGRADED),
        ("gbgbg", DOWN, DOWN),
        ("g", DOWN, DOWN),
        ("gg", DOWN, UP),
        ("gs", DOWN, DEGRADED),
        ("ss", DOWN, DEGRADED),
        ("gb", DOWN, DOWN),
        ("g", DEGRADED, DEGRADED),
        ("gg", DEGRADED, UP),
        ("sg", DEGRADED, DEGRADED),
        ("bbb", DEGRADED, DOWN),
        ("bnbnb", UP, DOWN),
        ("bpbpb", UP, DOWN),
        ("gnng", DOWN, UP),
        ("nnnn", UP, UP),
        ("pppp", UP, UP),
        ("nnnn", DOWN, DOWN),
        ("pppp", UNKNOWN, UNKNOWN),
    ],
)
def test_assess_needs_streak_to_change_health(runs: str, before: Health, after: Health) -> None:
    assert assess(grades(runs), before, POLICY) is after


@given(
    st.lists(st.sampled_from("gsb"), max_size=8), st.lists(st.sampled_from("pn"), max_size=8), st.sampled_from(Health)
)
def test_assess_ignores_pending_and_ungraded_runs(said: list[str], silent: list[str], before: Health) -> None:
    mixed = said.copy()
    for place, letter in enumerate(silent):
        mixed.insert(place * 2 % (len(mixed) + 1), letter)

    assert assess(grades("".join(mixed)), before, POLICY) is assess(grades("".join(said)), before, POLICY)


@given(st.lists(st.sampled_from("gsbpn"), max_size=9), st.sampled_from(Health))
def test_assess_is_idempotent(runs: list[str], before: Health) -> None:
    once = assess(grades("".join(runs)), before, POLICY)

    assert assess(grades("".join(runs)), once, POLICY) is once


@given(st.lists(st.sampled_from("sbpn"), max_size=9))
def test_assess_without_good_run_is_not_up(runs: list[str]) -> None:
    assert assess(grades("".join(runs)), UNKNOWN, POLICY) is not UP


@pytest.mark.parametrize(
    ("runs", "health", "again"),
    [
        ("", UNKNOWN, False),
        ("n", UP, False),
        ("g", UNKNOWN, True),
        ("g", UP, False),
        ("b", UP, True),
        ("s", UP, True),
        ("bn", UP, True),
        ("bbb", UP, False),
        ("bb", UNKNOWN, True),
        ("bbb", UNKNOWN, False),
        ("b", DOWN, False),
        ("g", DOWN, True),
        ("s", DOWN, True),
        ("s", DEGRADED, False),
        ("g", DEGRADED, True),
        ("b", DEGRADED, True),
        ("sb", DEGRADED, True),
        ("bb", DEGRADED, True),
        ("gb", DEGRADED, False),
        ("bg", DEGRADED, False),
    ],
)
def test_needs_another_run_when_run_contradicts_health(runs: str, health: Health, *, again: bool) -> None:
    assert needs_another_run(grades(runs), health, POLICY) is again


@pytest.mark.parametrize(
    ("runs", "health", "first"),
    [
        ("", UP, False),
        ("g", UP, False),
        ("b", UP, True),
        ("gb", UP, True),
        ("gnb", UP, True),
        ("gs", UP, True),
        ("gbb", UP, False),
        ("gpb", UP, False),
        ("gn", UP, False),
        # Two good runs are enough.
        ("bgb", UP, False),
        ("bggb", UP, True),
        ("gb", UNKNOWN, False),
        ("gb", DEGRADED, False),
    ],
)
def test_has_just_failed_first_failure_of_up_route_only(runs: str, health: Health, *, first: bool) -> None:
    assert has_just_failed(grades(runs), health) is first


@pytest.mark.parametrize(
    ("healths", "whole"),
    [
        ([], UNKNOWN),
        ([UNKNOWN, UNKNOWN], UNKNOWN),
        ([UP, UNKNOWN], UP),
        ([DOWN, UNKNOWN], DOWN),
        ([UP, UP], UP),
        ([DOWN, DOWN], DOWN),
        ([UP, DOWN], DEGRADED),
        ([UP, DEGRADED], DEGRADED),
        ([DEGRADED, DOWN], DEGRADED),
    ],
)
def test_combine_is_down_only_when_all_routes_are(healths: list[Health], whole: Health) -> None:
    assert combine(healths) is whole


@pytest.mark.parametrize(("down", "up", "longest_streak"), [(1, 1, 1), (3, 2, 3), (2, 5, 5)])
def test_longest_streak_is_larger_threshold(down: int, up: int, longest_streak: int) -> None:
    assert HealthPolicy(failure_threshold=down, success_threshold=up).longest_streak == longest_streak
