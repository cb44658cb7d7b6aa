"""Drills on a real store with the shipped gateways, against the simulated carrier and its phones."""

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
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.schema.tables import audit_log
from pantau_lab.callbacks import CallbackListener, RecordingCallbackHandler
from pantau_lab.carrier import api as carrier_api
from pantau_lab.carrier.carrier import Carrier
from pantau_lab.carrier.phone import PhoneBehaviour
from pantau_lab.provider_fault import CallbackFault, SubmissionFault
from pantau_lab.serving import serve
from tests.contracts.test_store import draft
from tests.integration.alerts.dispatcher_env import Clock, RecordingObserver, ScriptedGateway
from tests.unit.alerts.decide.test_drill import WORKING
from tests.unit.alerts.documents.pages import text_of
from tests.unit.alerts.people import FAX, LETTER, MINUTE, OFFICE, SECOND, trigger

WORDING = load()
SITI, RAVI, OFFICE_LINE = "+60100000101", "+60100000102", "+60300000101"
#: A valid number that is not assigned at this carrier.
UNASSIGNED = "+60100000999"
PACE = 30 * SECOND


def target(key: str, *addresses: Address) -> DrillTarget:
    contact = Contact(key=key, name=f"{key.title()} Contoh", language=Language.MALAY, addresses=addresses)
    return DrillTarget(agency="JCM", contact=contact, office=OFFICE)


def sms(number: str) -> Address:
    return Address(channel=Channel.SMS, number=number)


def voice(number: str) -> Address:
    return Address(channel=Channel.VOICE, number=number)


class DrillEnv:
    """Drill runner with its store, gateways and simulated carrier, and a clock that the test advances."""

    def __init__(
        self, place: Path, database: Database, carrier: Carrier, configured: Sequence[ConfiguredGateway]
    ) -> None:
        self.place = place
        self.database = database
        self.carrier = carrier
        self.clock = Clock()
        self.clock.moment = WORKING
        self.metrics = Metrics(version="1", now=self.clock.now)
        self.pool = GatewayPool(configured)
        for line in configured:
            self.metrics.register_gateway(line.channel, line.name)
        self.store = SqlStore(database)
        self.drills = Drills(database)
        self.targets: list[DrillTarget] = [target("siti", sms(SITI), voice(SITI))]
        self.next_window: Callable[[datetime], WindowOccurrence | None] = lambda _: None
        self.schedule: object = None
        self.excluded: set[str] = set()
        self.sender = DrillSender(
            drills=self.drills, pool=self.pool, wording=WORDING, metrics=self.metrics, clock=self.clock
        )
        self.restart()

    def restart(self) -> None:
        self.drill_runner = DrillRunner(
            drills=self.drills,
            store=self.store,
            pool=self.pool,
            sender=self.sender,
            current_plan=self._plan,
            metrics=self.metrics,
            clock=self.clock,
        )

    def _plan(self) -> DrillPlan:
        return DrillPlan(
            targets=self.targets,
            pace=PACE,
            next_window=self.next_window,
            is_participant=lambda key: key not in self.excluded,
            schedule=self.schedule,
        )

    async def start_drill(self, contact: str = "all") -> Drill:
        begun = await self.drill_runner.start(contact, "Ali Contoh", timedelta(hours=2))
        assert begun is not None
        return begun[0]

    async def run_once_after(self, after: timedelta = timedelta(0)) -> None:
        self.clock.moment += after
        async with asyncio.TaskGroup() as calls:
            await self.drill_runner.run_once(calls)
        await self.carrier.settled()

    async def run_for(self, minutes: int = 3) -> None:
        """Let a drill run for some minutes."""
        for _ in range(minutes * 2):
            await self.run_once_after(PACE)

    async def results(self) -> dict[str, DrillNotificationRecord]:
        return {record.key: record for _, record in await self.drill_runner.latest_results(1)}

    def busy_slots(self) -> int:
        """Return the number of gateway slots in use."""
        return sum(state.busy for state in self.pool._states.values())

    async def states(self) -> dict[str, str]:
        return {key.removeprefix("JCM/"): record.state for key, record in (await self.results()).items()}

    async def audit_events(self) -> list[str]:
        async with self.database.read() as connection:
            return list((await connection.execute(select(audit_log.c.event).order_by(audit_log.c.id))).scalars())


