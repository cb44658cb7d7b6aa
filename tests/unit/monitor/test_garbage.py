from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from monitor.garbage import set_aside


class Knot:
    """Holds itself: only the collector frees it."""

    def __init__(self) -> None:
        self.self = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_garbage_goes_and_what_lives_is_set_aside() -> None:
    living, dead = Knot(), Knot()
    gone = weakref.ref(dead)
    del dead
    set_aside()
    assert gone() is None
    assert living.self is living
    assert gc.get_freeze_count() > 0
    assert living not in gc.get_objects()


def test_what_dies_after_it_was_set_aside_goes_the_next_time() -> None:
    knot = Knot()
    gone = weakref.ref(knot)
    set_aside()
    del knot
    gc.collect()
    assert gone() is not None
    set_aside()
    assert gone() is None
