"""Out-of-band alerts with the shipped gateways against the simulated carrier: who is called, and how often."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr

from alerts.engine.gateway_pool import ConfiguredGateway
from alerts.gateways.twilio.sms import TwilioSms, TwilioSmsSettings
from alerts.gateways.twilio.voice import TwilioVoice, TwilioVoiceSettings
from alerts.model.channel import Channel
from alerts.model.gateway import GatewayContext
from alerts.model.notification import IssuingOffice
from alerts.wording.texts import load
from monitor.config.service.out_of_band import OutOfBandSettings
from monitor.evaluation.out_of_band import ActiveReason, ActiveReasons, OutOfBandReason
from monitor.metrics import Metrics
from monitor.watchdog import out_of_band
from monitor.watchdog.out_of_band import OutOfBandAlerter, StateFile
from pantau_lab.carrier import api as carrier_api
from pantau_lab.carrier.carrier import Carrier
from pantau_lab.provider_fault import SubmissionFault
from pantau_lab.serving import serve
from tests.integration.alerts.dispatcher_env import Clock
from tests.unit.alerts.people import MINUTE, T0

WORDING = load()
NOC = IssuingOffice(short="PANTAU", name="Pusat Operasi Contoh", domain="")
MOBILE, OTHER, FIXED = "+60100000900", "+60100000901", "+60300000900"
#: A valid number that is not assigned at this carrier.
UNASSIGNED = "+60100000999"


class AlerterEnv:
    """Out-of-band alerter with its carriers; it can be restarted."""

    def __init__(self, place: Path, carriers: Iterable[tuple[Carrier, str]]) -> None:
        self.place = place
        self.numbers = place / "nombor"
        self.write(MOBILE)
        self.clock = Clock()
        self.metrics = Metrics(version="1", now=self.clock.now)
        self.carriers = list(carriers)
        self.alerter = self.restart()

    def write(self, *numbers: str) -> None:
        self.numbers.write_text("".join(f"{number}  # NOC\n" for number in numbers))

    def restart(self) -> OutOfBandAlerter:
        """Restart the process."""
        gateway_context = GatewayContext(callback_base=None, directory=str(self.place))
        lines = []
        for number, (carrier, url) in enumerate(self.carriers):
            account = {
                "account_sid": carrier.account_sid,
                "auth_token": SecretStr(carrier.auth_token),
                "from_number": next(iter(carrier.senders)),
                "base_url": url,
                "deadline_seconds": 30,
            }
            voice = TwilioVoice(TwilioVoiceSettings(**account), gateway_context)  # type: ignore[arg-type]
            text = TwilioSms(TwilioSmsSettings(**account), gateway_context)  # type: ignore[arg-type]
            lines += [
                ConfiguredGateway(name=f"suara-{number}", channel=Channel.VOICE, gateway=voice),
                ConfiguredGateway(name=f"sms-{number}", channel=Channel.SMS, gateway=text),
            ]
        self.alerter = OutOfBandAlerter(
            OutOfBandSettings(numbers_file=self.numbers, gateways=tuple(line.name for line in lines)),
            gateways=lines,
            office=NOC,
            wording=WORDING,
            state_file=StateFile(self.place / "out_of_band.json"),
            metrics=self.metrics.watchdog,
            clock=self.clock,
        )
        return self.alerter

    @property
    def first(self) -> Carrier:
        return self.carriers[0][0]

    async def check_after(self, after: timedelta, present: ActiveReasons) -> None:
        self.clock.moment += after
        await self.alerter.check(present)
        for carrier, _ in self.carriers:
            await carrier.settled()

    def sent(self, carrier: int = 0) -> tuple[list[str], list[str]]:
        """Return the recipients of calls and SMS since the last call, at one carrier."""
        at = self.carriers[carrier][0]
        calls, messages = [call.to for call in at.calls], [sms.to for sms in at.messages]
        at.calls.clear()
        at.messages.clear()
        return calls, messages


STORE_UNAVAILABLE: ActiveReasons = {OutOfBandReason.STORE: ActiveReason(since=T0)}


@asynccontextmanager
async def open_env(place: Path) -> AsyncIterator[AlerterEnv]:
    carriers = [Carrier(), Carrier()]
    for carrier in carriers:
        for number in (MOBILE, OTHER):
            carrier.phone(number)
        carrier.phone(FIXED, landline=True)
    async with serve(carrier_api.app(carriers[0])) as one, serve(carrier_api.app(carriers[1])) as other:
        env = AlerterEnv(place, zip(carriers, (one, other), strict=True))
        yield env
        await env.alerter.close()


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[AlerterEnv]:
    async with open_env(tmp_path) as made:
        yield made


async def test_store_unavailable_ten_minutes_calls_and_texts_and_reports_end(env: AlerterEnv) -> None:
    phone = env.first.phones[MOBILE]
    await env.check_after(9 * MINUTE, STORE_UNAVAILABLE)
    assert env.sent() == ([], [])
    with structlog.testing.capture_logs() as logged:
        await env.check_after(MINUTE, STORE_UNAVAILABLE)
    # Each gateway got the content of its channel.
    assert [line["event"] for line in logged] == ["out-of-band alert sent"]
    call = await phone.expect_call("tidak dapat menyimpan data sejak hari Selasa", "has not been able to store data")
    assert call.keys == ""
    await phone.expect_sms("RM0 PANTAU: AMARAN. Simpanan data Pantau gagal sejak 24/11, 2.15 ptg.", "ALERT.")
    assert env.sent() == ([MOBILE], [MOBILE])

    await env.check_after(29 * MINUTE, STORE_UNAVAILABLE)
    assert env.sent() == ([], [])
    await env.check_after(MINUTE, STORE_UNAVAILABLE)
    assert env.sent() == ([MOBILE], [MOBILE])

    await env.check_after(5 * MINUTE, {})
    # The recovery is sent once and by SMS only.
    assert env.sent() == ([], [MOBILE])
    assert "SELESAI" in phone.inbox[-1].text
    await env.check_after(5 * MINUTE, {})
    assert env.sent() == ([], [])


class HangingStateFile(StateFile):
    """State file on a disk that hangs until *disk* is set."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.disk = threading.Event()

    def write(self, memory: ActiveReasons) -> bool:
        self.disk.wait()
        return super().write(memory)