class DrillCallbackHandler(RecordingCallbackHandler):
    """Callback handler for drills only."""

    def __init__(self, sender: DrillSender) -> None:
        super().__init__()
        self._sender = sender

    async def record(self, event: CallbackEvent) -> AckResult:
        return await self._sender.record(event) or AckResult.OVER

    async def content(self, reference: str) -> Content | None:
        return await self._sender.content(reference)


@asynccontextmanager
async def open_env(place: Path, *, callbacks: bool = True) -> AsyncIterator[DrillEnv]:
    carrier = Carrier()
    for number in (SITI, RAVI):
        carrier.phone(number, keys=["1"])
    carrier.phone(OFFICE_LINE, landline=True, keys=["1"])
    listener = CallbackListener(handler=RecordingCallbackHandler())
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

        def context_for(name: str) -> GatewayContext:
            return GatewayContext(callback_base=f"{public}/{name}" if callbacks else None, directory=str(place))

        gateways: dict[str, tuple[Channel, Gateway]] = {
            "sms": (Channel.SMS, TwilioSms(TwilioSmsSettings(**account), context_for("sms"))),  # type: ignore[arg-type]
            "suara": (Channel.VOICE, TwilioVoice(TwilioVoiceSettings(**account), context_for("suara"))),  # type: ignore[arg-type]
            "dulang": (Channel.LETTER, Tray(TraySettings(directory=place / "surat"), context_for("dulang"))),
        }
        configured = [
            ConfiguredGateway(name=name, channel=channel, gateway=gateway)
            for name, (channel, gateway) in gateways.items()
        ]
        made = DrillEnv(place, database, carrier, configured)
        listener.gateways |= {name: gateway for name, (_, gateway) in gateways.items()}
        listener.handler = DrillCallbackHandler(made.sender)
        yield made
        for _, gateway in gateways.values():
            await gateway.close()


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[DrillEnv]:
    async with open_env(tmp_path) as made:
        yield made


def reached_timestamp(env: DrillEnv, contact: str) -> float:
    series = f'pantau_contact_reached_timestamp_seconds{{agency="JCM",contact="{contact}"}} '
    configured = env.metrics.render().decode().splitlines()
    return next(float(line.removeprefix(series)) for line in configured if line.startswith(series))


async def test_drill_repeated_key_is_acknowledged_again(env: DrillEnv) -> None:
    await env.start_drill()
    await env.run_for()
    called = (await env.results())["JCM/siti/voice/1/suara"]

    pressed = CallbackEvent(reference=called.reference, event_id="CA1/key/1", acknowledged=True)

    assert await env.sender.record(pressed) is AckResult.AGAIN


async def test_drill_calls_and_texts_every_target_marked_as_drill(env: DrillEnv) -> None:
    phone = env.carrier.phones[SITI]
    await env.run_once_after()
    assert reached_timestamp(env, "siti") == 0
    drill = await env.start_drill()
    assert drill.number == "LATIH-01"
    await env.run_for()

    await phone.expect_sms("RM0 JCM ICT: LATIHAN SAHAJA.", "Ruj LATIH-01")
    call = await phone.expect_call("Ini ialah latihan sahaja.", "Penerimaan tuan atau puan telah disahkan")
    assert call.keys == "1"
    assert phone.unexpected() == []
    assert await env.states() == {"siti/sms/0/sms": "delivered", "siti/voice/1/suara": "confirmed"}
    assert env.busy_slots() == 0
    assert WORKING.timestamp() < reached_timestamp(env, "siti") <= env.clock.moment.timestamp()
    assert b'pantau_drill_notifications_total{channel="voice",result="confirmed"} 1.0' in env.metrics.render()
    drafted = await env.audit_events()
    assert drafted[0] == "drill begun"
    assert drafted[-1] == "drill ended"
    assert {"exercise begun", "exercise delivered", "exercise confirmed"} <= set(drafted)
    assert env.carrier.errors == []


async def test_drill_unconfirmed_call_has_not_reached_contact(env: DrillEnv) -> None:
    env.carrier.phones[SITI].behaviour = PhoneBehaviour.VOICEMAIL
    await env.start_drill("siti")
    await env.run_for()
    states = await env.states()
    assert states["siti/sms/0/sms"] == "delivered"
    assert states["siti/voice/1/suara"] in {"delivered", "failed"}
    assert reached_timestamp(env, "siti") == 0


