"""Gateways with overdue receipts: order behind the others, and the return to their place."""

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
from tests.inline_database import open_inline_database
from tests.integration.alerts.dispatcher_env import DispatcherEnv, ScriptedGateway
from tests.integration.alerts.test_dispatcher import with_own_contact
from tests.integration.alerts.test_two_engines import Engine
from tests.unit.alerts.people import MINUTE, SECOND, trigger


class ReceiptEnv:
    """An environment with agencies that fail one after the other."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.env = DispatcherEnv(database)
        self.agencies = 0

    async def outage(self, *, rounds: int = 1) -> ScriptedGateway:
        """Let one more agency fail; return the gateway that notified its contact."""
        before = {id(gateway): len(gateway.orders) for gateway in self.env.gateways}
        snapshot = with_own_contact(f"A{self.agencies}", self.agencies)
        again = replace(snapshot.escalation, rounds=rounds, repeat_after=10 * MINUTE)
        self.agencies += 1
        await self.env.submit(trigger(at=self.env.clock.now(), snapshot=replace(snapshot, escalation=again)))
        (used,) = (gateway for gateway in self.env.gateways if len(gateway.orders) > before[id(gateway)])
        return used

    async def record_receipt(self, gateway: ScriptedGateway, reference: str) -> None:
        """Record the receipt of a delivered message."""
        gateway.taken[reference] = SubmissionState.DELIVERED
        (name,) = (line.name for line in self.env.lines() if line.gateway is gateway)
        heard = CallbackEvent(
            reference=reference, event_id=reference, report=DeliveryReport(progress=SubmissionState.DELIVERED)
        )
        await self.env.dispatcher.record_callback(name, heard)
        await self.env.settle()

    async def record_baseline(self, gateway: ScriptedGateway) -> None:
        """Use a gateway for a while, with a receipt for each message after some seconds."""
        for _ in range(MIN_RECEIPTS):
            used = await self.outage()
            self.env.clock.moment += 5 * SECOND
            await self.record_receipt(used, used.orders[-1].reference)
            assert used is gateway

    async def miss_receipts(self, outages: int = MIN_OVERDUE) -> None:
        for _ in range(outages):
            assert await self.outage() is self.env.sms
        await self.wait()

    async def wait(self) -> None:
        """Let receipts fall due, and the engine check them."""
        await self.env.advance(3 * MINUTE)
        await self.env.advance(Dispatcher.MAX_IDLE)

    async def audited_overdue(self) -> list[str]:
        query = select(audit_log.c.detail).where(audit_log.c.event == "attempt written").order_by(audit_log.c.id)
        async with self.database.read() as connection:
            return [detail.get("doubted", "") for detail in (await connection.execute(query)).scalars()]


@pytest.fixture
async def receipts(tmp_path: Path) -> AsyncIterator[ReceiptEnv]:
    async with open_inline_database(tmp_path) as database:
        yield ReceiptEnv(database)


@pytest.mark.blind
async def test_fifty_sms_without_receipt_move_gateway_behind_next(receipts: ReceiptEnv) -> None:
    """Defect: 50 accepted SMS without a receipt do not change the order of gateways.

    Pantau: Overdue receipts, against a gateway's own baseline, move it behind the others, shown in log, metric, alert
    and audit log.
    """
    env = receipts.env
    await receipts.record_baseline(env.sms)
    await receipts.miss_receipts(50)

    assert env.watcher.overdue_gateways["sms"] is True
    assert await receipts.outage() is env.modem
    assert (await receipts.audited_overdue())[-2:] == ["", "sms"]
    assert set(env.watcher.overdue_gateways) == {"sms", "modem", "voice", "fax"}, "letters wait for a clerk"


@pytest.mark.blind
async def test_overdue_receipts_survive_restart_and_apply_to_all_engines(receipts: ReceiptEnv) -> None:
    """Defect: Overdue receipts are forgotten by a restart and unknown to other engines.

    Pantau: The store has them, for every engine.
    """
    env = receipts.env
    await receipts.record_baseline(env.sms)
    await receipts.miss_receipts()
    other = Engine(name="kedua", env=env, store=env.store)
    await other.settle()
    assert other.pool.receipts_overdue_since("sms") is not None

    env.restart()
    assert await receipts.outage() is env.modem


async def test_gateway_without_any_receipt_keeps_its_place(receipts: ReceiptEnv) -> None:
    for _ in range(MIN_OVERDUE_ONE_PERSON + 1):
        assert await receipts.outage() is receipts.env.sms
    await receipts.wait()

    assert await receipts.outage() is receipts.env.sms
    assert receipts.env.watcher.overdue_gateways["sms"] is None


async def test_new_receipt_restores_first_place(receipts: ReceiptEnv) -> None:
    env = receipts.env
    await receipts.record_baseline(env.sms)
    await receipts.miss_receipts()
    assert await receipts.outage() is env.modem

    await receipts.record_receipt(env.sms, env.sms.orders[-1].reference)
    await env.advance(Dispatcher.MAX_IDLE)
    assert env.watcher.overdue_gateways["sms"] is False
    assert await receipts.outage() is env.sms


async def test_polled_status_counts_as_receipt(receipts: ReceiptEnv) -> None:
    """No callback arrives, and nothing is wrong."""
    env = receipts.env
    await receipts.record_baseline(env.sms)
    for _ in range(10):
        assert await receipts.outage() is env.sms
    env.sms.taken = dict.fromkeys(env.sms.taken, SubmissionState.DELIVERED)
    await receipts.wait()

    assert await receipts.outage() is env.sms


async def test_all_gateways_overdue_keeps_configured_order(receipts: ReceiptEnv) -> None:
    """Pantau's own listener may be unreachable: then all receipts are missing."""
    env = receipts.env
    await receipts.record_baseline(env.sms)
    env.pool.record_state("sms", up=False, now=env.clock.now())
    await receipts.record_baseline(env.modem)
    env.clock.moment += env.pool.PENALTY
    await receipts.miss_receipts()
    for _ in range(MIN_OVERDUE):
        assert await receipts.outage() is env.modem
    await receipts.wait()

    assert [env.watcher.overdue_gateways[name] for name in ("sms", "modem")] == [True, True]
    assert await receipts.outage() is env.sms


