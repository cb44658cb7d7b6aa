"""Which mailbox of a pool a process uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from monitor.model.pool import preferred_order


def drawn(pool: Sequence[str], process: str) -> str:
    return preferred_order(pool, process)[0]


POOL = ("satu@rujukan-a.gov.my", "dua@rujukan-a.gov.my", "tiga@rujukan-a.gov.my")


@pytest.mark.parametrize("name", ["prob-{n}", "prob{n}", "prob-0{n}", "{n}", "prob-{n}.contoh.gov.my", "vm7-{n}"])
def test_as_many_numbered_processes_as_there_are_mailboxes_use_each_of_them(name: str) -> None:
    used = [drawn(POOL, name.format(n=n)) for n in range(4, 7)]
    assert Counter(used) == Counter(POOL)


def test_more_processes_than_mailboxes_share_them_evenly() -> None:
    assert set(Counter(drawn(POOL, f"prob-{n}") for n in range(30)).values()) == {10}


def test_processes_without_a_number_draw_by_lot() -> None:
    names = [f"prob-{chr(ord('a') + n % 26)}{chr(ord('a') + n // 26)}" for n in range(600)]
    assert all(150 < many < 250 for many in Counter(drawn(POOL, name) for name in names).values())


def test_it_is_the_same_whatever_the_order_and_the_case_in_which_the_pool_is_written() -> None:
    loud = [each.upper() for each in reversed(POOL)]
    for name in ("utama", "prob-1", "prob-2", "prob-b"):
        assert drawn(loud, name).lower() == drawn(POOL, name) == drawn(POOL, name)


def test_it_is_what_it_was_in_versions_before() -> None:
    # Whoever draws otherwise after an upgrade looks for the mail of before in another mailbox.
    assert [drawn(POOL, name).partition("@")[0] for name in ("utama", "prob-1", "prob-2", "prob-3")] == [
        "dua",
        "tiga",
        "dua",
        "satu",
    ]


def test_a_pool_of_one_is_that_one_and_an_empty_one_nobodys() -> None:
    assert preferred_order(POOL[:1], "prob-7") == [POOL[0]]
    assert preferred_order((), "prob-7") == []


def test_what_a_process_does_not_use_comes_after_what_it_does_and_for_each_in_another_order() -> None:
    orders = {tuple(preferred_order(POOL, f"prob-{n}")) for n in range(3)}
    assert [set(order) for order in orders] == [set(POOL)] * 3
    assert [len({order[place] for order in orders}) for place in range(3)] == [3, 3, 3]
