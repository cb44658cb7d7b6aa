"""Detection of a restored store, and the numbers skipped then."""

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
    find_newer_marks,
    last_used_page,
    latest_pages,
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


def position(
    number: int = 9, digest: str = "aa", *, chain: str = "first", silent: timedelta = HOUR / 2
) -> StorePosition:
    return StorePosition(
        chain=chain,
        head=ChainHead(number=number, hash=digest),
        hashes={number: digest},
        last_write_at=T0 - silent,
        next_numbers={"JCM": 6},
    )


EMPTY = StorePosition(chain="", head=ChainHead(), hashes={}, last_write_at=None, next_numbers={})


@pytest.mark.parametrize(
    ("store", "marks", "how"),
    [
        (position(), [], None),
        (position(), [mark(9)], None),
        (position(8), [mark(9)], DetectionMethod.OLDER),
        (position(9, "bb"), [mark(9)], DetectionMethod.OLDER),
        (position(), [mark(9), mark(10)], DetectionMethod.OLDER),
        (position(8), [mark(9, chain="another store's")], None),
        (EMPTY, [], None),
        (EMPTY, [mark(9)], DetectionMethod.EMPTY),
        (position(silent=HOUR * 2), [], DetectionMethod.SILENT),
        (position(silent=HOUR * 2), [mark(9)], DetectionMethod.SILENT),
        (position(8, silent=HOUR * 2), [mark(9)], DetectionMethod.OLDER),
        (position(silent=HOUR), [], None),
    ],
)
def test_restore_is_detected_by_newer_mark_or_silence(
    store: StorePosition, marks: Sequence[HighWaterMark], how: DetectionMethod | None
) -> None:
    assert detect_restore(store, marks, T0, was_unchecked=True) is how


def test_continuously_checked_store_may_be_silent() -> None:
    assert detect_restore(position(silent=HOUR * 5), [mark(9)], T0, was_unchecked=False) is None
    assert detect_restore(position(8), [mark(9)], T0, was_unchecked=False) is DetectionMethod.OLDER


def test_numbers_continue_after_highest_known() -> None:
    older = position(8)

    assert skipped_numbers(older, [mark(9)], {}, ["JCM", "KPC"]) == {"JCM": (6, 7)}
    assert skipped_numbers(older, [mark(9), mark(10, jcm=8)], {"JCM": 23}, []) == {"JCM": (6, 23)}
    # A mark that is not ahead of the store contains no later number.
    assert skipped_numbers(position(), [mark(9)], {"JCM": 23}, []) == {"JCM": (6, 23)}
    assert skipped_numbers(position(), [mark(9)], {"JCM": 2}, []) == {}


def test_hundred_numbers_are_skipped_when_none_is_known() -> None:
    assert skipped_numbers(position(), [mark(9)], {}, ["JCM", "KPC"]) == {"JCM": (6, 105), "KPC": (1, 100)}


def test_pages_continue_after_highest_known_or_skip_hundred() -> None:
    assert last_used_page("JCM-07", [mark(9)], {}) == 3
    assert last_used_page("JCM-07", [mark(9)], {"JCM-07": 5}) == 5
    assert last_used_page("JCM-06", [mark(9)], {}) == 0
    assert last_used_page("JCM-07", [], {}) == 100
    assert last_used_page("JCM-07", [], {"JCM-07": 5}) == 5


def test_last_numbers_are_parsed_as_printed() -> None:
    assert parse_last_numbers(["JCM-23", "jcm-7/3", "PPD01-04", "JCM-05"]) == ({"JCM": 23, "PPD01": 4}, {"JCM-07": 3})
    assert parse_last_numbers([]) == ({}, {})
    for wrong in ("23", "JCM", "JCM-", "JCM-7/", "JCM-1234567", ""):
        with pytest.raises(BadNumberError, match="write the last number that is on paper, as JCM-23"):
            parse_last_numbers([wrong])


def test_mark_round_trips_and_malformed_mark_raises() -> None:
    assert read_mark(mark(9).as_json()) == mark(9)
    wrongs: list[object] = [{}, [], None, {**mark(9).as_json(), "numbers": 3}, {**mark(9).as_json(), "number": "x"}]
    for wrong in wrongs:
        with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
            read_mark(wrong)


def test_mark_keeps_pages_of_latest_incidents_only() -> None:
    pages = merge_highest([{f"JCM-{n}": 1 for n in range(900)}, {"JCM-3": 2}])

    kept = latest_pages(pages)

    assert len(kept) == 500
    assert kept["JCM-3"] == 2
    assert "JCM-4" not in kept


def test_mark_of_same_head_is_not_newer() -> None:
    assert find_newer_marks(position(), [mark(9)]) == []