@pytest.mark.parametrize("behaviour", [PhoneBehaviour.BUSY, PhoneBehaviour.NO_ANSWER])
async def test_drill_undelivered_call_is_failed_and_not_repeated(behaviour: PhoneBehaviour, env: DrillEnv) -> None:
    env.carrier.phones[SITI].behaviour = behaviour
    await env.start_drill()
    await env.run_for(5)
    assert (await env.states())["siti/voice/1/suara"] == "failed"
    assert [call.to for call in env.carrier.calls] == [SITI]
    assert (await env.results())["JCM/siti/voice/1/suara"].reason != ""


async def test_drill_finds_failing_gateway(env: DrillEnv) -> None:
    env.carrier.faults.extend([SubmissionFault.ERROR_BEFORE] * 2)
    await env.start_drill()
    await env.run_for()
    assert set((await env.states()).values()) == {"failed"}
    assert b'pantau_gateway_up{channel="sms",gateway="sms"} 0.0' in env.metrics.render()


async def test_drill_invalid_number_does_not_mark_gateway_down(env: DrillEnv) -> None:
    env.targets = [target("siti", sms("+60"))]
    await env.start_drill()
    await env.run_for()
    assert await env.states() == {"siti/sms/0/sms": "failed"}
    assert b'pantau_gateway_up{channel="sms",gateway="sms"} 0.0' not in env.metrics.render()


async def test_drill_leaves_last_gateway_slots_to_incidents(env: DrillEnv) -> None:
    for number in range(3):
        assert env.pool.take_slot(
            "sms", incident_id=number, call_key="x", priority=priority(Urgency.FIRST, WORKING, number)
        )
    await env.start_drill()
    await env.run_for()
    assert await env.states() == {"siti/voice/1/suara": "confirmed"}
    env.pool.release_slot("sms")
    await env.run_for()
    assert await env.states() == {"siti/sms/0/sms": "delivered", "siti/voice/1/suara": "confirmed"}


async def test_drill_without_callbacks_polls_provider(tmp_path: Path) -> None:
    async with open_env(tmp_path, callbacks=False) as env:
        await env.start_drill()
        await env.run_for()
        assert (await env.states())["siti/sms/0/sms"] == "delivered"


async def test_drill_postpones_contact_of_open_incident_until_it_ends(env: DrillEnv) -> None:
    ravi = target("ravi", sms(RAVI), voice(RAVI))
    env.targets = [*env.targets, ravi]
    snapshot = trigger().policy
    only_siti = replace(snapshot.escalation, steps=snapshot.escalation.steps[:1])
    async with env.store.transaction() as uow:
        [incident] = await uow.add_incidents([trigger(snapshot=replace(snapshot, escalation=only_siti))])
    await env.start_drill()
    await env.run_for()
    # The incident is about to notify Siti: the drill postpones her and calls Ravi.
    assert set(await env.states()) == {"ravi/sms/0/sms", "ravi/voice/1/suara"}
    async with env.store.transaction() as uow:
        now = env.clock.now()
        await uow.save_incident(replace(incident, state="resolved", resolved_at=now, ended_at=now))  # type: ignore[arg-type]
    await env.run_for()
    assert set((await env.states()).values()) == {"delivered", "confirmed"}


@pytest.mark.parametrize(
    ("held", "again", "waits"),
    [(timedelta(0), None, True), (timedelta(hours=1), None, False), (timedelta(0), timedelta(minutes=8), False)],
)
async def test_drill_waits_only_for_notification_due_now(
    env: DrillEnv, held: timedelta, again: timedelta | None, *, waits: bool
) -> None:
    now = env.clock.now()
    snapshot = trigger().policy
    async with env.store.transaction() as uow:
        without_steps = replace(snapshot, escalation=replace(snapshot.escalation, steps=()))
        [incident] = await uow.add_incidents([trigger(snapshot=without_steps)])
        drafted = replace(draft(incident), person="wakil", expires_at=now + timedelta(days=1))
        notice = await uow.add_notification(incident, drafted, now, not_before=now + held)
        assert notice is not None
        if again is not None:
            tried = await uow.add_delivery(notice.id, drafted.addresses[0])
            attempt = await uow.add_attempt(tried, "sms", now, query_at=now + again)
            await uow.save_attempt(replace(attempt, state=AttemptState.FAILED, ended_at=now))
        await uow.save_incident(replace(incident, state="resolved", resolved_at=now, ended_at=now))  # type: ignore[arg-type]
    await env.start_drill()
    await env.run_for()
    assert bool(await env.states()) is not waits


