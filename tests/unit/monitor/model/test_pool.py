"""Choice of a pool mailbox by a process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from monitor.model.pool import preferred_order


def drawn(pool: Sequence[str], process: str) -> str:
    return preferred_order(pool, process)[0]


POOL = ("satu@rujukan-a.gov.my", "dua@rujukan-a.gov.my", "tiga@rujukan-a.gov.my")


@pytest.mark.parametrize("name", ["prob-{n}", "prob{n}", "prob-0{n}", "{n}", "prob-{n}.contoh.gov.my", "vm7-{n}"])
def test_preferred_order_numbered_processes_use_every_mailbox(name: str) -> None:
    used = [drawn(POOL, name.format(n=n)) for n in range(4, 7)]
    assert Counter(used) == Counter(POOL)


def test_preferred_order_more_processes_share_mailboxes_evenly() -> None:
    assert set(Counter(drawn(POOL, f"prob-{n}") for n in range(30)).values()) == {10}


def test_preferred_order_unnumbered_processes_are_distributed() -> None:
    names = [f"prob-{chr(ord('a') + n % 26)}{chr(ord('a') + n // 26)}" for n in range(600)]
    assert all(150 < many < 250 for many in Counter(drawn(POOL, name) for name in names).values())


def test_preferred_order_ignores_order_and_case_of_pool() -> None:
    loud = [each.upper() for each in reversed(POOL)]
    for name in ("utama", "prob-1", "prob-2", "prob-b"):
        assert drawn(loud, name).lower() == drawn(POOL, name) == drawn(POOL, name)


def test_preferred_order_is_stable_between_versions() -> None:
    # A different choice after an upgrade would search for earlier mail in another mailbox.
    assert [drawn(POOL, name).partition("@")[0] for name in ("utama", "prob-1", "prob-2", "prob-3")] == [
        "dua",
        "tiga",
        "dua",
        "satu",
    ]


def test_preferred_order_pool_of_one_or_none() -> None:
    assert preferred_order(POOL[:1], "prob-7") == [POOL[0]]
    assert preferred_order((), "prob-7") == []


def test_preferred_order_fallbacks_differ_between_processes() -> None:
    orders = {tuple(preferred_order(POOL, f"prob-{n}")) for n in range(3)}
    assert [set(order) for order in orders] == [set(POOL)] * 3
    assert [len({order[place] for order in orders}) for place in range(3)] == [3, 3, 3]
