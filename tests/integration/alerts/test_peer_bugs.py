"""Each defect of other notifiers that was found by reading them, and that ours does not have."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
from pydantic import SecretStr
from twilio.request_validator import RequestValidator

from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.gateways.twilio.sms import TwilioSms, TwilioSmsSettings
from alerts.gateways.twilio.voice import TwilioVoice, TwilioVoiceSettings
from alerts.model.channel import Channel
from alerts.model.delivery import NotificationState
from alerts.model.gateway import (
    CallbackEvent,
    CallbackRejectedError,
    CallbackRequest,
    DeliveryError,
    DeliveryReport,
    ErrorClass,
    GatewayContext,
    Script,
    SendRequest,
    SmsContent,
    SubmissionState,
    VoiceContent,
)
from alerts.model.incident import IncidentState
from alerts.model.notification import Language
from alerts.model.policy_snapshot import Step
from alerts.wording.lint import errors, lint
from alerts.wording.sms import compose
from monitor.store.backend.database import Database
from monitor.store.probing.records import ConfigurationRecords
from pantau_lab.callbacks import RecordingCallbackHandler
from tests.hanging import HANGS
from tests.integration.alerts.station import HANG, Station, station_at
from tests.unit.alerts.documents.pages import LONG
from tests.unit.alerts.people import BRIEF, MINUTE, RAVI, T0, trigger
from tests.unit.alerts.wording.situations import WORDING

pytestmark = pytest.mark.peerbug

TOKEN = "0" * 32
ACCOUNT = f"AC{'0' * 32}"
BASE = "https://pantau.contoh.gov.my/callbacks/sms-contoh"


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[Station]:
    async with station_at(tmp_path) as opened:
        yield opened


SCRIPT = Script(
    language="ms-MY",
    blocks=("Ini amaran rasmi.",),
    menu="Tekan satu untuk mengesahkan.",
    thanks="Terima kasih, telah disahkan.",
    already="Telah disahkan oleh orang lain.",
    goodbye="Selamat tinggal.",
    over="Gangguan sudah berakhir.",
)


def desk() -> RecordingCallbackHandler:
    """Return a desk that knows the attempt."""
    return RecordingCallbackHandler(contents={"p1-1-1": VoiceContent(scripts=(SCRIPT,))})


def sms(base_url: str = "http://127.0.0.1:9", deadline: float = HANGS) -> TwilioSms:
    settings = TwilioSmsSettings(
        account_sid=ACCOUNT,
        auth_token=SecretStr(TOKEN),
        from_number="+60300000000",
        base_url=base_url,
        deadline_seconds=deadline,
    )
    return TwilioSms(settings, GatewayContext(callback_base=BASE, directory="."))


def voice() -> TwilioVoice:
    settings = TwilioVoiceSettings(
        account_sid=ACCOUNT, auth_token=SecretStr(TOKEN), from_number="+60300000000", base_url="http://127.0.0.1:9"
    )
    return TwilioVoice(settings, GatewayContext(callback_base=BASE, directory="."))


def signed(path: str, signed_form: dict[str, list[str]], form: dict[str, list[str]] | None = None) -> CallbackRequest:
    """Return a request that Twilio signed; *form*: what it was changed to on the way."""

    class Form(dict[str, list[str]]):
        def getlist(self, name: str) -> list[str]:
            return self[name]

    url = f"{BASE}/{path}"
    signature = RequestValidator(TOKEN).compute_signature(url, Form(signed_form))
    return CallbackRequest(
        path=path,
        url=url,
        form=signed_form if form is None else form,
        headers={"X-Twilio-Signature": signature},
        body=urlencode(form or signed_form, doseq=True).encode(),
    )


async def told(status: str, code: str = "", sid: str = f"SM{'1' * 32}") -> DeliveryReport:
    """Return what our gateway makes of a callback about an SMS."""
    at = desk()
    form = {"MessageSid": [sid], "MessageStatus": [status], "ErrorCode": [code]}
    await sms().handle_callback(signed("status/p1-1-1", form), at)
    (heard,) = at.heard
    assert heard.report is not None
    return heard.report


async def report(station: Station, gateway: str, reference: str, told: DeliveryReport) -> None:
    await station.dispatcher.record_callback(
        gateway, CallbackEvent(reference=reference, event_id=f"{reference}/{told.progress}", report=told)
    )
    await station.settle()


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Run a provider that answers every request with *answer*, or never; give its address and what it was asked."""
    asked: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        asked.append(await reader.readline())
        if answer is None:
            await reader.read()  # until the other side hangs up
        else:
            writer.write(b"HTTP/1.1 " + answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", asked
    finally:
        server.close()
        for writer in writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


ORDER = SendRequest(
    reference="p1-1-1",
    address="+60100000101",
    content=SmsContent(text="RM0 JCM ICT: AMARAN."),
    expires_at=T0 + timedelta(days=36500),
    created_at=T0,
)


# -- what becomes of a message ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["30001", "30008"])
async def test_01_an_sms_that_failed_for_a_passing_cause_is_sent_again(station: Station, code: str) -> None:
    """Defect (GoAlert): An SMS that failed temporarily (30001, 30008) is marked failed for good.

    Pantau: It is sent again.
    """
    await station.submit(trigger())
    failed = await told("undelivered", code)
    assert (failed.progress, failed.error) == (SubmissionState.FAILED, ErrorClass.TRANSIENT)

    await report(station, "sms", station.sms.orders[0].reference, failed)
    await station.advance(2 * MINUTE)
    assert station.sms.sent[:2] == ["outage to +60100000101"] * 2


async def test_02_an_undelivered_sms_does_not_look_sent(station: Station) -> None:
    """Defect (GoAlert): `undelivered` counts as sent.

    Pantau: It counts as failed.
    """
    await station.submit(trigger())
    await report(station, "sms", station.sms.orders[0].reference, await told("undelivered", "30006"))

    (notice,) = [n for n in await station.notifications() if n.purpose == "outage"][:1]
    assert notice.state not in {NotificationState.SENT, NotificationState.DELIVERED}


async def test_03_a_call_that_nobody_answers_is_made_again() -> None:
    """Defect (GoAlert): An unanswered call has failed for good.

    Pantau: It is made again.
    """
    at = desk()
    form = {"CallSid": [f"CA{'1' * 32}"], "CallStatus": ["no-answer"], "SequenceNumber": ["3"]}
    await voice().handle_callback(signed("status/p1-1-1", form), at)
    assert at.heard[0].report is not None
    assert (at.heard[0].report.progress, at.heard[0].report.error) == (SubmissionState.FAILED, ErrorClass.TRANSIENT)


async def test_04_a_voicemail_that_took_the_call_does_not_end_the_escalation(station: Station) -> None:
    """Defect (GoAlert): A voicemail counts as a person.

    Pantau: Only a key press acknowledges; the escalation continues.
    """
    await station.submit(trigger())
    await station.advance(6 * MINUTE)
    for order in list(station.voice.orders):
        await report(
            station, "voice", order.reference, DeliveryReport(progress=SubmissionState.DELIVERED, provider_id="CA1")
        )
    called = len(station.voice.orders)

    assert (await station.incident()).state is IncidentState.TRIGGERED
    await station.advance(60 * MINUTE)
    assert len(station.voice.orders) > called, "the next round calls again"


async def test_05_a_message_id_that_begins_with_mm_is_as_good_as_one_with_sm() -> None:
    """Defect (GoAlert): Message ids that begin with `MM` are refused.

    Pantau: Any id of the provider is accepted.
    """
    assert (await told("delivered", sid=f"MM{'1' * 32}")).progress is SubmissionState.DELIVERED


async def test_06_a_repeated_form_field_is_signed_whole() -> None:
    """Defect (GoAlert): Only the first value of a repeated form field is part of the signature.

    Pantau: All values are.
    """
    twice = {"MessageSid": ["SM1"], "MessageStatus": ["delivered"], "Tag": ["b", "a"]}
    at = desk()
    await sms().handle_callback(signed("status/p1-1-1", twice), at)
    assert len(at.heard) == 1

    with pytest.raises(CallbackRejectedError):
        await sms().handle_callback(signed("status/p1-1-1", twice, twice | {"Tag": ["b", "forged"]}), at)
    assert len(at.heard) == 1


# -- acknowledgements -------------------------------------------------------------------------------------------------


async def press(at: RecordingCallbackHandler) -> str:
    form = {"CallSid": [f"CA{'1' * 32}"], "Digits": ["1"]}
    return (await voice().handle_callback(signed("key/p1-1-1/0/0", form), at)).body


async def test_07_thanks_are_spoken_only_when_the_acknowledgement_is_stored() -> None:
    """Defect (Grafana OnCall): "Acknowledged" is spoken before it is stored.

    Pantau: It is stored first.
    """
    assert SCRIPT.thanks in await press(desk())
    with pytest.raises(OSError, match="disk full"):
        await press(replace(desk(), broken=OSError("disk full")))


async def test_08_a_key_that_acknowledges_nothing_is_told_so() -> None:
    """Defect (Grafana OnCall): A key press in an unknown call is thanked for.

    Pantau: The call says that there is nothing to acknowledge.
    """
    said = await press(replace(desk(), over=True))
    assert SCRIPT.over in said
    assert SCRIPT.thanks not in said
    assert SCRIPT.thanks not in await press(RecordingCallbackHandler())


# -- crashes ----------------------------------------------------------------------------------------------------------


async def test_09_a_notice_that_was_claimed_before_a_crash_is_not_lost(station: Station) -> None:
    """Defect (Healthchecks): A notification is claimed before it is sent, and lost in a crash.

    Pantau: The attempt is stored; the gateway is asked, and then it is sent.
    """
    station.sms.happens.append(HANG)
    station.sms.taken.clear()
    await station.dispatcher.submit(trigger())
    await station.crash_and_restart()
    # Nothing of it arrived at the gateway.
    station.sms.taken.clear()
    await station.advance(10 * MINUTE)

    assert "outage to +60100000101" in [*station.sms.sent[1:], *station.modem.sent]


async def test_10_a_slow_modem_is_asked_and_the_sms_not_sent_again(tmp_path: Path) -> None:
    """Defect (gammu-smsd): An SMS is sent again when a modem is slow (`SendTimeout`).

    Pantau: The gateway is asked first.
    """
    async with station_at(tmp_path, DeliveryPolicy(deadline=timedelta(seconds=0.05))) as station:
        station.sms.happens.append(HANG)
        await station.submit(trigger())
        await station.advance(MINUTE)

        reference = station.sms.orders[0].reference
        assert station.sms.calls[:2] == [f"send {reference}", f"find {reference}"]
        assert len(station.sms.orders) == 1
        assert station.modem.orders == []


async def test_11_a_message_that_never_goes_holds_up_no_other(station: Station) -> None:
    """Defect (gammu-smsd): One bad message blocks the queue (files backend, before 1.43).

    Pantau: Other messages pass it.
    """
    station.sms.happens.extend([ErrorClass.TRANSIENT] * 30)
    station.modem.happens.extend([ErrorClass.TRANSIENT] * 30)
    await station.submit(trigger())
    station.sms.happens.clear()
    station.modem.happens.clear()
    steps = (Step(after=timedelta(0), contacts=(RAVI,), channels=(Channel.SMS,)),)
    other = replace(BRIEF, agency="MDC", escalation=replace(BRIEF.escalation, steps=steps))
    await station.submit(trigger(brief=other))
    assert [n.state for n in await station.notifications(2)] == [NotificationState.SENT]


# -- other channels ---------------------------------------------------------------------------------------------------


async def test_12_what_cannot_be_told_by_sms_is_told_by_telephone_and_by_nothing_else(station: Station) -> None:
    """Defect (Iris): An e-mail is sent when SMS or call fails.

    Pantau: The next telephone and the next person are tried; there is no e-mail.
    """
    for gateway in (station.sms, station.modem):
        gateway.happens.extend([ErrorClass.PERMANENT] * 9)
    await station.submit(trigger())
    assert station.voice.sent[0] == "outage to +60100000101"
    assert {line.channel for line in station.lines()} == set(Channel), "there is no other channel to fall back to"


def test_13_a_text_that_would_be_too_long_is_made_to_fit_and_not_dropped() -> None:
    """Defect (Iris): A text that is too long is dropped.

    Pantau: It is shortened.
    """
    content = compose(LONG, Language.MALAY, WORDING)
    assert content.text.startswith("RM0 ")
    assert len(content.text) <= 160
    assert errors(lint(content.text, LONG.office.short)) == ()


# -- configuration ----------------------------------------------------------------------------------------------------


async def test_14_a_list_that_cannot_be_stored_whole_leaves_the_old_one(tmp_path: Path) -> None:
    """Defect (Cabot): All shifts are deleted and added again; in between, or after an error, nobody is on call.

    Pantau: One transaction replaces them.
    """
    async with Database.open(tmp_path) as database:
        records = ConfigurationRecords(database)
        await records.apply("agency", {"JCM": ("{}", "file"), "MDC": ("{}", "file")}, T0)
        broken: dict[str, tuple[str, str]] = {"UCM": ("{}", "file"), "JCM": (None, "file")}  # type: ignore[dict-item]
        with pytest.raises(Exception, match="NOT NULL"):
            await records.apply("agency", broken, T0)

        again = await records.apply("agency", {"JCM": ("{}", "file"), "MDC": ("{}", "file")}, T0)
    assert (again.added, again.changed, again.removed) == ((), (), ())


# -- providers --------------------------------------------------------------------------------------------------------


async def test_15_a_provider_that_never_answers_is_left_and_its_message_is_of_unknown_fate() -> None:
    """Defect (twilio-python): The asynchronous client ignores its time-out and hangs for minutes (#925).

    Pantau: A deadline ends the call, with its fate unknown.
    """
    async with answering(None) as (url, asked):
        # It has to be asked before it is left, however busy the machine is.
        twilio = sms(url, deadline=3)
        with pytest.raises(DeliveryError) as error:
            await twilio.send(ORDER)
        await twilio.close()
    assert error.value.error is ErrorClass.UNKNOWN
    assert len(asked) == 1


async def test_16_a_message_that_met_a_server_error_is_not_posted_again_by_the_gateway() -> None:
    """Defect (twilio-python): `max_retries` posts again after a 5xx: two SMS.

    Pantau: A gateway posts once.
    """
    async with answering(b"503 Service Unavailable\r\nContent-Length: 0\r\n\r\n") as (url, asked):
        twilio = sms(url)
        with pytest.raises(DeliveryError) as error:
            await twilio.send(ORDER)
        await twilio.close()
    assert error.value.error is ErrorClass.UNKNOWN
    assert [line.split()[0] for line in asked] == [b"POST"]


@pytest.mark.parametrize("body", [b"ERROR: modem not ready", b'{"status": "queued"}', b"[]"])
async def test_17_a_status_of_200_without_an_accepted_message_in_it_is_no_success(body: bytes) -> None:
    """Defect (sms-gateway): The status is 200 although the modem failed.

    Pantau: A 200 without an accepted message is no success.
    """
    answer = b"200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with answering(answer) as (url, _):
        twilio = sms(url)
        with pytest.raises(DeliveryError):
            await twilio.send(ORDER)
        await twilio.close()
