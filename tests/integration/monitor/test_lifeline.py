"""The lifeline, by the gateways that ship, against the stand-in carrier: what rings, and how often."""

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
from monitor.watchdog.out_of_band import MemoryFile, OutOfBandAlerter
from pantau_lab.carrier import api as carrier_api
from pantau_lab.carrier.carrier import Carrier
from pantau_lab.provider_fault import SubmissionFault
from pantau_lab.serving import serve
from tests.integration.alerts.station import Clock
from tests.unit.alerts.people import MINUTE, T0

WORDING = load()
NOC = IssuingOffice(short="PANTAU", name="Pusat Operasi Contoh", domain="")
MOBILE, OTHER, FIXED = "+60100000900", "+60100000901", "+60300000900"
#: Has the form of a number, and is nobody's at this carrier.
NOBODYS = "+60100000999"


class Watchroom:
    """A lifeline with its carrier, which lives again and again."""

    def __init__(self, place: Path, carriers: Iterable[tuple[Carrier, str]]) -> None:
        self.place = place
        self.numbers = place / "nombor"
        self.write(MOBILE)
        self.clock = Clock()
        self.metrics = Metrics(version="1", now=self.clock.now)
        self.carriers = list(carriers)
        self.line = self.live()

    def write(self, *numbers: str) -> None:
        self.numbers.write_text("".join(f"{number}  # NOC\n" for number in numbers))

    def live(self) -> OutOfBandAlerter:
        """Begin another life of the process."""
        around = GatewayContext(callback_base=None, directory=str(self.place))
        lines = []
        for number, (carrier, url) in enumerate(self.carriers):
            account = {
                "account_sid": carrier.account_sid,
                "auth_token": SecretStr(carrier.auth_token),
                "from_number": next(iter(carrier.senders)),
                "base_url": url,
                "deadline_seconds": 30,
            }
            voice = TwilioVoice(TwilioVoiceSettings(**account), around)  # type: ignore[arg-type]
            text = TwilioSms(TwilioSmsSettings(**account), around)  # type: ignore[arg-type]
            lines += [
                ConfiguredGateway(name=f"suara-{number}", channel=Channel.VOICE, gateway=voice),
                ConfiguredGateway(name=f"sms-{number}", channel=Channel.SMS, gateway=text),
            ]
        self.line = OutOfBandAlerter(
            OutOfBandSettings(numbers_file=self.numbers, gateways=tuple(line.name for line in lines)),
            gateways=lines,
            office=NOC,
            wording=WORDING,
            state_file=MemoryFile(self.place / "out_of_band.json"),
            metrics=self.metrics.watchdog,
            clock=self.clock,
        )
        return self.line

    @property
    def first(self) -> Carrier:
        return self.carriers[0][0]

    async def look(self, after: timedelta, present: ActiveReasons) -> None:
        self.clock.moment += after
        await self.line.check(present)
        for carrier, _ in self.carriers:
            await carrier.settled()

    def told(self, carrier: int = 0) -> tuple[list[str], list[str]]:
        """Return whom calls and SMS went to since the last time, at one carrier."""
        at = self.carriers[carrier][0]
        calls, messages = [call.to for call in at.calls], [sms.to for sms in at.messages]
        at.calls.clear()
        at.messages.clear()
        return calls, messages


AWAY: ActiveReasons = {OutOfBandReason.STORE: ActiveReason(since=T0)}


@asynccontextmanager
async def watchroom(place: Path) -> AsyncIterator[Watchroom]:
    carriers = [Carrier(), Carrier()]
    for carrier in carriers:
        for number in (MOBILE, OTHER):
            carrier.phone(number)
        carrier.phone(FIXED, landline=True)
    async with serve(carrier_api.app(carriers[0])) as one, serve(carrier_api.app(carriers[1])) as other:
        room = Watchroom(place, zip(carriers, (one, other), strict=True))
        yield room
        await room.line.close()


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Watchroom]:
    async with watchroom(tmp_path) as made:
        yield made


async def test_a_store_that_is_away_for_ten_minutes_rings_and_texts_and_says_when_it_is_over(room: Watchroom) -> None:
    phone = room.first.phones[MOBILE]
    await room.look(9 * MINUTE, AWAY)
    assert room.told() == ([], [])
    with structlog.testing.capture_logs() as logged:
        await room.look(MINUTE, AWAY)
    # Each gateway was handed what it can carry.
    assert [line["event"] for line in logged] == ["out-of-band alert sent"]
    call = await phone.expect_call("tidak dapat menyimpan data sejak hari Selasa", "has not been able to store data")
    assert call.keys == ""
    await phone.expect_sms("RM0 PANTAU: AMARAN. Simpanan data Pantau gagal sejak 24/11, 2.15 ptg.", "ALERT.")
    assert room.told() == ([MOBILE], [MOBILE])

    await room.look(29 * MINUTE, AWAY)
    assert room.told() == ([], [])
    await room.look(MINUTE, AWAY)
    assert room.told() == ([MOBILE], [MOBILE])

    await room.look(5 * MINUTE, {})
    # Good news by SMS alone, and once.
    assert room.told() == ([], [MOBILE])
    assert "SELESAI" in phone.inbox[-1].text
    await room.look(5 * MINUTE, {})
    assert room.told() == ([], [])


