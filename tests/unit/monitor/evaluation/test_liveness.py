"""When the heartbeat is suppressed, and when a restart helps."""

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
LIVE = LivenessInputs(
    started_at=T0 - timedelta(days=1),
    cycled_at=T0,
    written_at=T0,
    is_store_unavailable=False,
    audited_at=T0,
    overdue=0 * SECOND,
    probe_delay=0 * SECOND,
)


def live_except(field: str, value: Any) -> LivenessInputs:
    return replace(LIVE, **{field: value})


def test_liveness_no_failure_while_all_is_current() -> None:
    assert find_liveness_failures(LIVE, T0) == frozenset()


@pytest.mark.parametrize(
    ("field", "within", "failure"),
    [
        ("cycled_at", CYCLE_TIMEOUT, LivenessFailure.ENGINE),
        ("written_at", WRITE_TIMEOUT, LivenessFailure.STORE),
        ("audited_at", AUDIT_TIMEOUT, LivenessFailure.AUDIT),
    ],
)
def test_liveness_stale_input_is_failure(field: str, within: timedelta, failure: LivenessFailure) -> None:
    assert find_liveness_failures(live_except(field, T0 - within), T0) == frozenset()
    assert find_liveness_failures(live_except(field, T0 - within - SECOND), T0) == {failure}
    # It has stopped since before the clock was set back.
    assert find_liveness_failures(live_except(field, T0 + timedelta(hours=8)), T0) == {failure}
    assert find_liveness_failures(live_except(field, T0 + 30 * SECOND), T0) == frozenset()


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("overdue", SECOND, {LivenessFailure.OVERDUE}),
        ("probe_delay", PROBE_TIMEOUT, set()),
        ("probe_delay", PROBE_TIMEOUT + SECOND, {LivenessFailure.PROBING}),
    ],
)
def test_liveness_overdue_or_probe_delay_is_failure(field: str, value: timedelta, found: set[LivenessFailure]) -> None:
    assert find_liveness_failures(live_except(field, value), T0) == found


def test_liveness_start_has_usual_timeouts() -> None:
    fresh = replace(LIVE, started_at=T0, cycled_at=None, written_at=None, audited_at=None)
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
        # A gateway may be the cause: the service continues.
        ((LivenessFailure.OVERDUE,), None),
    ],
)
def test_unready_reason_names_stopped_part(found: tuple[LivenessFailure, ...], why: str | None) -> None:
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
        # The database is unavailable: a restart would only stop the probing as well.
        ({"written_at": OLD, "cycled_at": OLD, "audited_at": OLD, "is_store_unavailable": True}, True),
        # The write does not return: for a while the disk may be the cause.
        ({"written_at": T0 - DATABASE_TIMEOUT, "cycled_at": OLD, "audited_at": OLD}, True),
        ({"written_at": T0 - DATABASE_TIMEOUT - SECOND}, False),
        # Without any write, the time counts from the start.
        ({"written_at": None, "started_at": T0 - DATABASE_TIMEOUT}, True),
        ({"written_at": None, "started_at": T0 - DATABASE_TIMEOUT - SECOND}, False),
    ],
)
def test_is_alive_is_false_where_restart_helps(signs: dict[str, Any], *, alive: bool) -> None:
    assert is_alive(replace(LIVE, **signs), T0) is alive
