"""Fuzz targets: known inputs, and a few generated ones that are the same each time.

`make fuzz` generates as many as wanted (CONTRIBUTING.md).
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.registry import targets
from tests.fuzz.target import Target, generated

FOUND = targets()
SEEDS = [(target, seed) for target in FOUND.values() for seed in target.seeds]


@pytest.mark.parametrize(("target", "seed"), SEEDS, ids=[f"{target.name}: {seed}" for target, seed in SEEDS])
def test_fuzz_target_known_seed_raises_nothing(target: Target, seed: str) -> None:
    target.run(target.seeds[seed])


@pytest.mark.parametrize("target", FOUND.values(), ids=FOUND)
def test_fuzz_target_generated_input_raises_nothing(target: Target) -> None:
    @settings(max_examples=8, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(generated(target))
    def run(octets: bytes) -> None:
        target.run(octets)

    run()