async def test_drill_target_not_tried_in_time_is_skipped_with_reason(env: DrillEnv) -> None:
    env.targets = [target("siti", voice(OFFICE_LINE)), target("ravi", sms(RAVI))]
    env.clock.moment = WORKING.replace(hour=9, minute=30)  # 5.30 in the afternoon
    await env.start_drill()
    await env.run_for()
    assert await env.states() == {"ravi/sms/0/sms": "delivered"}
    await env.run_once_after(timedelta(hours=2))
    left = (await env.results())["JCM/siti/voice/0/suara"]
    assert (left.state, left.reason) == (DrillState.SKIPPED, "the office is closed")
    assert env.carrier.calls == []
    assert (await env.audit_events())[-1] == "drill ended"


async def test_drill_process_killed_during_call_does_not_call_again(env: DrillEnv) -> None:
    drill = await env.start_drill()
    assert drill
    begun = asyncio.Event()

    def stop(_: object) -> None:
        begun.set()

    env.carrier.on_taken = stop
    life = asyncio.create_task(env.run_once_after())
    await begun.wait()
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)
    env.restart()
    await env.run_for(5)
    assert sorted(type(each).__name__ for each in (*env.carrier.calls, *env.carrier.messages)) == ["Call", "Sms"]


async def test_drill_scheduled_starts_once_despite_restarts(env: DrillEnv) -> None:
    begins = WORKING + MINUTE
    env.next_window = lambda _: WindowOccurrence(begins, begins + timedelta(hours=1))
    await env.run_once_after()
    assert await env.results() == {}
    await env.run_once_after(MINUTE)
    env.restart()
    await env.run_for()
    env.restart()
    await env.run_for()
    assert len(env.carrier.messages) == 1
    assert [record.drill_id for record in (await env.results()).values()] == [1, 1]
    assert (await env.audit_events()).count("drill begun") == 1
    assert b"pantau_drill_last_timestamp_seconds" in env.metrics.render()


async def test_drill_unscheduled_not_late_and_excluded_contact_not_exported(env: DrillEnv) -> None:
    env.targets.append(target("ali", voice(RAVI)))
    env.excluded = {"ali"}
    env.next_window = lambda _: WindowOccurrence(WORKING, WORKING + timedelta(hours=1))
    await env.run_for()
    shown = env.metrics.render()
    assert b"pantau_drill_last_timestamp_seconds 1" in shown
    assert b'contact="siti"' in shown
    assert b'contact="ali"' not in shown

    env.next_window = lambda _: None
    await env.drill_runner.export()
    assert b"pantau_drill_last_timestamp_seconds 1" not in env.metrics.render()


@pytest.mark.parametrize("cron", ["0 10 * * *", "0 10 * * tue", "0 10 1 * *"], ids=["daily", "weekly", "monthly"])
async def test_drill_is_overdue_one_day_after_next_window_for_any_schedule(env: DrillEnv, cron: str) -> None:
    window = Recurring(cron, timedelta(hours=4), ZoneInfo("Asia/Kuala_Lumpur"))
    times: list[WindowOccurrence] = []
    while len(times) < 3:
        found = window.next_occurrence(times[-1].ends_at if times else WORKING + timedelta(days=1))
        assert found is not None
        times.append(found)
    first, second, third = times
    day = timedelta(days=1)

    async def overdue_at() -> datetime | None:
        await env.drill_runner.export()
        drafted = re.search(rb"^pantau_drill_overdue_timestamp_seconds (\S+)", env.metrics.render(), re.MULTILINE)
        return datetime.fromtimestamp(float(drafted[1]), UTC) if drafted else None

    env.next_window, env.schedule = lambda _: None, None
    assert await overdue_at() is None
    # The schedule is known since just before the first window: none was missed.
    env.clock.moment = first.starts_at - MINUTE
    env.next_window, env.schedule = window.next_occurrence, cron
    assert await overdue_at() == first.ends_at + day
    env.clock.moment = first.starts_at
    await env.run_for()
    assert await overdue_at() == second.ends_at + day
    # No further drill is held: the time stays the same, also after a restart.
    env.clock.moment = third.ends_at + timedelta(hours=1)
    assert await overdue_at() == second.ends_at + day
    env.restart()
    assert await overdue_at() == second.ends_at + day
    # With another schedule nothing has been missed yet.
    often = Recurring("0 * * * *", timedelta(minutes=30), ZoneInfo("Asia/Kuala_Lumpur"))
    env.next_window, env.schedule = often.next_occurrence, "often"
    overdue = await overdue_at()
    assert overdue is not None
    assert overdue > env.clock.moment + day


