"""Problems reported about the connection to a site and its clock."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from monitor.store.sites.joining import clock_problems
from monitor.store.sites.link import error_text
from tests.unit.monitor.world import SECOND, T0


def test_error_text_removes_control_characters() -> None:
    error = psycopg.Error('could not load private key file "johor.key": \x07\x1b[2J\n\x80 Permission denied')
    assert error_text(error) == 'could not load private key file "johor.key": [2J Permission denied'


@pytest.mark.parametrize(
    ("there", "took", "expected"),
    [
        (0, 0, []),
        (5, 0, []),
        (6, 0, ["its clock is 6 s ahead: set it"]),
        (-6, 0, ["its clock is 6 s behind: set it"]),
        # The network delay explains the difference: no clock need be wrong.
        (30, 30, []),
        (0, 30, []),
        (36, 30, ["its clock is 6 s ahead: set it"]),
        (-3600, 30, ["its clock is 3600 s behind: set it"]),
    ],
)
def test_clock_problems_exclude_network_delay(there: int, took: int, expected: list[str]) -> None:
    assert [*clock_problems(T0, T0 + there * SECOND, T0 + timedelta(seconds=took))] == expected
