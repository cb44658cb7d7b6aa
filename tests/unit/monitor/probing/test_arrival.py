"""Arrivals outside a run: late, duplicate or unknown messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from monitor.evaluation.evaluator import HealthEvaluator
from monitor.metrics import Metrics
from monitor.model.health import HealthPolicy
from monitor.probing.arrival import Arrivals
from monitor.store.probing.history import History, SentToken
from probes.model.result import Arrival
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.world import MINUTE, T0, agency_routes

ROUTE = agency_routes("JCM")[0]
HERE = ROUTE.route.recipient.name
TOKEN = "00c0ffee00c0ffee"


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield cast(list[Any], lines)


class FakeHistory:
    """Part of the history that stores late arrivals."""

    def __init__(self) -> None:
        self.late: list[tuple[str, datetime]] = []
        self.broken = False
        self.asked, self.written = asyncio.Event(), asyncio.Event()

    async def record_late_arrival(self, token_id: str, seen_at: datetime) -> None:
        self.asked.set()
        if self.broken:
            raise OSError("disk full")
        self.late.append((token_id, seen_at))
        self.written.set()


class ArrivalsFixture:
    """Arrivals with their store, metrics and clock."""

    def __init__(self, known: Mapping[str, SentToken] | None = None) -> None:
        self.books = FakeHistory()
        self.time = T0
        self.metrics = Metrics(version="0", now=lambda: self.time)
        self.metrics.register_agency("JCM", routes=[ROUTE.name])
        self.arrivals = Arrivals(
            known or {},
            routes={ROUTE.name: ROUTE},
            evaluator=HealthEvaluator([ROUTE], HealthPolicy()),
            history=cast(History, self.books),
            metrics=self.metrics,
            clock=self,
        )

    def now(self) -> datetime:
        return self.time

    def late(self, mailbox: str = HERE, *, is_first_poll: bool = False) -> None:
        self.arrivals.process_message(Arrival.LATE, TOKEN, self.time, mailbox=mailbox, is_first_poll=is_first_poll)

    def counted(self, arrival: Arrival) -> float | None:
        return Scrape(self.metrics).value("probe_arrivals_total", arrival=arrival)

    def timed(self, le: str) -> float | None:
        return Scrape(self.metrics).value("mail_transit_seconds_bucket", direction=ROUTE.direction, le=le)


def before_the_start() -> dict[str, SentToken]:
    return {TOKEN: SentToken(route=ROUTE.name, at=T0 - 10 * MINUTE, has_arrived=False)}


async def test_late_arrival_from_before_restart_is_counted_and_timed() -> None:
    fixture = ArrivalsFixture(before_the_start())
    fixture.late()
    assert fixture.counted(Arrival.LATE) == 1
    assert (fixture.timed("300.0"), fixture.timed("600.0")) == (0, 1)


async def test_late_arrival_at_first_poll_after_restart_is_not_timed() -> None:
    # It may have arrived long before the first poll.
    fixture = ArrivalsFixture(before_the_start())
    fixture.late(is_first_poll=True)
    assert fixture.counted(Arrival.LATE) == 1
    assert fixture.timed("+Inf") == 0


async def test_late_arrival_sent_since_start_is_timed_at_first_poll() -> None:
    fixture = ArrivalsFixture()
    fixture.arrivals.record_sent(TOKEN, ROUTE.name, T0)
    fixture.time += 5 * MINUTE
    fixture.late(is_first_poll=True)
    assert (fixture.timed("60.0"), fixture.timed("300.0")) == (0, 1)


async def test_arrival_in_other_mailbox_is_duplicate_and_in_recipient_late() -> None:
    fixture = ArrivalsFixture(before_the_start())
    fixture.late("utama")
    assert (fixture.counted(Arrival.DUPLICATE), fixture.counted(Arrival.LATE)) == (1, 0)
    fixture.late()
    assert (fixture.counted(Arrival.DUPLICATE), fixture.counted(Arrival.LATE)) == (1, 1)
    fixture.late()
    assert (fixture.counted(Arrival.DUPLICATE), fixture.counted(Arrival.LATE)) == (2, 1), "late once, then a duplicate"


async def test_arrival_after_prompt_one_is_duplicate() -> None:
    fixture = ArrivalsFixture()
    fixture.arrivals.record_sent(TOKEN, ROUTE.name, T0)
    fixture.arrivals.record_arrival(TOKEN)
    fixture.late("utama")
    assert (fixture.counted(Arrival.DUPLICATE), fixture.counted(Arrival.LATE)) == (1, 0)


async def test_late_arrivals_are_stored_after_failed_write(logs: list[Any]) -> None:
    known = {token_id: SentToken(route=ROUTE.name, at=T0, has_arrived=False) for token_id in (TOKEN, "another")}
    fixture = ArrivalsFixture(known)
    fixture.books.broken = True
    writing = asyncio.create_task(fixture.arrivals.store_late_arrivals())
    async with asyncio.timeout(10):
        fixture.arrivals.process_message(Arrival.LATE, "another", T0, mailbox=HERE, is_first_poll=False)
        await fixture.books.asked.wait()
        fixture.books.broken = False
        fixture.late()
        await fixture.books.written.wait()
    assert fixture.books.late == [(TOKEN, T0)]
    assert "late message could not be recorded" in [line["event"] for line in logs]
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing


async def test_prober_conflict_is_counted_per_message_and_warned_once(logs: list[Any]) -> None:
    fixture = ArrivalsFixture()
    for token in ("0" * 16, "1" * 16):
        fixture.arrivals.process_message(Arrival.PROBER_CONFLICT, token, T0, mailbox=HERE, is_first_poll=False)
    assert (fixture.counted(Arrival.PROBER_CONFLICT), fixture.counted(Arrival.LATE)) == (2, 0)
    assert [line["mailbox"] for line in logs if line["log_level"] == "warning"] == [HERE]
