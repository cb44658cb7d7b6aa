"""A gateway that takes every SMS and of which nothing is heard any more is tried after the others, and can prove itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import select

from alerts.decide.gateway.receipt import MIN_OVERDUE, MIN_OVERDUE_ONE_PERSON, MIN_RECEIPTS, RETRY_INTERVAL
from alerts.engine.dispatcher import Dispatcher
from alerts.model.event import Resolve
from alerts.model.gateway import CallbackEvent, DeliveryReport, ErrorClass, SubmissionState
from monitor.store.backend.database import Database
from monitor.store.schema.tables import audit_log
from tests.in_the_loop import opened_in_the_loop
from tests.integration.alerts.station import Scripted, Station
from tests.integration.alerts.test_dispatcher import with_a_contact_of_its_own
from tests.integration.alerts.test_two_engines import Engine
from tests.unit.alerts.people import MINUTE, SECOND, trigger


class City:
    """A station, and agencies that fail one after the other."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.station = Station(database)
        self.agencies = 0

    async def outage(self, *, rounds: int = 1) -> Scripted:
        """Let one more agency fail; return the gateway by which its contact was told."""
        before = {id(gateway): len(gateway.orders) for gateway in self.station.gateways}
        brief = with_a_contact_of_its_own(f"A{self.agencies}", self.agencies)
        again = replace(brief.escalation, rounds=rounds, repeat_after=10 * MINUTE)
        self.agencies += 1
        await self.station.submit(trigger(at=self.station.clock.now(), brief=replace(brief, escalation=again)))
        (used,) = (gateway for gateway in self.station.gateways if len(gateway.orders) > before[id(gateway)])
        return used

    async def hear(self, gateway: Scripted, reference: str) -> None:
        """Bring the receipt of a message that arrived."""
        gateway.taken[reference] = SubmissionState.DELIVERED
        (name,) = (line.name for line in self.station.lines() if line.gateway is gateway)
        heard = CallbackEvent(
            reference=reference, event_id=reference, report=DeliveryReport(progress=SubmissionState.DELIVERED)
        )
        await self.station.dispatcher.record_callback(name, heard)
        await self.station.settle()

    async def get_used_to(self, gateway: Scripted) -> None:
        """Let a gateway be used for a while, with a receipt for each after some seconds."""
        for _ in range(MIN_RECEIPTS):
            used = await self.outage()
            self.station.clock.moment += 5 * SECOND
            await self.hear(used, used.orders[-1].reference)
            assert used is gateway

    async def fall_silent(self, outages: int = MIN_OVERDUE) -> None:
        for _ in range(outages):
            assert await self.outage() is self.station.sms
        await self.wait()

    async def wait(self) -> None:
        """Let receipts fall due, and the engine look at what it has."""
        await self.station.advance(3 * MINUTE)
        await self.station.advance(Dispatcher.MAX_IDLE)

    async def told_of_doubts(self) -> list[str]:
        query = select(audit_log.c.detail).where(audit_log.c.event == "attempt written").order_by(audit_log.c.id)
        async with self.database.read() as connection:
            return [detail.get("doubted", "") for detail in (await connection.execute(query)).scalars()]


@pytest.fixture
async def city(tmp_path: Path) -> AsyncIterator[City]:
    async with opened_in_the_loop(tmp_path) as database:
        yield City(database)


@pytest.mark.blind
async def test_fifty_accepted_sms_without_a_receipt_put_a_gateway_behind_the_next(city: City) -> None:
    """Defect: 50 accepted SMS without a receipt do not change the order of gateways.

    Pantau: Overdue receipts, against a gateway's own baseline, move it behind the others, shown in log, metric, alert
    and audit log.
    """
    station = city.station
    await city.get_used_to(station.sms)
    await city.fall_silent(50)

    assert station.watcher.overdue_gateways["sms"] is True
    assert await city.outage() is station.modem
    assert (await city.told_of_doubts())[-2:] == ["", "sms"]
    assert set(station.watcher.overdue_gateways) == {"sms", "modem", "voice", "fax"}, "letters wait for a clerk"


@pytest.mark.blind
async def test_a_doubt_outlasts_a_restart_and_every_engine_has_it(city: City) -> None:
    """Defect: Overdue receipts are forgotten by a restart and unknown to other engines.

    Pantau: The store has them, for every engine.
    """
    station = city.station
    await city.get_used_to(station.sms)
    await city.fall_silent()
    other = Engine(name="kedua", station=station, store=station.store)
    await other.settle()
    assert other.pool.receipts_overdue_since("sms") is not None

    station.restart()
    assert await city.outage() is station.modem


