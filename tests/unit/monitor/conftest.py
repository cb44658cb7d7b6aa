"""Metrics and their clock."""

from __future__ import annotations

import pytest

from monitor.metrics import Metrics
from tests.unit.monitor.scrape import AGENCY, ROUTE, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    metrics = Metrics(version="1.2.3", now=clock)
    metrics.register_agency(AGENCY, routes=[ROUTE])
    return metrics
