"""Drills on a real store, by the gateways that ship, against the stand-in carrier with its phones."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import structlog
from pydantic import SecretStr
from sqlalchemy import select

from alerts.decide.drill import DrillState, DrillTarget
from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.engine.receipt_monitor import ReceiptMonitor
from alerts.gateways.tray import Tray, TraySettings
from alerts.gateways.twilio.sms import TwilioSms, TwilioSmsSettings
from alerts.gateways.twilio.voice import TwilioVoice, TwilioVoiceSettings
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.delivery import AttemptState, Notification
from alerts.model.gateway import (
    AckResult,
    CallbackEvent,
    Content,
    DeliveryReport,
    Gateway,
    GatewayContext,
    SendRequest,
    SubmissionState,
)
from alerts.model.notification import Language
from alerts.model.urgency import Urgency, priority
from alerts.persistence.store import StoreUnavailable
from alerts.wording.texts import load
from monitor.drills.runner import DrillPlan, DrillRunner
from monitor.drills.sender import DrillSender
from monitor.metrics import Metrics
from monitor.model.window import Recurring, WindowOccurrence
from monitor.store.backend.database import Database
from monitor.store.engine.drills import Drill, DrillNotificationRecord, Drills
from monitor.store.engine.ledger import SqlStore
from monitor.store.schema.tables import audit_log
from pantau_lab.callbacks import CallbackListener, RecordingCallbackHandler
from pantau_lab.carrier import api as carrier_api
from pantau_lab.carrier.carrier import Carrier
from pantau_lab.carrier.phone import PhoneBehaviour
from pantau_lab.provider_fault import CallbackFault, SubmissionFault
from pantau_lab.serving import serve
from tests.contracts.test_store import draft
from tests.integration.alerts.station import Clock, Scripted, Watcher
from tests.unit.alerts.decide.test_drill import WORKING
from tests.unit.alerts.documents.pages import text_of
from tests.unit.alerts.people import FAX, LETTER, MINUTE, OFFICE, SECOND, trigger

WORDING = load()
SITI, RAVI, OFFICE_LINE = "+60100000101", "+60100000102", "+60300000101"
#: Has the form of a number, and is nobody's at this carrier.
NOBODYS = "+60100000999"
PACE = 30 * SECOND


def target(key: str, *addresses: Address) -> DrillTarget:
    contact = Contact(key=key, name=f"{key.title()} Contoh", language=Language.MALAY, addresses=addresses)
    return DrillTarget(agency="JCM", contact=contact, office=OFFICE)


def sms(number: str) -> Address:
    return Address(channel=Channel.SMS, number=number)


def voice(number: str) -> Address:
    return Address(channel=Channel.VOICE, number=number)


class School:
    """Everything that a drill needs, and a clock that is advanced."""

    def __init__(self, place: Path, database: Database, carrier: Carrier, lines: Sequence[ConfiguredGateway]) -> None:
        self.place = place
        self.database = database
        self.carrier = carrier
        self.clock = Clock()
        self.clock.moment = WORKING
        self.metrics = Metrics(version="1", now=self.clock.now)
        self.pool = GatewayPool(lines)
        for line in lines:
            self.metrics.register_gateway(line.channel, line.name)
        self.store = SqlStore(database)
        self.drills = Drills(database)
        self.targets: list[DrillTarget] = [target("siti", sms(SITI), voice(SITI))]
        self.next_window: Callable[[datetime], WindowOccurrence | None] = lambda _: None
        self.schedule: object = None
        self.left_out: set[str] = set()
        self.sender = DrillSender(
            drills=self.drills, pool=self.pool, wording=WORDING, metrics=self.metrics, clock=self.clock
        )
        self.restart()

    def restart(self) -> None:
        self.driller = DrillRunner(
            drills=self.drills,
            store=self.store,
            pool=self.pool,
            sender=self.sender,
            current_plan=self._roster,
            metrics=self.metrics,
            clock=self.clock,
        )

    def _roster(self) -> DrillPlan:
        return DrillPlan(
            targets=self.targets,
            pace=PACE,
            next_window=self.next_window,
            takes_part=lambda key: key not in self.left_out,
            schedule=self.schedule,
        )

    async def ask(self, contact: str = "all") -> Drill:
        begun = await self.driller.start(contact, "Ali Contoh", timedelta(hours=2))
        assert begun is not None
        return begun[0]

    async def look(self, after: timedelta = timedelta(0)) -> None:
        self.clock.moment += after
        async with asyncio.TaskGroup() as calls:
            await self.driller.run_once(calls)
        await self.carrier.settled()

    async def hold(self, minutes: int = 3) -> None:
        """Let a drill go on for a while."""
        for _ in range(minutes * 2):
            await self.look(PACE)

    async def results(self) -> dict[str, DrillNotificationRecord]:
        return {record.key: record for _, record in await self.driller.latest_results(1)}

    def calls_under_way(self) -> int:
        """Return how many slots of gateways are taken."""
        return sum(state.busy for state in self.pool._states.values())

    async def states(self) -> dict[str, str]:
        return {key.removeprefix("JCM/"): record.state for key, record in (await self.results()).items()}

    async def journal(self) -> list[str]:
        async with self.database.read() as connection:
            return list((await connection.execute(select(audit_log.c.event).order_by(audit_log.c.id))).scalars())


class SchoolDesk(RecordingCallbackHandler):
    """A desk at which only drills are answered for."""

    def __init__(self, sender: DrillSender) -> None:
        super().__init__()
        self._exerciser = sender

    async def record(self, heard: CallbackEvent) -> AckResult:
        return await self._exerciser.record(heard) or AckResult.OVER

    async def content(self, reference: str) -> Content | None:
        return await self._exerciser.content(reference)


@asynccontextmanager
async def school(place: Path, *, callbacks: bool = True) -> AsyncIterator[School]:
    carrier = Carrier()
    for number in (SITI, RAVI):
        carrier.phone(number, keys=["1"])
    carrier.phone(OFFICE_LINE, landline=True, keys=["1"])
    listener = CallbackListener(desk=RecordingCallbackHandler())
    async with (
        serve(carrier_api.app(carrier)) as url,
        serve(listener.app()) as public,
        Database.open(place / "state") as database,
    ):
        listener.public_base = public
        account = {
            "account_sid": carrier.account_sid,
            "auth_token": SecretStr(carrier.auth_token),
            "from_number": next(iter(carrier.senders)),
            "base_url": url,
            "deadline_seconds": 30,
        }

        def around(name: str) -> GatewayContext:
            return GatewayContext(callback_base=f"{public}/{name}" if callbacks else None, directory=str(place))

        gateways: dict[str, tuple[Channel, Gateway]] = {
            "sms": (Channel.SMS, TwilioSms(TwilioSmsSettings(**account), around("sms"))),  # type: ignore[arg-type]
            "suara": (Channel.VOICE, TwilioVoice(TwilioVoiceSettings(**account), around("suara"))),  # type: ignore[arg-type]
            "dulang": (Channel.LETTER, Tray(TraySettings(directory=place / "surat"), around("dulang"))),
        }
        lines = [
            ConfiguredGateway(name=name, channel=channel, gateway=gateway)
            for name, (channel, gateway) in gateways.items()
        ]
        made = School(place, database, carrier, lines)
        listener.gateways |= {name: gateway for name, (_, gateway) in gateways.items()}
        listener.desk = SchoolDesk(made.sender)
        yield made
        for _, gateway in gateways.values():
            await gateway.close()


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[School]:
    async with school(tmp_path) as made:
        yield made


def reached(at: School, contact: str) -> float:
    series = f'pantau_contact_reached_timestamp_seconds{{agency="JCM",contact="{contact}"}} '
    lines = at.metrics.render().decode().splitlines()
    return next(float(line.removeprefix(series)) for line in lines if line.startswith(series))


async def test_a_key_that_comes_twice_in_a_drill_is_the_same_persons(at: School) -> None:
    await at.ask()
    await at.hold()
    called = (await at.results())["JCM/siti/voice/1/suara"]

    pressed = CallbackEvent(reference=called.reference, event_id="CA1/key/1", acknowledged=True)

    assert await at.sender.record(pressed) is AckResult.AGAIN


async def test_everybody_is_tried_by_sms_and_by_a_call_that_says_that_it_is_a_drill(at: School) -> None:
    phone = at.carrier.phones[SITI]
    await at.look()
    assert reached(at, "siti") == 0
    drill = await at.ask()
    assert drill.number == "LATIH-01"
    await at.hold()

    await phone.expect_sms("RM0 JCM ICT: LATIHAN SAHAJA.", "Ruj LATIH-01")
    call = await phone.expect_call("Ini ialah latihan sahaja.", "Penerimaan tuan atau puan telah disahkan")
    assert call.keys == "1"
    assert phone.unexpected() == []
    assert await at.states() == {"siti/sms/0/sms": "delivered", "siti/voice/1/suara": "confirmed"}
    assert at.calls_under_way() == 0
    assert WORKING.timestamp() < reached(at, "siti") <= at.clock.moment.timestamp()
    assert b'pantau_drill_notifications_total{channel="voice",result="confirmed"} 1.0' in at.metrics.render()
    told = await at.journal()
    assert told[0] == "drill begun"
    assert told[-1] == "drill ended"
    assert {"exercise begun", "exercise delivered", "exercise confirmed"} <= set(told)
    assert at.carrier.errors == []


async def test_a_call_that_nobody_confirms_has_not_reached_the_person(at: School) -> None:
    at.carrier.phones[SITI].behaviour = PhoneBehaviour.VOICEMAIL
    await at.ask("siti")
    await at.hold()
    states = await at.states()
    assert states["siti/sms/0/sms"] == "delivered"
    assert states["siti/voice/1/suara"] in {"delivered", "failed"}
    assert reached(at, "siti") == 0


@pytest.mark.parametrize("behaviour", [PhoneBehaviour.BUSY, PhoneBehaviour.NO_ANSWER])
async def test_what_does_not_arrive_is_the_result_and_is_not_sent_again(behaviour: PhoneBehaviour, at: School) -> None:
    at.carrier.phones[SITI].behaviour = behaviour
    await at.ask()
    await at.hold(5)
    assert (await at.states())["siti/voice/1/suara"] == "failed"
    assert [call.to for call in at.carrier.calls] == [SITI]
    assert (await at.results())["JCM/siti/voice/1/suara"].reason != ""


async def test_a_gateway_that_does_not_work_is_found_by_a_drill(at: School) -> None:
    at.carrier.faults.extend([SubmissionFault.ERROR_BEFORE] * 2)
    await at.ask()
    await at.hold()
    assert set((await at.states()).values()) == {"failed"}
    assert b'pantau_gateway_up{channel="sms",gateway="sms"} 0.0' in at.metrics.render()


async def test_a_number_that_the_gateway_does_not_take_says_nothing_against_the_gateway(at: School) -> None:
    at.targets = [target("siti", sms("+60"))]
    await at.ask()
    await at.hold()
    assert await at.states() == {"siti/sms/0/sms": "failed"}
    assert b'pantau_gateway_up{channel="sms",gateway="sms"} 0.0' not in at.metrics.render()


async def test_the_last_slots_of_a_gateway_are_left_to_what_is_real(at: School) -> None:
    for number in range(3):
        assert at.pool.take_slot("sms", incident_id=number, what="x", priority=priority(Urgency.FIRST, WORKING, number))
    await at.ask()
    await at.hold()
    assert await at.states() == {"siti/voice/1/suara": "confirmed"}
    at.pool.release_slot("sms")
    await at.hold()
    assert await at.states() == {"siti/sms/0/sms": "delivered", "siti/voice/1/suara": "confirmed"}


async def test_without_callbacks_the_provider_is_asked(tmp_path: Path) -> None:
    async with school(tmp_path, callbacks=False) as at:
        await at.ask()
        await at.hold()
        assert (await at.states())["siti/sms/0/sms"] == "delivered"


async def test_the_drill_waits_while_something_real_goes_on_and_goes_on_after_it(at: School) -> None:
    ravi = target("ravi", sms(RAVI), voice(RAVI))
    at.targets = [*at.targets, ravi]
    brief = trigger().policy
    only_siti = replace(brief.escalation, steps=brief.escalation.steps[:1])
    async with at.store.transaction() as uow:
        [incident] = await uow.add_incidents([trigger(brief=replace(brief, escalation=only_siti))])
    await at.ask()
    await at.hold()
    # The incident is about to tell Siti: she is left alone, and Ravi is not.
    assert set(await at.states()) == {"ravi/sms/0/sms", "ravi/voice/1/suara"}
    async with at.store.transaction() as uow:
        now = at.clock.now()
        await uow.save_incident(replace(incident, state="resolved", resolved_at=now, ended_at=now))  # type: ignore[arg-type]
    await at.hold()
    assert set((await at.states()).values()) == {"delivered", "confirmed"}


@pytest.mark.parametrize(
    ("held", "again", "waits"),
    [(timedelta(0), None, True), (timedelta(hours=1), None, False), (timedelta(0), timedelta(minutes=8), False)],
)
async def test_the_drill_waits_for_a_notice_that_may_go_now_and_for_no_other(
    at: School, held: timedelta, again: timedelta | None, *, waits: bool
) -> None:
    now = at.clock.now()
    brief = trigger().policy
    async with at.store.transaction() as uow:
        nobody = replace(brief, escalation=replace(brief.escalation, steps=()))
        [incident] = await uow.add_incidents([trigger(brief=nobody)])
        told = replace(draft(incident), person="wakil", expires_at=now + timedelta(days=1))
        notice = await uow.add_notification(incident, told, now, not_before=now + held)
        assert notice is not None
        if again is not None:
            tried = await uow.add_delivery(notice.id, told.addresses[0])
            attempt = await uow.add_attempt(tried, "sms", now, query_at=now + again)
            await uow.save_attempt(replace(attempt, state=AttemptState.FAILED, ended_at=now))
        await uow.save_incident(replace(incident, state="resolved", resolved_at=now, ended_at=now))  # type: ignore[arg-type]
    await at.ask()
    await at.hold()
    assert bool(await at.states()) is not waits


async def test_what_could_not_be_tried_in_time_is_left_out_with_its_reason(at: School) -> None:
    at.targets = [target("siti", voice(OFFICE_LINE)), target("ravi", sms(RAVI))]
    at.clock.moment = WORKING.replace(hour=9, minute=30)  # 5.30 in the afternoon
    await at.ask()
    await at.hold()
    assert await at.states() == {"ravi/sms/0/sms": "delivered"}
    await at.look(timedelta(hours=2))
    left = (await at.results())["JCM/siti/voice/0/suara"]
    assert (left.state, left.reason) == (DrillState.SKIPPED, "the office is closed")
    assert at.carrier.calls == []
    assert (await at.journal())[-1] == "drill ended"


async def test_a_process_that_dies_while_it_calls_does_not_call_again(at: School) -> None:
    drill = await at.ask()
    assert drill
    begun = asyncio.Event()

    def stop(_: object) -> None:
        begun.set()

    at.carrier.on_taken = stop
    life = asyncio.create_task(at.look())
    await begun.wait()
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)
    at.restart()
    await at.hold(5)
    assert sorted(type(each).__name__ for each in (*at.carrier.calls, *at.carrier.messages)) == ["Call", "Sms"]


async def test_it_begins_by_itself_in_its_hour_once_whatever_restarts_there_are(at: School) -> None:
    begins = WORKING + MINUTE
    at.next_window = lambda _: WindowOccurrence(begins, begins + timedelta(hours=1))
    await at.look()
    assert await at.results() == {}
    await at.look(MINUTE)
    at.restart()
    await at.hold()
    at.restart()
    await at.hold()
    assert len(at.carrier.messages) == 1
    assert [record.drill_id for record in (await at.results()).values()] == [1, 1]
    assert (await at.journal()).count("drill begun") == 1
    assert b"pantau_drill_last_timestamp_seconds" in at.metrics.render()


async def test_where_no_drill_is_planned_none_is_late_and_who_takes_no_part_is_not_missed(at: School) -> None:
    at.targets.append(target("ali", voice(RAVI)))
    at.left_out = {"ali"}
    at.next_window = lambda _: WindowOccurrence(WORKING, WORKING + timedelta(hours=1))
    await at.hold()
    shown = at.metrics.render()
    assert b"pantau_drill_last_timestamp_seconds 1" in shown
    assert b'contact="siti"' in shown
    assert b'contact="ali"' not in shown

    at.next_window = lambda _: None
    await at.driller.export()
    assert b"pantau_drill_last_timestamp_seconds 1" not in at.metrics.render()


@pytest.mark.parametrize("cron", ["0 10 * * *", "0 10 * * tue", "0 10 1 * *"], ids=["daily", "weekly", "monthly"])
async def test_a_drill_is_overdue_a_day_after_its_time_whatever_the_schedule(at: School, cron: str) -> None:
    window = Recurring(cron, timedelta(hours=4), ZoneInfo("Asia/Kuala_Lumpur"))
    times: list[WindowOccurrence] = []
    while len(times) < 3:
        found = window.next_occurrence(times[-1].ends_at if times else WORKING + timedelta(days=1))
        assert found is not None
        times.append(found)
    first, second, third = times
    day = timedelta(days=1)

    async def overdue_at() -> datetime | None:
        await at.driller.export()
        told = re.search(rb"^pantau_drill_overdue_timestamp_seconds (\S+)", at.metrics.render(), re.MULTILINE)
        return datetime.fromtimestamp(float(told[1]), UTC) if told else None

    at.next_window, at.schedule = lambda _: None, None
    assert await overdue_at() is None
    # It is known since just before the first: none was missed.
    at.clock.moment = first.starts_at - MINUTE
    at.next_window, at.schedule = window.next_occurrence, cron
    assert await overdue_at() == first.ends_at + day
    at.clock.moment = first.starts_at
    await at.hold()
    assert await overdue_at() == second.ends_at + day
    # Nothing is held any more: it stays, whatever time it is, and over a restart.
    at.clock.moment = third.ends_at + timedelta(hours=1)
    assert await overdue_at() == second.ends_at + day
    at.restart()
    assert await overdue_at() == second.ends_at + day
    # By another schedule nothing has been missed yet.
    often = Recurring("0 * * * *", timedelta(minutes=30), ZoneInfo("Asia/Kuala_Lumpur"))
    at.next_window, at.schedule = often.next_occurrence, "often"
    overdue = await overdue_at()
    assert overdue is not None
    assert overdue > at.clock.moment + day


async def test_two_processes_hold_one_drill(at: School) -> None:
    at.next_window = lambda _: WindowOccurrence(WORKING, WORKING + timedelta(hours=1))
    other = DrillRunner(
        drills=at.drills,
        store=at.store,
        pool=at.pool,
        sender=at.sender,
        current_plan=at._roster,
        metrics=at.metrics,
        clock=at.clock,
    )
    for _ in range(6):
        at.clock.moment += PACE
        async with asyncio.TaskGroup() as calls:
            await asyncio.gather(at.driller.run_once(calls), other.run_once(calls))
        await at.carrier.settled()
    assert (len(at.carrier.messages), len(at.carrier.calls)) == (1, 1)


async def test_the_letter_of_a_drill_is_marked_and_taken_out_of_the_tray_again(at: School) -> None:
    office = replace(OFFICE, short="PANTAU", name="Pusat Operasi Contoh", domain="")
    ourselves = target("", Address(channel=Channel.LETTER, number="Pusat Operasi Contoh"))
    at.targets = [replace(ourselves, agency="", office=office), target("siti", sms(SITI))]
    await at.ask()
    await at.look(PACE)
    (letter,) = (at.place / "surat").glob("*.pdf")
    text = text_of(letter.read_bytes())
    assert "LATIHAN SAHAJA" in text
    assert "LATIH-01" in text
    await at.hold()
    assert list((at.place / "surat").glob("*.pdf")) == []
    assert (await at.journal())[-1] == "drill ended"


@pytest.mark.blind
async def test_a_gateway_whose_drills_do_not_arrive_any_more_is_doubted_and_one_that_arrives_clears_it(
    at: School,
) -> None:
    """Defect: Drills are ignored when a gateway's receipts are judged.

    Pantau: Receipts of drills count against it and for it.
    """
    gateway = Scripted()
    at.pool.replace([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=gateway)])
    at.targets = [target("siti", sms(SITI)), target("ravi", sms(RAVI))]
    watcher = Watcher()
    doubter = ReceiptMonitor(store=at.store, pool=at.pool, clock=at.clock, observer=watcher)

    async def drill(progress: SubmissionState) -> bool | None:
        gateway.happens.extend([progress] * 2)
        await at.ask()
        await at.hold(20)
        await doubter.check_gateways()
        return watcher.overdue_gateways["sms"]

    assert [await drill(SubmissionState.DELIVERED) for _ in range(2)] == [None, False]
    assert [await drill(SubmissionState.ACCEPTED) for _ in range(2)] == [False, True]
    assert at.pool.receipts_overdue_since("sms") is not None
    assert await drill(SubmissionState.DELIVERED) is False


@pytest.mark.blind
async def test_a_drill_ends_though_a_gateway_never_tells_what_became_of_it(at: School) -> None:
    """Defect: A gateway that never reports a drill's notification is asked every minute for hours, and the drill does not end.

    Pantau: It is asked for 15 minutes.
    """
    silent = Scripted()
    at.pool.replace([ConfiguredGateway(name="faks", channel=Channel.FAX, gateway=silent)])
    at.targets = [target("kementerian", FAX)]
    await at.ask()
    await at.hold(20)

    assert await at.drills.under_way() == []
    asked = [call for call in silent.calls if call.startswith("check")]
    await at.hold(5)
    assert [call for call in silent.calls if call.startswith("check")] == asked


@pytest.mark.blind
async def test_a_page_of_a_drill_is_not_set_anew_to_ask_about_it(at: School, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect: A gateway that never reports a drill's page keeps the drill open.

    Pantau: It is asked for 15 minutes.
    """
    tray, gateway = Scripted(certain=True), Scripted()
    at.pool.replace(
        [
            ConfiguredGateway(name="faks", channel=Channel.FAX, gateway=gateway),
            ConfiguredGateway(name="dulang", channel=Channel.LETTER, gateway=tray),
        ]
    )
    at.targets = [target("kementerian", FAX, LETTER)]
    composed: list[Channel] = []
    compose = at.sender.composer.compose

    async def counting(notice: Notification, channel: Channel, *, response: str = "") -> Content:
        composed.append(channel)
        return await compose(notice, channel, response=response)

    monkeypatch.setattr(at.sender.composer, "compose", counting)
    await at.ask()
    await at.hold(20)

    deeds = {call.split()[0] for call in (*gateway.calls, *tray.calls)}
    assert deeds == {"send", "check", "withdraw"}
    assert sorted(composed) == [Channel.FAX, Channel.LETTER]


