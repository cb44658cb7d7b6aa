"""Clock set back by hours during an outage: trouble and recovery are found as soon as with a correct clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from alerts.model.notification import IncidentType
from probes.model.result import Outcome, Phase
from tests.unit.monitor.world import GREYLISTS, LOSES, MINUTE, REFUSED, WRONG_PASSWORD, Fault, imap, slow, smtp, world

pytestmark = pytest.mark.blind

BACK = timedelta(hours=8)
#: Rounds that succeed, that fail, and that succeed again.
WELL, FAILING, AGAIN = 3, 14, 4

#: Type of the trouble, its duration so far, and the faulty sources.
Observation = tuple[IncidentType | None, timedelta | None, frozenset[str]]


def observe(faulty: str, fault: Fault, *, back_before: int | None = None) -> Sequence[Observation]:
    """Return the observation after each round; *back_before*: the round before which the clock is set back."""
    here, found = world("JCM", "JKT").rounds(WELL), list[Observation]()
    for number in range(FAILING + AGAIN):
        if number == back_before:
            here.now -= BACK
        here.faults = {faulty: fault} if number < FAILING else {}
        here.rounds(1)
        trouble = here.evaluator.trouble("JCM", here.now)
        lasts = None if trouble is None else here.now - trouble.since
        found.append((None if trouble is None else trouble.type, lasts, frozenset(here.own())))
    return found


@pytest.mark.parametrize(
    ("faulty", "fault"),
    [
        pytest.param("JCM/utama", REFUSED, id="refused"),
        pytest.param("JCM/utama", LOSES, id="lost"),
        pytest.param("JCM/utama", smtp(Outcome.REJECTED, Phase.SUBMIT), id="cannot send"),
        pytest.param("JCM/utama", imap(Outcome.TIMEOUT, Phase.RETRIEVE), id="hangs"),
        pytest.param("JCM/utama", slow(), id="slow"),
        pytest.param("JCM/utama", GREYLISTS, id="deferred"),
        pytest.param("JCM/utama", WRONG_PASSWORD, id="password"),
        pytest.param("a", LOSES, id="reference loses"),
        pytest.param("a", REFUSED, id="reference refused"),
    ],
)
@pytest.mark.parametrize("back_before", [1, 3, 9, 14])
def test_clock_set_back_trouble_and_recovery_are_found_as_soon(faulty: str, fault: Fault, back_before: int) -> None:
    """Defect: After a clock is set back, deferrals last eight hours more and outages begin in the future.

    Pantau: The evaluator's times move back with the clock.
    """
    plain, found = observe(faulty, fault), observe(faulty, fault, back_before=back_before)
    if fault is GREYLISTS:
        # The budget of a deferral is counted from the last run before the clock was set back.
        assert found[8] in (plain[8], (None, None, frozenset()))
        plain, found = [*plain[:8], *plain[9:]], [*found[:8], *found[9:]]
    assert [(incident_type, own) for incident_type, _, own in found] == [
        (incident_type, own) for incident_type, _, own in plain
    ]
    # The reported duration may be shorter by the time since the last run before the change.
    assert all(abs(a - b) <= 6 * MINUTE for (_, a, _), (_, b, _) in zip(found, plain, strict=True) if a and b)