async def test_two_processes_run_one_drill(env: DrillEnv) -> None:
    env.next_window = lambda _: WindowOccurrence(WORKING, WORKING + timedelta(hours=1))
    other = DrillRunner(
        drills=env.drills,
        store=env.store,
        pool=env.pool,
        sender=env.sender,
        current_plan=env._plan,
        metrics=env.metrics,
        clock=env.clock,
    )
    for _ in range(6):
        env.clock.moment += PACE
        async with asyncio.TaskGroup() as calls:
            await asyncio.gather(env.drill_runner.run_once(calls), other.run_once(calls))
        await env.carrier.settled()
    assert (len(env.carrier.messages), len(env.carrier.calls)) == (1, 1)


async def test_drill_letter_is_marked_and_withdrawn_from_tray(env: DrillEnv) -> None:
    office = replace(OFFICE, short="PANTAU", name="Pusat Operasi Contoh", domain="")
    ourselves = target("", Address(channel=Channel.LETTER, number="Pusat Operasi Contoh"))
    env.targets = [replace(ourselves, agency="", office=office), target("siti", sms(SITI))]
    await env.start_drill()
    await env.run_once_after(PACE)
    (letter,) = (env.place / "surat").glob("*.pdf")
    text = text_of(letter.read_bytes())
    assert "LATIHAN SAHAJA" in text
    assert "LATIH-01" in text
    await env.run_for()
    assert list((env.place / "surat").glob("*.pdf")) == []
    assert (await env.audit_events())[-1] == "drill ended"


@pytest.mark.blind
async def test_drill_receipts_missing_mark_gateway_overdue_and_arrival_clears(
    env: DrillEnv,
) -> None:
    """Defect: Drills are ignored when a gateway's receipts are judged.

    Pantau: Receipts of drills count against it and for it.
    """
    gateway = ScriptedGateway()
    env.pool.replace([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=gateway)])
    env.targets = [target("siti", sms(SITI)), target("ravi", sms(RAVI))]
    watcher = RecordingObserver()
    doubter = ReceiptMonitor(store=env.store, pool=env.pool, clock=env.clock, observer=watcher)

    async def drill(progress: SubmissionState) -> bool | None:
        gateway.happens.extend([progress] * 2)
        await env.start_drill()
        await env.run_for(20)
        await doubter.check_gateways()
        return watcher.overdue_gateways["sms"]

    assert [await drill(SubmissionState.DELIVERED) for _ in range(2)] == [None, False]
    assert [await drill(SubmissionState.ACCEPTED) for _ in range(2)] == [False, True]
    assert env.pool.receipts_overdue_since("sms") is not None
    assert await drill(SubmissionState.DELIVERED) is False


@pytest.mark.blind
async def test_drill_ends_when_gateway_never_reports_result(env: DrillEnv) -> None:
    """Defect: A gateway that never reports a drill's notification is asked every minute for hours, and the drill does not end.

    Pantau: It is asked for 15 minutes.
    """
    silent = ScriptedGateway()
    env.pool.replace([ConfiguredGateway(name="faks", channel=Channel.FAX, gateway=silent)])
    env.targets = [target("kementerian", FAX)]
    await env.start_drill()
    await env.run_for(20)

    assert await env.drills.under_way() == []
    asked = [call for call in silent.calls if call.startswith("check")]
    await env.run_for(5)
    assert [call for call in silent.calls if call.startswith("check")] == asked