async def test_nobody_of_that_name_is_no_drill(at: School) -> None:
    assert await at.driller.start("siapa", "Ali Contoh", timedelta(hours=2)) is None
    assert await at.results() == {}


class SubmissionNotFound(Drills):
    """Drills on a store that is away when it is to be told what became of an exercise, so many times."""

    def __init__(self, at: School) -> None:
        super().__init__(at.database)
        self._school = at
        self.refuses = 0
        #: Slots of gateways that were taken when it refused.
        self.held: list[int] = []

    async def change(
        self, reference: str, state: DrillState, now: datetime, **values: Any
    ) -> DrillNotificationRecord | None:
        if self.refuses:
            self.refuses -= 1
            self.held.append(self._school.calls_under_way())
            raise StoreUnavailable("disk full")
        return await super().change(reference, state, now, **values)


async def test_what_came_of_an_exercise_is_written_down_when_the_store_is_back(at: School) -> None:
    drills = at.drills = at.sender._drills = SubmissionNotFound(at)
    at.sender.calls.RETRY_INTERVAL = timedelta(0)
    at.restart()
    at.targets = [target("siti", sms(SITI)), target("ravi", sms(NOBODYS))]
    at.carrier.callback_fault = CallbackFault.NEVER
    await at.ask()
    drills.refuses = 2
    await at.hold()
    # One is nobody's number. Each was sent once.
    assert await at.states() == {"siti/sms/0/sms": "delivered", "ravi/sms/0/sms": "failed"}
    assert [sms.to for sms in at.carrier.messages] == [SITI, NOBODYS]
    assert drills.held[0] == 0, "a gateway is not held while its answer waits to be written"


