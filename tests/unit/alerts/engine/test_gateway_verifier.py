"""Verification of unused gateways without sending."""

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


class FakeGateway:
    """Gateway with a scripted result of verification."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.tests = 0

    async def verify(self) -> None:
        self.tests += 1
        if self.error is not None:
            raise self.error


class RecordingObserver:
    def __init__(self) -> None:
        self.found: list[tuple[str, bool]] = []

    def set_gateway_up(self, _: Channel, gateway: str, *, up: bool) -> None:
        self.found.append((gateway, up))


def verifier(*gateways: Any, is_monitor_only: bool = False) -> tuple[GatewayVerifier, GatewayPool, RecordingObserver]:
    pool = GatewayPool(
        ConfiguredGateway(name=f"g{i}", channel=Channel.SMS, gateway=each) for i, each in enumerate(gateways)
    )
    observer: Any = RecordingObserver()
    return (
        GatewayVerifier(pool=pool, clock=Clock(), observer=observer, is_monitor_only=lambda: is_monitor_only),
        pool,
        observer,
    )


async def test_verify_unused_gateway_that_answers_becomes_up_and_is_tested_once() -> None:
    gateway = FakeGateway()
    verify, pool, observer = verifier(gateway)
    await verify.verify()
    await verify.verify()
    assert (pool.is_up("g0"), gateway.tests, observer.found) == (True, 1, [("g0", True)])


@pytest.mark.parametrize(
    "error", [DeliveryError(ErrorClass.CONFIGURATION, "HTTP 401"), TimeoutError(), RuntimeError("a bug")]
)
async def test_verify_failing_gateway_stays_unused_and_others_are_tested(error: Exception) -> None:
    failing, working = FakeGateway(error), FakeGateway()
    verify, pool, _ = verifier(failing, working)
    await verify.verify()
    assert (pool.is_up("g0"), pool.is_up("g1")) == (None, True)
    failing.error = None
    await verify.verify()
    assert pool.is_up("g0") is True


async def test_verify_skips_used_and_untestable_gateways() -> None:
    failed = FakeGateway()
    verify, pool, observer = verifier(failed, object())
    pool.record_state("g0", up=False, now=NOW)
    await verify.verify()
    assert (pool.is_up("g0"), pool.is_up("g1"), failed.tests, observer.found) == (False, None, 0, [])


async def test_verify_failure_of_message_during_test_takes_precedence() -> None:
    class Overtaken(FakeGateway):
        async def verify(self) -> None:
            pool.record_state("g0", up=False, now=NOW)

    verify, pool, _ = verifier(Overtaken())
    await verify.verify()
    assert pool.is_up("g0") is False


async def test_verify_in_monitor_only_process_tests_nothing() -> None:
    gateway = FakeGateway()
    verify, pool, _ = verifier(gateway, is_monitor_only=True)
    await verify.verify()
    assert (pool.is_up("g0"), gateway.tests) == (None, 0)


async def test_tray_verify_unwritable_directory_raises_and_leaves_no_file(tmp_path: Path) -> None:
    context = GatewayContext(callback_base=None, directory=str(tmp_path))
    await Tray(TraySettings(directory=Path("surat")), context).verify()
    assert list((tmp_path / "surat").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(DeliveryError):
        await Tray(TraySettings(directory=Path("file/surat")), context).verify()


async def test_verify_gateway_replaced_during_test_leaves_successor_untested() -> None:
    class Replaced(FakeGateway):
        async def verify(self) -> None:
            pool.replace([ConfiguredGateway(name="g0", channel=Channel.SMS, gateway=successor)])

    successor: Any = FakeGateway(DeliveryError(ErrorClass.CONFIGURATION, "HTTP 401"))
    verify, pool, observer = verifier(Replaced())
    await verify.verify()
    assert (pool.is_up("g0"), observer.found) == (None, [])
    await verify.verify()
    assert (pool.is_up("g0"), successor.tests) == (None, 1)


@pytest.mark.parametrize("up", [True, False])
async def test_replace_gateway_of_same_name_resets_state(*, up: bool) -> None:
    kept, other = FakeGateway(), FakeGateway()
    _, pool, _ = verifier(kept, FakeGateway())
    for name in ("g0", "g1"):
        pool.record_state(name, up=up, now=NOW)
    gateways: list[Any] = [kept, other]
    pool.replace(ConfiguredGateway(name=f"g{i}", channel=Channel.SMS, gateway=each) for i, each in enumerate(gateways))
    assert (pool.is_up("g0"), pool.is_up("g1")) == (up, None)


async def test_tray_verify_hanging_share_leaves_default_executor_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = threading.Event()
    monkeypatch.setattr(Tray, "_verify", lambda _: finished.wait())
    tray = Tray(TraySettings(directory=Path("surat")), GatewayContext(callback_base=None, directory=str(tmp_path)))
    asyncio.get_running_loop().set_default_executor(threads := ThreadPoolExecutor(2))
    try:
        for _ in range(10):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await tray.verify()
        assert threads.submit(int).result(timeout=10) == 0
    finally:
        finished.set()