@pytest.mark.blind
async def test_drill_page_is_not_composed_again_to_query_status(env: DrillEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect: A gateway that never reports a drill's page keeps the drill open.

    Pantau: It is asked for 15 minutes.
    """
    tray, gateway = ScriptedGateway(certain=True), ScriptedGateway()
    env.pool.replace(
        [
            ConfiguredGateway(name="faks", channel=Channel.FAX, gateway=gateway),
            ConfiguredGateway(name="dulang", channel=Channel.LETTER, gateway=tray),
        ]
    )
    env.targets = [target("kementerian", FAX, LETTER)]
    composed: list[Channel] = []
    compose = env.sender.composer.compose

    async def counting(notice: Notification, channel: Channel, *, response: str = "") -> Content:
        composed.append(channel)
        return await compose(notice, channel, response=response)

    monkeypatch.setattr(env.sender.composer, "compose", counting)
    await env.start_drill()
    await env.run_for(20)

    operations = {call.split()[0] for call in (*gateway.calls, *tray.calls)}
    assert operations == {"send", "check", "withdraw"}
    assert sorted(composed) == [Channel.FAX, Channel.LETTER]


async def test_drill_unknown_contact_is_not_started(env: DrillEnv) -> None:
    assert await env.drill_runner.start("siapa", "Ali Contoh", timedelta(hours=2)) is None
    assert await env.results() == {}


class UnavailableDrills(Drills):
    """Drills whose store is unavailable for the next *refuses* state changes."""

    def __init__(self, env: DrillEnv) -> None:
        super().__init__(env.database)
        self._env = env
        self.refuses = 0
        #: Gateway slots in use at each refusal.
        self.busy_at_refusal: list[int] = []

    async def change(
        self, reference: str, state: DrillState, now: datetime, **values: Any
    ) -> DrillNotificationRecord | None:
        if self.refuses:
            self.refuses -= 1
            self.busy_at_refusal.append(self._env.busy_slots())
            raise StoreUnavailable("disk full")
        return await super().change(reference, state, now, **values)


async def test_drill_result_is_written_when_store_is_back(env: DrillEnv) -> None:
    drills = env.drills = env.sender._drills = UnavailableDrills(env)
    env.sender.gateway_caller.RETRY_INTERVAL = timedelta(0)
    env.restart()
    env.targets = [target("siti", sms(SITI)), target("ravi", sms(UNASSIGNED))]
    env.carrier.callback_fault = CallbackFault.NEVER
    await env.start_drill()
    drills.refuses = 2
    await env.run_for()
    # One number is unassigned. Each message was sent once.
    assert await env.states() == {"siti/sms/0/sms": "delivered", "ravi/sms/0/sms": "failed"}
    assert [sms.to for sms in env.carrier.messages] == [SITI, UNASSIGNED]
    assert drills.busy_at_refusal[0] == 0, "the slot is free while the result waits to be written"


async def test_drill_bug_in_one_notification_ends_neither_drill_nor_service(env: DrillEnv) -> None:
    class Buggy(Drills):
        async def change(
            self, reference: str, state: DrillState, now: datetime, **values: Any
        ) -> DrillNotificationRecord | None:
            if "sms" in (await self.find(reference)).gateway:  # type: ignore[union-attr]
                raise ZeroDivisionError
            return await super().change(reference, state, now, **values)

    env.drills = env.sender._drills = Buggy(env.database)
    env.restart()
    await env.start_drill()
    with structlog.testing.capture_logs() as logged:
        await env.run_for()
    assert await env.states() == {"siti/sms/0/sms": "calling", "siti/voice/1/suara": "confirmed"}
    assert "gateway call could not be completed" in [line["event"] for line in logged]


async def test_gateway_slot_is_released_when_status_query_fails(env: DrillEnv) -> None:
    class Broken(ScriptedGateway):
        async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:
            raise ZeroDivisionError

    env.pool.replace([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=Broken(), slots=2)])
    env.targets = [target("siti", sms(SITI))]
    await env.start_drill()
    await env.run_for(5)
    assert env.pool.free_slots("sms") == 2
    assert await env.states() == {"siti/sms/0/sms": "accepted"}, "the query failed"


async def test_hanging_provider_is_not_queried_again_before_it_answers(env: DrillEnv) -> None:
    class Slow(ScriptedGateway):
        asked = asyncio.Event()
        answers = asyncio.Event()

        async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:
            self.asked.set()
            await self.answers.wait()
            return await super().check(order, provider_id)

    slow = Slow()
    env.pool.replace([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=slow)])
    env.targets = [target("siti", sms(SITI))]
    await env.start_drill()
    await env.run_once_after()
    async with asyncio.TaskGroup() as calls:
        for _ in range(3):
            env.clock.moment += MINUTE
            await env.drill_runner.run_once(calls)
            await slow.asked.wait()
            assert env.busy_slots() == 1
        slow.answers.set()
    await env.run_once_after()
    assert [call.split()[0] for call in slow.calls] == ["send", "check"]
    slow.taken = dict.fromkeys(slow.taken, SubmissionState.DELIVERED)
    await env.run_once_after(MINUTE)
    assert await env.states() == {"siti/sms/0/sms": "delivered"}
