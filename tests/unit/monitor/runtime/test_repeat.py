"""Periodic tasks: they continue after any error, and log it once."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta

from structlog.testing import capture_logs

from alerts.persistence.store import StoreUnavailable
from monitor.runtime.repeat import run_periodically


class Stop(BaseException):
    """Exception that ends the task, like a cancellation."""


class TransactionConflictError(StoreUnavailable):
    pass


async def logged(outcomes: Iterable[Exception | None]) -> list[tuple[str, str]]:
    """Run a task with these outcomes; return its log lines and their levels."""
    coming = iter(outcomes)

    async def action() -> None:
        try:
            outcome = next(coming)
        except StopIteration:
            raise Stop from None
        if outcome is not None:
            raise outcome

    with capture_logs() as lines, suppress(Stop):
        await run_periodically("the audit", action, timedelta(0))
    assert {line["task"] for line in lines} <= {"the audit"}
    return [(line["event"], "traceback" if line.get("exc_info") else line["log_level"]) for line in lines]


async def test_run_periodically_success_is_not_logged() -> None:
    assert await logged([None] * 3) == []


async def test_run_periodically_store_outage_is_logged_once_and_recovery_once() -> None:
    away, race = StoreUnavailable("disk full"), TransactionConflictError("could not serialize access")
    assert await logged([None, away, race, away, None, None]) == [
        ("task waits for the database", "warning"),
        ("task recovered", "info"),
    ]


async def test_run_periodically_error_is_logged_once_per_type_with_traceback() -> None:
    assert await logged([KeyError("a"), KeyError("b"), TypeError("c"), TypeError("d"), None]) == [
        ("task failed; retrying", "traceback"),
        ("task failed; retrying", "traceback"),
        ("task recovered", "info"),
    ]


async def test_run_periodically_repeated_outage_is_logged_again() -> None:
    away = StoreUnavailable("disk full")
    assert [event for event, _ in await logged([away, None, away, None])] == [
        "task waits for the database",
        "task recovered",
    ] * 2
