"""What is done again and again goes on whatever befalls it, and fills no log."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta

from structlog.testing import capture_logs

from alerts.persistence.store import StoreUnavailable
from monitor.runtime.repeat import run_periodically


class Enough(BaseException):
    """Ends the keeping, as a cancellation does."""


class TransactionConflictError(StoreUnavailable):
    pass


async def logged(token_states: Iterable[Exception | None]) -> list[tuple[str, str]]:
    """Do something that meets these fates one after the other; return what is logged of it, and how loudly."""
    coming = iter(token_states)

    async def deed() -> None:
        try:
            token_state = next(coming)
        except StopIteration:
            raise Enough from None
        if token_state is not None:
            raise token_state

    with capture_logs() as lines, suppress(Enough):
        await run_periodically("the audit", deed, timedelta(0))
    assert {line["task"] for line in lines} <= {"the audit"}
    return [(line["event"], "traceback" if line.get("exc_info") else line["log_level"]) for line in lines]


async def test_what_goes_well_is_not_logged() -> None:
    assert await logged([None] * 3) == []


async def test_a_store_that_is_away_is_logged_once_without_a_traceback_and_once_when_it_is_back() -> None:
    away, race = StoreUnavailable("disk full"), TransactionConflictError("could not serialize access")
    assert await logged([None, away, race, away, None, None]) == [
        ("task waits for the database", "warning"),
        ("task recovered", "info"),
    ]


async def test_a_bug_is_logged_once_with_its_traceback_and_another_bug_once_more() -> None:
    assert await logged([KeyError("a"), KeyError("b"), TypeError("c"), TypeError("d"), None]) == [
        ("task failed; retrying", "traceback"),
        ("task failed; retrying", "traceback"),
        ("task recovered", "info"),
    ]


async def test_what_comes_back_is_logged_again() -> None:
    away = StoreUnavailable("disk full")
    assert [event for event, _ in await logged([away, None, away, None])] == [
        "task waits for the database",
        "task recovered",
    ] * 2
