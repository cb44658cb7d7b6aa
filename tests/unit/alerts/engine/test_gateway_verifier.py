"""Gateways that have not been used are tested without sending anything, and their failures blame nobody."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.engine.gateway_verifier import GatewayVerifier
from alerts.gateways.tray import Tray, TraySettings
from alerts.model.channel import Channel
from alerts.model.gateway import DeliveryError, ErrorClass, GatewayContext

NOW = datetime(2026, 12, 2, 8, 0, tzinfo=UTC)


class Clock:
    def now(self) -> datetime:
        return NOW


class Verified:
    """A gateway that answers a test as told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.tests = 0

    async def verify(self) -> None:
        self.tests += 1
        if self.error is not None:
            raise self.error


class Judged:
    def __init__(self) -> None:
        self.found: list[tuple[str, bool]] = []

    def set_gateway_up(self, _: Channel, gateway: str, *, up: bool) -> None:
        self.found.append((gateway, up))


def verifier(*gateways: Any, is_monitor_only: bool = False) -> tuple[GatewayVerifier, GatewayPool, Judged]:
    pool = GatewayPool(
        ConfiguredGateway(name=f"g{i}", channel=Channel.SMS, gateway=each) for i, each in enumerate(gateways)
    )
    judged: Any = Judged()
    return (
        GatewayVerifier(pool=pool, clock=Clock(), observer=judged, is_monitor_only=lambda: is_monitor_only),
        pool,
        judged,
    )


async def test_verify_unused_gateway_that_answers_becomes_up_and_is_tested_once() -> None:
    gateway = Verified()
    verify, pool, judged = verifier(gateway)
    await verify.verify()
    await verify.verify()
    assert (pool.is_up("g0"), gateway.tests, judged.found) == (True, 1, [("g0", True)])


@pytest.mark.parametrize(
    "error", [DeliveryError(ErrorClass.CONFIGURATION, "HTTP 401"), TimeoutError(), RuntimeError("a bug")]
)
async def test_verify_gateway_that_fails_stays_unused_and_the_others_are_tested(error: Exception) -> None:
    failing, well = Verified(error), Verified()
    verify, pool, _ = verifier(failing, well)
    await verify.verify()
    assert (pool.is_up("g0"), pool.is_up("g1")) == (None, True)
    failing.error = None
    await verify.verify()
    assert pool.is_up("g0") is True


async def test_verify_leaves_a_used_gateway_and_one_that_cannot_be_tested_alone() -> None:
    failed = Verified()
    verify, pool, judged = verifier(failed, object())
    pool.record_state("g0", up=False, now=NOW)
    await verify.verify()
    assert (pool.is_up("g0"), pool.is_up("g1"), failed.tests, judged.found) == (False, None, 0, [])


async def test_verify_message_refused_during_the_test_outranks_it() -> None:
    class Overtaken(Verified):
        async def verify(self) -> None:
            pool.record_state("g0", up=False, now=NOW)

    verify, pool, _ = verifier(Overtaken())
    await verify.verify()
    assert pool.is_up("g0") is False


async def test_verify_process_that_rests_tests_nothing() -> None:
    gateway = Verified()
    verify, pool, _ = verifier(gateway, is_monitor_only=True)
    await verify.verify()
    assert (pool.is_up("g0"), gateway.tests) == (None, 0)


async def test_tray_verify_unwritable_directory_raises_and_leaves_nothing_behind(tmp_path: Path) -> None:
    around = GatewayContext(callback_base=None, directory=str(tmp_path))
    await Tray(TraySettings(directory=Path("surat")), around).verify()
    assert list((tmp_path / "surat").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(DeliveryError):
        await Tray(TraySettings(directory=Path("file/surat")), around).verify()


async def test_verify_gateway_replaced_during_the_test_leaves_its_successor_unproven() -> None:
    class Replaced(Verified):
        async def verify(self) -> None:
            pool.replace([ConfiguredGateway(name="g0", channel=Channel.SMS, gateway=successor)])

    successor: Any = Verified(DeliveryError(ErrorClass.CONFIGURATION, "HTTP 401"))
    verify, pool, judged = verifier(Replaced())
    await verify.verify()
    assert (pool.is_up("g0"), judged.found) == (None, [])
    await verify.verify()
    assert (pool.is_up("g0"), successor.tests) == (None, 1)


@pytest.mark.parametrize("up", [True, False])
async def test_replace_gateway_by_another_of_its_name_forgets_how_it_stood(*, up: bool) -> None:
    kept, other = Verified(), Verified()
    _, pool, _ = verifier(kept, Verified())
    for name in ("g0", "g1"):
        pool.record_state(name, up=up, now=NOW)
    gateways: list[Any] = [kept, other]
    pool.replace(ConfiguredGateway(name=f"g{i}", channel=Channel.SMS, gateway=each) for i, each in enumerate(gateways))
    assert (pool.is_up("g0"), pool.is_up("g1")) == (up, None)


async def test_tray_share_that_hangs_leaves_the_threads_of_others_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr(Tray, "_verify", lambda _: goes_on.wait())
    tray = Tray(TraySettings(directory=Path("surat")), GatewayContext(callback_base=None, directory=str(tmp_path)))
    asyncio.get_running_loop().set_default_executor(threads := ThreadPoolExecutor(2))
    try:
        for _ in range(10):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await tray.verify()
        assert threads.submit(int).result(timeout=10) == 0
    finally:
        goes_on.set()
