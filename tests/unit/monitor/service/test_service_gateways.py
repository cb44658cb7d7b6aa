"""Closing of gateways that a reload replaced: after a delay, once, and independently."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from alerts.engine.gateway_pool import ConfiguredGateway
from alerts.model.channel import Channel
from alerts.model.gateway import Gateway
from monitor.config.loading import load
from monitor.service.gateways import ReplacedGateways, build_gateways, close_gateways
from tests.timeouts import HANG_TIMEOUT
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice


@pytest.fixture
def office(tmp_path: Path) -> IssuingOffice:
    return IssuingOffice(tmp_path)


class ClosableGateway:
    """A gateway that can only be closed."""

    def __init__(self, *, breaks: bool = False, hangs: bool = False) -> None:
        self.closed = 0
        self.ended = asyncio.Event()
        self.breaks = breaks
        self.hangs = hangs

    async def close(self) -> None:
        self.closed += 1
        if self.breaks:
            raise ZeroDivisionError
        if self.hangs:
            await asyncio.Event().wait()
        self.ended.set()


def configured(gateway: ClosableGateway, name: str = "sms") -> ConfiguredGateway:
    return ConfiguredGateway(name=name, channel=Channel.SMS, gateway=cast(Gateway, gateway))


async def test_close_gateways_failing_one_does_not_stop_others() -> None:
    broken, working = ClosableGateway(breaks=True), ClosableGateway()
    with capture_logs() as logged:
        await close_gateways([configured(broken, "rosak"), configured(working)])
    assert working.closed == 1
    assert [(each["event"], each["gateway"]) for each in logged] == [("gateway could not be closed", "rosak")]


async def test_replaced_gateways_are_closed_after_delay() -> None:
    replaced, first, second = ReplacedGateways(), ClosableGateway(), ClosableGateway()
    replaced.DELAY = timedelta(0)
    replaced.add([configured(first)])
    assert first.closed == 0
    closing = asyncio.create_task(replaced.keep_closing())
    for _ in range(5):
        await asyncio.sleep(0)
    assert first.closed == 1
    replaced.add([configured(second)])
    for _ in range(5):
        await asyncio.sleep(0)
    assert (first.closed, second.closed) == (1, 1)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)


@pytest.mark.blind
async def test_replaced_gateways_of_many_reloads_close_each_at_own_deadline() -> None:
    """Defect: Replaced gateways close one after the other, 100 s apart.

    Pantau: Each set closes 100 s after its own reload.
    """
    replaced, all_of_them = ReplacedGateways(), [ClosableGateway() for _ in range(200)]
    replaced.DELAY = timedelta(milliseconds=100)
    for each in all_of_them:
        replaced.add([configured(each)])
    closing = asyncio.create_task(replaced.keep_closing())
    # One after the other, this would take twenty seconds.
    async with asyncio.timeout(10):
        await all_of_them[-1].ended.wait()
    assert [each.closed for each in all_of_them] == [1] * 200
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)


@pytest.mark.blind
async def test_close_gateways_hanging_one_does_not_block_others() -> None:
    """Defect: One gateway that does not close keeps the others and the service from ending.

    Pantau: They close concurrently, within ten seconds each.
    """
    hanging, working = ClosableGateway(hangs=True), ClosableGateway()
    closing = asyncio.create_task(close_gateways([configured(hanging, "senyap"), configured(working)]))
    async with asyncio.timeout(HANG_TIMEOUT):
        await working.ended.wait()
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)


@pytest.mark.blind
def test_reload_keeps_unchanged_gateway_and_updates_per_minute(office: IssuingOffice) -> None:
    """Defect: A reload replaces every gateway.

    Pantau: A gateway with the same section and secrets is kept, with its connections.
    """
    before = load(office.config, ENVIRON).require_configuration().settings
    configured_gateways = build_gateways(before, office.directory)
    text = office.config.read_text()
    office.config.write_text(text.replace("name: sms-utama", "name: sms-utama\n      per_minute: 30"))
    (office.directory / "secrets" / "sinch").write_text("kunci-baharu\n")
    after = load(office.config, ENVIRON).require_configuration().settings

    again = build_gateways(after, office.directory, before=before, in_use=configured_gateways)

    kept = {new.name for old, new in zip(configured_gateways, again, strict=True) if old.gateway is new.gateway}
    assert kept == {"sms-utama", "suara-utama", "dulang-surat"}, "the secret of the fax service is another one"
    assert {new.name: new.per_minute for new in again}["sms-utama"] == 30
    office.config.write_text(text.replace("https://pantau.", "https://pantau-baharu."))
    moved = load(office.config, ENVIRON).require_configuration().settings
    elsewhere = build_gateways(moved, office.directory, before=after, in_use=again)
    assert all(old.gateway is not new.gateway for old, new in zip(again, elsewhere, strict=True))


async def test_replaced_gateways_at_service_end_are_closed_once() -> None:
    replaced, first, second = ReplacedGateways(), ClosableGateway(), ClosableGateway()
    replaced.add([configured(first)])
    replaced.add([configured(second)])
    closing = asyncio.create_task(replaced.keep_closing())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    assert first.closed == 0
    await replaced.close()
    await replaced.close()
    assert (first.closed, second.closed) == (1, 1)
