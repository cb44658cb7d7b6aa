"""Gateways that a reload replaced are closed, late enough, each once, and whatever befalls the others."""

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
from tests.hanging import HANGS
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice


@pytest.fixture
def office(tmp_path: Path) -> IssuingOffice:
    return IssuingOffice(tmp_path)


class ManualClosure:
    """The part of a gateway that is met at its end."""

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


def line(gateway: ManualClosure, name: str = "sms") -> ConfiguredGateway:
    return ConfiguredGateway(name=name, channel=Channel.SMS, gateway=cast(Gateway, gateway))


async def test_one_that_cannot_be_closed_keeps_no_other_from_it() -> None:
    broken, sound = ManualClosure(breaks=True), ManualClosure()
    with capture_logs() as logged:
        await close_gateways([line(broken, "rosak"), line(sound)])
    assert sound.closed == 1
    assert [(each["event"], each["gateway"]) for each in logged] == [("gateway could not be closed", "rosak")]


async def test_they_are_closed_when_the_calls_they_were_in_are_over() -> None:
    replaced, first, second = ReplacedGateways(), ManualClosure(), ManualClosure()
    replaced.DELAY = timedelta(0)
    replaced.add([line(first)])
    assert first.closed == 0
    closing = asyncio.create_task(replaced.keep_closing())
    for _ in range(5):
        await asyncio.sleep(0)
    assert first.closed == 1
    replaced.add([line(second)])
    for _ in range(5):
        await asyncio.sleep(0)
    assert (first.closed, second.closed) == (1, 1)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)


@pytest.mark.blind
async def test_gateways_of_many_reloads_are_closed_by_one_deadline_each_and_not_one_after_the_other() -> None:
    """Defect: Replaced gateways close one after the other, 100 s apart.

    Pantau: Each set closes 100 s after its own reload.
    """
    replaced, all_of_them = ReplacedGateways(), [ManualClosure() for _ in range(200)]
    replaced.DELAY = timedelta(milliseconds=100)
    for each in all_of_them:
        replaced.add([line(each)])
    closing = asyncio.create_task(replaced.keep_closing())
    # One after the other they would take twenty seconds.
    async with asyncio.timeout(10):
        await all_of_them[-1].ended.wait()
    assert [each.closed for each in all_of_them] == [1] * 200
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)


@pytest.mark.blind
async def test_one_that_does_not_end_keeps_no_other_from_its_end() -> None:
    """Defect: One gateway that does not close keeps the others and the service from ending.

    Pantau: They close concurrently, within ten seconds each.
    """
    hanging, sound = ManualClosure(hangs=True), ManualClosure()
    closing = asyncio.create_task(close_gateways([line(hanging, "senyap"), line(sound)]))
    async with asyncio.timeout(HANGS):
        await sound.ended.wait()
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)


@pytest.mark.blind
def test_a_gateway_that_did_not_change_is_kept_by_a_reload_and_its_pace_may_change(office: IssuingOffice) -> None:
    """Defect: A reload replaces every gateway.

    Pantau: A gateway with the same section and secrets is kept, with its connections.
    """
    before = load(office.config, ENVIRON).accepted().settings
    lines = build_gateways(before, office.directory)
    text = office.config.read_text()
    office.config.write_text(text.replace("name: sms-utama", "name: sms-utama\n      per_minute: 30"))
    (office.directory / "secrets" / "sinch").write_text("kunci-baharu\n")
    after = load(office.config, ENVIRON).accepted().settings

    again = build_gateways(after, office.directory, before=before, in_use=lines)

    kept = {new.name for old, new in zip(lines, again, strict=True) if old.gateway is new.gateway}
    assert kept == {"sms-utama", "suara-utama", "dulang-surat"}, "the secret of the fax service is another one"
    assert {new.name: new.per_minute for new in again}["sms-utama"] == 30
    office.config.write_text(text.replace("https://pantau.", "https://pantau-baharu."))
    moved = load(office.config, ENVIRON).accepted().settings
    elsewhere = build_gateways(moved, office.directory, before=after, in_use=again)
    assert all(old.gateway is not new.gateway for old, new in zip(again, elsewhere, strict=True))


async def test_at_the_end_of_the_service_those_that_still_wait_are_closed_once() -> None:
    replaced, first, second = ReplacedGateways(), ManualClosure(), ManualClosure()
    replaced.add([line(first)])
    replaced.add([line(second)])
    closing = asyncio.create_task(replaced.keep_closing())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    assert first.closed == 0
    await replaced.close()
    await replaced.close()
    assert (first.closed, second.closed) == (1, 1)