async def test_a_bug_about_one_exercise_ends_neither_the_drill_nor_the_service(at: School) -> None:
    class Buggy(Drills):
        async def change(
            self, reference: str, state: DrillState, now: datetime, **values: Any
        ) -> DrillNotificationRecord | None:
            if "sms" in (await self.find(reference)).gateway:  # type: ignore[union-attr]
                raise ZeroDivisionError
            return await super().change(reference, state, now, **values)

    at.drills = at.sender._drills = Buggy(at.database)
    at.restart()
    await at.ask()
    with structlog.testing.capture_logs() as logged:
        await at.hold()
    assert await at.states() == {"siti/sms/0/sms": "calling", "siti/voice/1/suara": "confirmed"}
    assert "gateway call could not be completed" in [line["event"] for line in logged]


async def test_a_slot_is_free_again_when_a_gateway_breaks_as_it_is_asked_about_an_exercise(at: School) -> None:
    class Broken(Scripted):
        async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:
            raise ZeroDivisionError

    at.pool.replace([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=Broken(), slots=2)])
    at.targets = [target("siti", sms(SITI))]
    await at.ask()
    await at.hold(5)
    assert at.pool.free_slots("sms") == 2
    assert await at.states() == {"siti/sms/0/sms": "accepted"}, "it was asked about in vain"


async def test_a_provider_that_hangs_is_not_asked_again_before_it_has_answered(at: School) -> None:
    class Slow(Scripted):
        asked = asyncio.Event()
        answers = asyncio.Event()

        async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:
            self.asked.set()
            await self.answers.wait()
            return await super().check(order, provider_id)

    slow = Slow()
    at.pool.replace([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=slow)])
    at.targets = [target("siti", sms(SITI))]
    await at.ask()
    await at.look()
    async with asyncio.TaskGroup() as calls:
        for _ in range(3):
            at.clock.moment += MINUTE
            await at.driller.run_once(calls)
            await slow.asked.wait()
            assert at.calls_under_way() == 1
        slow.answers.set()
    await at.look()
    assert [call.split()[0] for call in slow.calls] == ["send", "check"]
    slow.taken = dict.fromkeys(slow.taken, SubmissionState.DELIVERED)
    await at.look(MINUTE)
    assert await at.states() == {"siti/sms/0/sms": "delivered"}