async def test_a_gateway_that_never_gave_a_receipt_stays_where_it_is(city: City) -> None:
    for _ in range(MIN_OVERDUE_ONE_PERSON + 1):
        assert await city.outage() is city.station.sms
    await city.wait()

    assert await city.outage() is city.station.sms
    assert city.station.watcher.overdue_gateways["sms"] is None


async def test_a_fresh_receipt_puts_it_first_again(city: City) -> None:
    station = city.station
    await city.get_used_to(station.sms)
    await city.fall_silent()
    assert await city.outage() is station.modem

    await city.hear(station.sms, station.sms.orders[-1].reference)
    await station.advance(Dispatcher.MAX_IDLE)
    assert station.watcher.overdue_gateways["sms"] is False
    assert await city.outage() is station.sms


async def test_where_the_provider_is_asked_its_answer_is_a_receipt(city: City) -> None:
    """No callback reaches us, and nothing is wrong."""
    station = city.station
    await city.get_used_to(station.sms)
    for _ in range(10):
        assert await city.outage() is station.sms
    station.sms.taken = dict.fromkeys(station.sms.taken, SubmissionState.DELIVERED)
    await city.wait()

    assert await city.outage() is station.sms


async def test_where_all_are_doubted_the_order_is_as_configured(city: City) -> None:
    """It may be our own listener that nobody reaches: then all fall silent at once."""
    station = city.station
    await city.get_used_to(station.sms)
    station.pool.record_state("sms", up=False, now=station.clock.now())
    await city.get_used_to(station.modem)
    station.clock.moment += station.pool.PENALTY
    await city.fall_silent()
    for _ in range(MIN_OVERDUE):
        assert await city.outage() is station.modem
    await city.wait()

    assert [station.watcher.overdue_gateways[name] for name in ("sms", "modem")] == [True, True]
    assert await city.outage() is station.sms


async def test_a_doubted_gateway_still_stands_in_for_one_that_fails(city: City) -> None:
    station = city.station
    await city.get_used_to(station.sms)
    await city.fall_silent()
    station.modem.happens.append(ErrorClass.CONFIGURATION)
    await station.submit(trigger(at=station.clock.now(), brief=with_a_contact_of_its_own("LAIN", 77)))

    assert station.modem.orders[-1].address == station.sms.orders[-1].address == "+60100010077"


async def test_it_is_tried_once_an_hour_and_never_with_what_is_news_to_somebody(city: City) -> None:
    station = city.station
    await city.get_used_to(station.sms)
    await city.fall_silent()
    station.sms.orders.clear()
    await station.advance(RETRY_INTERVAL)
    for _ in range(3):
        assert await city.outage(rounds=2) is station.modem
    assert station.sms.orders == []

    # The second round is none: one goes by it, and the others by the next.
    await station.advance(11 * MINUTE)
    assert len(station.sms.orders) == 1
    await city.hear(station.sms, station.sms.orders[-1].reference)
    await station.advance(Dispatcher.MAX_IDLE)
    assert await city.outage() is station.sms


async def test_recoveries_prove_it_as_well(city: City) -> None:
    station = city.station
    await city.get_used_to(station.sms)
    await city.fall_silent()
    station.clock.moment += RETRY_INTERVAL
    await station.settle()
    station.sms.orders.clear()
    now = station.clock.now()
    await station.submit(Resolve(dedup_key="A0", at=now, ended_at=now))

    assert [order.address for order in station.sms.orders] == ["+60100010000"]


async def test_a_bug_about_receipts_keeps_nobody_from_being_told(city: City) -> None:
    def break_at(called: str, args: tuple[object, ...]) -> None:
        if called == "latest_receipts":
            raise RuntimeError("a bug")

    city.station.store.meddler = break_at
    assert await city.outage() is city.station.sms


async def test_a_gateway_whose_receipts_cannot_be_weighed_does_not_keep_another_from_being_doubted(city: City) -> None:
    await city.get_used_to(city.station.sms)

    def break_at(called: str, args: tuple[object, ...]) -> None:
        if called == "latest_receipts" and "modem" in cast("list[str]", args[0]):
            raise RuntimeError("a bug")

    city.station.store.meddler = break_at
    await city.fall_silent()
    assert await city.outage() is city.station.modem


async def test_a_gateway_that_a_reload_takes_out_meanwhile_is_none_to_be_doubted(city: City) -> None:
    station = city.station
    await city.get_used_to(station.sms)
    await city.fall_silent()
    station.pool.replace([line for line in station.lines() if line.name != "sms"])
    station.clock.moment += Dispatcher.MAX_IDLE
    assert await city.outage() is station.modem
    assert (await city.told_of_doubts())[-1] == ""
