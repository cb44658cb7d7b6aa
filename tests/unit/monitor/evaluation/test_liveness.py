"""When the heartbeat is held back, and when a restart would help."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.evaluation.liveness import (
    AUDIT_TIMEOUT,
    CYCLE_TIMEOUT,
    DATABASE_TIMEOUT,
    PROBE_TIMEOUT,
    WRITE_TIMEOUT,
    LivenessFailure,
    LivenessInputs,
    find_liveness_failures,
    is_alive,
    unready_reason,
)

T0 = datetime(2026, 11, 24, 6, 15, tzinfo=UTC)
SECOND = timedelta(seconds=1)
WELL = LivenessInputs(
    started_at=T0 - timedelta(days=1),
    cycled_at=T0,
    written_at=T0,
    is_store_unavailable=False,
    audited_at=T0,
    overdue=0 * SECOND,
    probe_delay=0 * SECOND,
)


def well_but(field: str, value: Any) -> LivenessInputs:
    return replace(WELL, **{field: value})


def test_nothing_is_wrong_while_everything_goes_round() -> None:
    assert find_liveness_failures(WELL, T0) == frozenset()


@pytest.mark.parametrize(
    ("field", "within", "ailment"),
    [
        ("cycled_at", CYCLE_TIMEOUT, LivenessFailure.ENGINE),
        ("written_at", WRITE_TIMEOUT, LivenessFailure.STORE),
        ("audited_at", AUDIT_TIMEOUT, LivenessFailure.AUDIT),
    ],
)
def test_what_has_stood_still_for_longer_than_it_may_holds_the_heartbeat_back(
    field: str, within: timedelta, ailment: LivenessFailure
) -> None:
    assert find_liveness_failures(well_but(field, T0 - within), T0) == frozenset()
    assert find_liveness_failures(well_but(field, T0 - within - SECOND), T0) == {ailment}
    # It stands still since before the clock was set back.
    assert find_liveness_failures(well_but(field, T0 + timedelta(hours=8)), T0) == {ailment}
    assert find_liveness_failures(well_but(field, T0 + 30 * SECOND), T0) == frozenset()


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("overdue", SECOND, {LivenessFailure.OVERDUE}),
        ("probe_delay", PROBE_TIMEOUT, set()),
        ("probe_delay", PROBE_TIMEOUT + SECOND, {LivenessFailure.PROBING}),
    ],
)
def test_what_is_overdue_or_late_holds_it_back(field: str, value: timedelta, found: set[LivenessFailure]) -> None:
    assert find_liveness_failures(well_but(field, value), T0) == found


def test_a_start_has_as_long_as_anything_else_and_no_longer() -> None:
    fresh = replace(WELL, started_at=T0, cycled_at=None, written_at=None, audited_at=None)
    assert find_liveness_failures(fresh, T0 + WRITE_TIMEOUT) == frozenset()
    assert find_liveness_failures(fresh, T0 + timedelta(hours=1)) == {
        LivenessFailure.ENGINE,
        LivenessFailure.STORE,
        LivenessFailure.AUDIT,
    }


@pytest.mark.blind
@pytest.mark.parametrize(
    ("found", "why"),
    [
        ((), None),
        ((LivenessFailure.ENGINE, LivenessFailure.AUDIT), "the engine has stopped: nobody is notified"),
        ((LivenessFailure.STORE,), "nothing can be written to the database"),
        ((LivenessFailure.AUDIT,), "the auditor has stopped: overdue actions are not found"),
        ((LivenessFailure.PROBING, LivenessFailure.OVERDUE), "probes do not start on time"),
        # A gateway may be the cause: the work goes on.
        ((LivenessFailure.OVERDUE,), None),
    ],
)
def test_unready_names_the_part_that_stands_still(found: tuple[LivenessFailure, ...], why: str | None) -> None:
    """Defect: The parts that stop the heartbeat are not shown.

    Pantau: Engine, store, auditor and probing are named; an overdue notification is not, because a gateway may cause
    it.
    """
    assert unready_reason(frozenset(found)) == why


OLD = T0 - timedelta(hours=1)


@pytest.mark.parametrize(
    ("signs", "alive"),
    [
        ({}, True),
        ({"overdue": SECOND, "probe_delay": timedelta(hours=1)}, True),
        ({"cycled_at": OLD}, False),
        ({"audited_at": OLD}, False),
        # The store is away: a restart would only end the probing as well.
        ({"written_at": OLD, "cycled_at": OLD, "audited_at": OLD, "is_store_unavailable": True}, True),
        # It says nothing: for a while it may be the disk.
        ({"written_at": T0 - DATABASE_TIMEOUT, "cycled_at": OLD, "audited_at": OLD}, True),
        ({"written_at": T0 - DATABASE_TIMEOUT - SECOND}, False),
        # What was never written is as old as the start.
        ({"written_at": None, "started_at": T0 - DATABASE_TIMEOUT}, True),
        ({"written_at": None, "started_at": T0 - DATABASE_TIMEOUT - SECOND}, False),
    ],
)
def test_systemd_restarts_what_a_restart_can_cure(signs: dict[str, Any], *, alive: bool) -> None:
    assert is_alive(replace(WELL, **signs), T0) is alive