async def test_hanging_disk_prevents_saving_state_but_not_calling(
    env: AlerterEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out_of_band, "_WRITE_TIMEOUT_SECONDS", 0.05)
    env.alerter._state_file = hanging = HangingStateFile(env.place / "out_of_band.json")
    with structlog.testing.capture_logs() as logged:
        await env.check_after(10 * MINUTE, STORE_UNAVAILABLE)
    assert [line["event"] for line in logged] == [
        "out-of-band state could not be saved; it is lost at a restart",
        "out-of-band alert sent",
    ]
    assert env.sent() == ([MOBILE], [MOBILE])
    hanging.disk.set()


async def test_landline_gets_calls_only_also_at_end(env: AlerterEnv) -> None:
    env.write(FIXED)
    with structlog.testing.capture_logs() as logged:
        await env.check_after(10 * MINUTE, STORE_UNAVAILABLE)
    assert env.sent() == ([FIXED], [])
    assert [line["event"] for line in logged] == ["out-of-band alert sent"], "no SMS was tried"
    await env.check_after(MINUTE, {})
    assert env.sent() == ([FIXED], [])
    assert "berfungsi semula" in env.first.phones[FIXED].calls[-1].text


async def test_second_gateway_of_channel_used_when_first_fails(env: AlerterEnv) -> None:
    env.first.faults.extend([SubmissionFault.ERROR_BEFORE] * 2)
    await env.check_after(10 * MINUTE, STORE_UNAVAILABLE)
    assert env.sent(0) == ([], [])
    assert env.sent(1) == ([MOBILE], [MOBILE])


async def test_all_gateways_failing_are_retried_every_minute(env: AlerterEnv) -> None:
    for carrier, _ in env.carriers:
        carrier.faults.extend([SubmissionFault.TOO_MANY] * 4)
    await env.check_after(10 * MINUTE, STORE_UNAVAILABLE)
    await env.check_after(MINUTE / 2, STORE_UNAVAILABLE)
    assert [env.sent(n) for n in (0, 1)] == [([], [])] * 2
    await env.check_after(MINUTE / 2, STORE_UNAVAILABLE)
    assert [env.sent(n) for n in (0, 1)] == [([], [])] * 2
    await env.check_after(MINUTE, STORE_UNAVAILABLE)
    assert env.sent() == ([MOBILE], [MOBILE])
    await env.check_after(5 * MINUTE, STORE_UNAVAILABLE)
    assert env.sent() == ([], [])


async def test_crash_loop_does_not_call_at_every_start(env: AlerterEnv) -> None:
    called_at = []
    for minute in range(0, 60, 1):
        env.clock.moment = T0 + minute * MINUTE
        env.restart()
        # Each process sees the store unavailable since its own start.
        await env.check_after(timedelta(0), {OutOfBandReason.STORE: ActiveReason(since=env.clock.moment)})
        called_at += [minute for _ in env.sent()[0]]
    assert called_at == [10, 40]


async def test_numbers_file_reread_on_change_and_ignored_when_invalid(
    env: AlerterEnv,
) -> None:
    env.write(MOBILE, OTHER)
    with structlog.testing.capture_logs() as logged:
        await env.check_after(10 * MINUTE, STORE_UNAVAILABLE)
        assert env.sent() == ([MOBILE, OTHER], [MOBILE, OTHER])
        env.numbers.write_text("999\n")
        await env.check_after(30 * MINUTE, STORE_UNAVAILABLE)
        assert sorted(env.sent()[0]) == [MOBILE, OTHER]
        env.numbers.unlink()
        await env.check_after(30 * MINUTE, STORE_UNAVAILABLE)
        assert sorted(env.sent()[0]) == [MOBILE, OTHER]
    assert [line["reason"] for line in logged if line["event"] == "out-of-band numbers cannot be read"] == [
        "nombor:1: is no telephone number that can be called; write instead: 010-000 0900",
        "No such file or directory",
    ]
    assert all(number[3:] not in str(logged) for number in (MOBILE, OTHER))


async def test_silent_peer_is_named(env: AlerterEnv) -> None:
    await env.check_after(2 * MINUTE, {OutOfBandReason.PEER: ActiveReason(since=T0, whose="kedua")})
    await env.first.phones[MOBILE].expect_sms("Proses Pantau kedua tidak bertindak balas sejak 24/11, 2.15 ptg")
    assert b'pantau_out_of_band_active{reason="peer"} 1.0' in env.metrics.render()
    await env.check_after(MINUTE, {})
    assert b'pantau_out_of_band_active{reason="peer"} 0.0' in env.metrics.render()


async def test_unassigned_number_does_not_prevent_calling_others(env: AlerterEnv) -> None:
    env.write(UNASSIGNED, MOBILE)
    await env.check_after(10 * MINUTE, STORE_UNAVAILABLE)
    assert MOBILE in env.sent()[0]