async def test_overdue_gateway_replaces_failed_one(receipts: ReceiptEnv) -> None:
    env = receipts.env
    await receipts.record_baseline(env.sms)
    await receipts.miss_receipts()
    env.modem.happens.append(ErrorClass.CONFIGURATION)
    await env.submit(trigger(at=env.clock.now(), snapshot=with_own_contact("LAIN", 77)))

    assert env.modem.orders[-1].address == env.sms.orders[-1].address == "+60100010077"


async def test_overdue_gateway_is_tried_hourly_and_never_with_first_notification(receipts: ReceiptEnv) -> None:
    env = receipts.env
    await receipts.record_baseline(env.sms)
    await receipts.miss_receipts()
    env.sms.orders.clear()
    await env.advance(RETRY_INTERVAL)
    for _ in range(3):
        assert await receipts.outage(rounds=2) is env.modem
    assert env.sms.orders == []

    # The second round may use it: one message tries it, and the others use the next gateway.
    await env.advance(11 * MINUTE)
    assert len(env.sms.orders) == 1
    await receipts.record_receipt(env.sms, env.sms.orders[-1].reference)
    await env.advance(Dispatcher.MAX_IDLE)
    assert await receipts.outage() is env.sms


async def test_recovery_notifications_can_prove_overdue_gateway(receipts: ReceiptEnv) -> None:
    env = receipts.env
    await receipts.record_baseline(env.sms)
    await receipts.miss_receipts()
    env.clock.moment += RETRY_INTERVAL
    await env.settle()
    env.sms.orders.clear()
    now = env.clock.now()
    await env.submit(Resolve(dedup_key="A0", at=now, ended_at=now))

    assert [order.address for order in env.sms.orders] == ["+60100010000"]


async def test_receipt_monitor_bug_does_not_stop_notifications(receipts: ReceiptEnv) -> None:
    def break_at(called: str, args: tuple[object, ...]) -> None:
        if called == "latest_receipts":
            raise RuntimeError("a bug")

    receipts.env.store.call_hook = break_at
    assert await receipts.outage() is receipts.env.sms


async def test_receipt_monitor_bug_for_one_gateway_does_not_affect_another(receipts: ReceiptEnv) -> None:
    await receipts.record_baseline(receipts.env.sms)

    def break_at(called: str, args: tuple[object, ...]) -> None:
        if called == "latest_receipts" and "modem" in cast("list[str]", args[0]):
            raise RuntimeError("a bug")

    receipts.env.store.call_hook = break_at
    await receipts.miss_receipts()
    assert await receipts.outage() is receipts.env.modem


async def test_gateway_removed_by_reload_is_no_longer_overdue(receipts: ReceiptEnv) -> None:
    env = receipts.env
    await receipts.record_baseline(env.sms)
    await receipts.miss_receipts()
    env.pool.replace([line for line in env.lines() if line.name != "sms"])
    env.clock.moment += Dispatcher.MAX_IDLE
    assert await receipts.outage() is env.modem
    assert (await receipts.audited_overdue())[-1] == ""
