"""What strangers write breaks no promise of what reads it: all that once did, and a little that is drawn each time alike.

`make fuzz` draws for as long as one likes (CONTRIBUTING.md).
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.found import targets
from tests.fuzz.target import Target, drawn

FOUND = targets()
SEEDS = [(target, seed) for target in FOUND.values() for seed in target.seeds]


@pytest.mark.parametrize(("target", "seed"), SEEDS, ids=[f"{target.name}: {seed}" for target, seed in SEEDS])
def test_what_is_known_to_be_written_breaks_nothing(target: Target, seed: str) -> None:
    target.run(target.seeds[seed])


@pytest.mark.parametrize("target", FOUND.values(), ids=FOUND)
def test_what_is_drawn_breaks_nothing(target: Target) -> None:
    @settings(max_examples=8, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(drawn(target))
    def run(octets: bytes) -> None:
        target.run(octets)

    run()
