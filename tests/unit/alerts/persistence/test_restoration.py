"""Whether a store is an older copy of itself, and which numbers are not given then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from alerts.persistence.audit import ChainHead
from alerts.persistence.restoration import (
    BadNumberError,
    DetectionMethod,
    HighWaterMark,
    StorePosition,
    detect_restore,
    last_used_page,
    latest_pages,
    marks_beyond,
    merge_highest,
    parse_last_numbers,
    read_mark,
    skipped_numbers,
)
from tests.unit.alerts.people import T0

HOUR = timedelta(hours=1)


def mark(number: int, digest: str = "aa", *, chain: str = "first", jcm: int = 7, pages: int = 3) -> HighWaterMark:
    head = ChainHead(number=number, hash=digest)
    return HighWaterMark(chain=chain, head=head, numbers={"JCM": jcm}, pages={"JCM-07": pages})


def standing(
    number: int = 9, digest: str = "aa", *, chain: str = "first", silent: timedelta = HOUR / 2
) -> StorePosition:
    return StorePosition(
        chain=chain,
        head=ChainHead(number=number, hash=digest),
        hashes={number: digest},
        received_at=T0 - silent,
        following={"JCM": 6},
    )


EMPTY = StorePosition(chain="", head=ChainHead(), hashes={}, received_at=None, following={})


@pytest.mark.parametrize(
    ("store", "marks", "how"),
    [
        (standing(), [], None),
        (standing(), [mark(9)], None),
        (standing(8), [mark(9)], DetectionMethod.OLDER),
        (standing(9, "bb"), [mark(9)], DetectionMethod.OLDER),
        (standing(), [mark(9), mark(10)], DetectionMethod.OLDER),
        (standing(8), [mark(9, chain="another store's")], None),
        (EMPTY, [], None),
        (EMPTY, [mark(9)], DetectionMethod.EMPTY),
        (standing(silent=HOUR * 2), [], DetectionMethod.SILENT),
        (standing(silent=HOUR * 2), [mark(9)], DetectionMethod.SILENT),
        (standing(8, silent=HOUR * 2), [mark(9)], DetectionMethod.OLDER),
        (standing(silent=HOUR), [], None),
    ],
)
def test_a_store_is_an_older_copy_when_a_mark_knows_more_or_it_was_silent(
    store: StorePosition, marks: Sequence[HighWaterMark], how: DetectionMethod | None
) -> None:
    assert detect_restore(store, marks, T0, was_unchecked=True) is how


def test_a_store_that_was_watched_all_the_time_may_be_silent() -> None:
    assert detect_restore(standing(silent=HOUR * 5), [mark(9)], T0, was_unchecked=False) is None
    assert detect_restore(standing(8), [mark(9)], T0, was_unchecked=False) is DetectionMethod.OLDER


def test_numbers_go_on_behind_the_highest_that_anybody_knows() -> None:
    older = standing(8)

    assert skipped_numbers(older, [mark(9)], {}, ["JCM", "KPC"]) == {"JCM": (6, 7)}
    assert skipped_numbers(older, [mark(9), mark(10, jcm=8)], {"JCM": 23}, []) == {"JCM": (6, 23)}
    # A mark that knows no more than the store knows nothing of what came after it.
    assert skipped_numbers(standing(), [mark(9)], {"JCM": 23}, []) == {"JCM": (6, 23)}
    assert skipped_numbers(standing(), [mark(9)], {"JCM": 2}, []) == {}


def test_where_nobody_knows_a_hundred_numbers_are_left_out() -> None:
    assert skipped_numbers(standing(), [mark(9)], {}, ["JCM", "KPC"]) == {"JCM": (6, 105), "KPC": (1, 100)}


def test_pages_go_on_behind_those_that_anybody_knows_or_a_hundred_further() -> None:
    assert last_used_page("JCM-07", [mark(9)], {}) == 3
    assert last_used_page("JCM-07", [mark(9)], {"JCM-07": 5}) == 5
    assert last_used_page("JCM-06", [mark(9)], {}) == 0
    assert last_used_page("JCM-07", [], {}) == 100
    assert last_used_page("JCM-07", [], {"JCM-07": 5}) == 5


def test_what_people_say_is_on_paper_is_read_as_it_stands_there() -> None:
    assert parse_last_numbers(["JCM-23", "jcm-7/3", "PPD01-04", "JCM-05"]) == ({"JCM": 23, "PPD01": 4}, {"JCM-07": 3})
    assert parse_last_numbers([]) == ({}, {})
    for wrong in ("23", "JCM", "JCM-", "JCM-7/", "JCM-1234567", ""):
        with pytest.raises(BadNumberError, match="write the last number that is on paper, as JCM-23"):
            parse_last_numbers([wrong])


def test_a_mark_is_read_as_it_was_written() -> None:
    assert read_mark(mark(9).as_json()) == mark(9)
    wrongs: list[object] = [{}, [], None, {**mark(9).as_json(), "numbers": 3}, {**mark(9).as_json(), "number": "x"}]
    for wrong in wrongs:
        with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
            read_mark(wrong)


def test_a_mark_keeps_the_pages_of_the_latest_incidents_only() -> None:
    pages = merge_highest([{f"JCM-{n}": 1 for n in range(900)}, {"JCM-3": 2}])

    kept = latest_pages(pages)

    assert len(kept) == 500
    assert kept["JCM-3"] == 2
    assert "JCM-4" not in kept


def test_a_mark_of_the_same_head_is_not_ahead() -> None:
    assert marks_beyond(standing(), [mark(9)]) == []
