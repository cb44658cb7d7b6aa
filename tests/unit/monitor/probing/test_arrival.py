"""Mail that no run waits for: late, a copy, or nobody's."""

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
from tests.unit.monitor.trial import MINUTE, T0, agency_routes

ROUTE = agency_routes("JCM")[0]
HERE = ROUTE.route.recipient.name
TOKEN = "00c0ffee00c0ffee"


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield cast(list[Any], lines)


class Books:
    """The part of the store that late mail is written to."""

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


class CallbackHandler:
    """Where arrivals are taken in."""

    def __init__(self, known: Mapping[str, SentToken] | None = None) -> None:
        self.books = Books()
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


async def test_late_mail_of_an_earlier_life_is_known_by_its_route_and_timed() -> None:
    desk = CallbackHandler(before_the_start())
    desk.late()
    assert desk.counted(Arrival.LATE) == 1
    assert (desk.timed("300.0"), desk.timed("600.0")) == (0, 1)


async def test_what_lies_there_at_the_first_look_after_a_restart_is_not_timed() -> None:
    # It may have come long before we looked.
    desk = CallbackHandler(before_the_start())
    desk.late(is_first_poll=True)
    assert desk.counted(Arrival.LATE) == 1
    assert desk.timed("+Inf") == 0


async def test_what_was_sent_since_the_start_is_timed_even_at_the_first_look() -> None:
    desk = CallbackHandler()
    desk.arrivals.record_sent(TOKEN, ROUTE.name, T0)
    desk.time += 5 * MINUTE
    desk.late(is_first_poll=True)
    assert (desk.timed("60.0"), desk.timed("300.0")) == (0, 1)


async def test_a_copy_in_another_mailbox_of_ours_is_a_duplicate_and_where_it_is_looked_for_it_is_late() -> None:
    desk = CallbackHandler(before_the_start())
    desk.late("utama")
    assert (desk.counted(Arrival.DUPLICATE), desk.counted(Arrival.LATE)) == (1, 0)
    desk.late()
    assert (desk.counted(Arrival.DUPLICATE), desk.counted(Arrival.LATE)) == (1, 1)
    desk.late()
    assert (desk.counted(Arrival.DUPLICATE), desk.counted(Arrival.LATE)) == (2, 1), "once late, then a copy"


async def test_a_copy_of_what_came_in_time_is_a_duplicate() -> None:
    desk = CallbackHandler()
    desk.arrivals.record_sent(TOKEN, ROUTE.name, T0)
    desk.arrivals.record_arrival(TOKEN)
    desk.late("utama")
    assert (desk.counted(Arrival.DUPLICATE), desk.counted(Arrival.LATE)) == (1, 0)


async def test_late_mail_is_written_down_also_after_a_disk_was_full(logs: list[Any]) -> None:
    known = {token_id: SentToken(route=ROUTE.name, at=T0, has_arrived=False) for token_id in (TOKEN, "another")}
    desk = CallbackHandler(known)
    desk.books.broken = True
    writing = asyncio.create_task(desk.arrivals.store_late_arrivals())
    async with asyncio.timeout(10):
        desk.arrivals.process_message(Arrival.LATE, "another", T0, mailbox=HERE, is_first_poll=False)
        await desk.books.asked.wait()
        desk.books.broken = False
        desk.late()
        await desk.books.written.wait()
    assert desk.books.late == [(TOKEN, T0)]
    assert "late message could not be recorded" in [line["event"] for line in logs]
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing


async def test_another_machine_of_the_same_name_is_counted_by_mail_and_warned_of_once(logs: list[Any]) -> None:
    desk = CallbackHandler()
    for token in ("0" * 16, "1" * 16):
        desk.arrivals.process_message(Arrival.PROBER_CONFLICT, token, T0, mailbox=HERE, is_first_poll=False)
    assert (desk.counted(Arrival.PROBER_CONFLICT), desk.counted(Arrival.LATE)) == (2, 0)
    assert [line["mailbox"] for line in logs if line["log_level"] == "warning"] == [HERE]