class Hanging(MemoryFile):
    """On a disk that hangs, until it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.disk = threading.Event()

    def write(self, memory: ActiveReasons) -> bool:
        self.disk.wait()
        return super().write(memory)


async def test_a_disk_that_hangs_keeps_it_from_remembering_and_not_from_ringing(
    room: Watchroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out_of_band, "_WRITE_TIMEOUT_SECONDS", 0.05)
    room.line._memory_file = hanging = Hanging(room.place / "out_of_band.json")
    with structlog.testing.capture_logs() as logged:
        await room.look(10 * MINUTE, AWAY)
    assert [line["event"] for line in logged] == [
        "out-of-band state could not be saved; it is lost at a restart",
        "out-of-band alert sent",
    ]
    assert room.told() == ([MOBILE], [MOBILE])
    hanging.disk.set()


async def test_a_landline_is_rung_and_sent_no_sms_and_hears_by_a_call_when_it_is_over(room: Watchroom) -> None:
    room.write(FIXED)
    with structlog.testing.capture_logs() as logged:
        await room.look(10 * MINUTE, AWAY)
    assert room.told() == ([FIXED], [])
    assert [line["event"] for line in logged] == ["out-of-band alert sent"], "none was tried"
    await room.look(MINUTE, {})
    assert room.told() == ([FIXED], [])
    assert "berfungsi semula" in room.first.phones[FIXED].calls[-1].text


async def test_the_next_gateway_of_the_channel_takes_what_the_first_does_not(room: Watchroom) -> None:
    room.first.faults.extend([SubmissionFault.ERROR_BEFORE] * 2)
    await room.look(10 * MINUTE, AWAY)
    assert room.told(0) == ([], [])
    assert room.told(1) == ([MOBILE], [MOBILE])


async def test_when_no_gateway_takes_anything_it_is_tried_again_every_minute_until_one_does(room: Watchroom) -> None:
    for carrier, _ in room.carriers:
        carrier.faults.extend([SubmissionFault.TOO_MANY] * 4)
    await room.look(10 * MINUTE, AWAY)
    await room.look(MINUTE / 2, AWAY)
    assert [room.told(n) for n in (0, 1)] == [([], [])] * 2
    await room.look(MINUTE / 2, AWAY)
    assert [room.told(n) for n in (0, 1)] == [([], [])] * 2
    await room.look(MINUTE, AWAY)
    assert room.told() == ([MOBILE], [MOBILE])
    await room.look(5 * MINUTE, AWAY)
    assert room.told() == ([], [])


async def test_a_crash_loop_does_not_ring_at_every_start(room: Watchroom) -> None:
    rung = []
    for minute in range(0, 60, 1):
        room.clock.moment = T0 + minute * MINUTE
        room.live()
        # Each life sees the store away since its own start.
        await room.look(timedelta(0), {OutOfBandReason.STORE: ActiveReason(since=room.clock.moment)})
        rung += [minute for _ in room.told()[0]]
    assert rung == [10, 40]


async def test_the_numbers_are_read_again_when_the_file_changes_and_a_bad_file_changes_nothing(
    room: Watchroom,
) -> None:
    room.write(MOBILE, OTHER)
    with structlog.testing.capture_logs() as logged:
        await room.look(10 * MINUTE, AWAY)
        assert room.told() == ([MOBILE, OTHER], [MOBILE, OTHER])
        room.numbers.write_text("999\n")
        await room.look(30 * MINUTE, AWAY)
        assert sorted(room.told()[0]) == [MOBILE, OTHER]
        room.numbers.unlink()
        await room.look(30 * MINUTE, AWAY)
        assert sorted(room.told()[0]) == [MOBILE, OTHER]
    assert [line["reason"] for line in logged if line["event"] == "out-of-band numbers cannot be read"] == [
        "nombor:1: is no telephone number that can be rung; write instead: 010-000 0900",
        "No such file or directory",
    ]
    assert all(number[3:] not in str(logged) for number in (MOBILE, OTHER))


async def test_a_peer_that_fell_silent_is_named(room: Watchroom) -> None:
    await room.look(2 * MINUTE, {OutOfBandReason.PEER: ActiveReason(since=T0, whose="kedua")})
    await room.first.phones[MOBILE].expect_sms("Proses Pantau kedua tidak bertindak balas sejak 24/11, 2.15 ptg")
    assert b'pantau_out_of_band_active{reason="peer"} 1.0' in room.metrics.render()
    await room.look(MINUTE, {})
    assert b'pantau_out_of_band_active{reason="peer"} 0.0' in room.metrics.render()


async def test_a_number_that_is_nobodys_keeps_no_other_from_being_rung(room: Watchroom) -> None:
    room.write(NOBODYS, MOBILE)
    await room.look(10 * MINUTE, AWAY)
    assert MOBILE in room.told()[0]
