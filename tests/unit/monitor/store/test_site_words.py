from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from monitor.store.sites.joining import clock_problems
from monitor.store.sites.link import error_text
from tests.unit.monitor.trial import SECOND, T0


def test_what_a_library_had_in_memory_breaks_no_line_of_what_is_said() -> None:
    error = psycopg.Error('could not load private key file "johor.key": \x07\x1b[2J\n\x80 Permission denied')
    assert error_text(error) == 'could not load private key file "johor.key": [2J Permission denied'


@pytest.mark.parametrize(
    ("there", "took", "said"),
    [
        (0, 0, []),
        (5, 0, []),
        (6, 0, ["its clock is 6 s ahead: set it"]),
        (-6, 0, ["its clock is 6 s behind: set it"]),
        # As late as the wire is slow, or as early: no clock need be wrong.
        (30, 30, []),
        (0, 30, []),
        (36, 30, ["its clock is 6 s ahead: set it"]),
        (-3600, 30, ["its clock is 3600 s behind: set it"]),
    ],
)
def test_clock_of_a_site_is_wrong_by_what_the_wire_does_not_explain(there: int, took: int, said: list[str]) -> None:
    assert [*clock_problems(T0, T0 + there * SECOND, T0 + timedelta(seconds=took))] == said
