"""Defects found in the code of other notifiers, which Pantau does not have."""

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
from tests.integration.alerts.dispatcher_env import HANG, DispatcherEnv, open_dispatcher_env
from tests.timeouts import HANG_TIMEOUT
from tests.unit.alerts.documents.pages import LONG
from tests.unit.alerts.people import MINUTE, RAVI, SNAPSHOT, T0, trigger
from tests.unit.alerts.wording.situations import WORDING

pytestmark = pytest.mark.peerbug

TOKEN = "0" * 32
ACCOUNT = f"AC{'0' * 32}"
BASE = "https://pantau.contoh.gov.my/callbacks/sms-contoh"


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[DispatcherEnv]:
    async with open_dispatcher_env(tmp_path) as opened:
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
    """Return a callback handler that has the attempt."""
    return RecordingCallbackHandler(contents={"p1-1-1": VoiceContent(scripts=(SCRIPT,))})


def sms(base_url: str = "http://127.0.0.1:9", deadline: float = HANG_TIMEOUT) -> TwilioSms:
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
    """Return a request that Twilio signed; *form*: the form after a change on the way."""

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


async def status_report(status: str, code: str = "", sid: str = f"SM{'1' * 32}") -> DeliveryReport:
    """Return the delivery report that the gateway reads from a callback about an SMS."""
    at = desk()
    form = {"MessageSid": [sid], "MessageStatus": [status], "ErrorCode": [code]}
    await sms().handle_callback(signed("status/p1-1-1", form), at)
    (heard,) = at.events
    assert heard.report is not None
    return heard.report


async def report(env: DispatcherEnv, gateway: str, reference: str, status_report: DeliveryReport) -> None:
    await env.dispatcher.record_callback(
        gateway,
        CallbackEvent(reference=reference, event_id=f"{reference}/{status_report.progress}", report=status_report),
    )
    await env.settle()


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Run a provider that answers every request with *answer*, or never; yield its address and the requests."""
    asked: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        asked.append(await reader.readline())
        if answer is None:
            await reader.read()  # until the client disconnects
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
async def test_01_sms_failed_temporarily_is_resent(env: DispatcherEnv, code: str) -> None:
    """Defect (GoAlert): An SMS that failed temporarily (30001, 30008) is marked failed for good.

    Pantau: It is sent again.
    """
    await env.submit(trigger())
    failed = await status_report("undelivered", code)
    assert (failed.progress, failed.error) == (SubmissionState.FAILED, ErrorClass.TRANSIENT)

    await report(env, "sms", env.sms.orders[0].reference, failed)
    await env.advance(2 * MINUTE)
    assert env.sms.sent[:2] == ["outage to +60100000101"] * 2


async def test_02_undelivered_sms_is_not_counted_as_sent(env: DispatcherEnv) -> None:
    """Defect (GoAlert): `undelivered` counts as sent.

    Pantau: It counts as failed.
    """
    await env.submit(trigger())
    await report(env, "sms", env.sms.orders[0].reference, await status_report("undelivered", "30006"))

    (notice,) = [n for n in await env.notifications() if n.purpose == "outage"][:1]
    assert notice.state not in {NotificationState.SENT, NotificationState.DELIVERED}


async def test_03_unanswered_call_is_repeated() -> None:
    """Defect (GoAlert): An unanswered call has failed for good.

    Pantau: It is made again.
    """
    at = desk()
    form = {"CallSid": [f"CA{'1' * 32}"], "CallStatus": ["no-answer"], "SequenceNumber": ["3"]}
    await voice().handle_callback(signed("status/p1-1-1", form), at)
    assert at.events[0].report is not None
    assert (at.events[0].report.progress, at.events[0].report.error) == (SubmissionState.FAILED, ErrorClass.TRANSIENT)


async def test_04_voicemail_does_not_end_escalation(env: DispatcherEnv) -> None:
    """Defect (GoAlert): A voicemail counts as a person.

    Pantau: Only a key press acknowledges; the escalation continues.
    """
    await env.submit(trigger())
    await env.advance(6 * MINUTE)
    for order in list(env.voice.orders):
        await report(
            env, "voice", order.reference, DeliveryReport(progress=SubmissionState.DELIVERED, provider_id="CA1")
        )
    called = len(env.voice.orders)

    assert (await env.incident()).state is IncidentState.TRIGGERED
    await env.advance(60 * MINUTE)
    assert len(env.voice.orders) > called, "the next round calls again"


async def test_05_message_id_with_mm_prefix_is_accepted() -> None:
    """Defect (GoAlert): Message ids that begin with `MM` are refused.

    Pantau: Any id of the provider is accepted.
    """
    assert (await status_report("delivered", sid=f"MM{'1' * 32}")).progress is SubmissionState.DELIVERED


async def test_06_repeated_form_field_is_signed_completely() -> None:
    """Defect (GoAlert): Only the first value of a repeated form field is part of the signature.

    Pantau: All values are.
    """
    twice = {"MessageSid": ["SM1"], "MessageStatus": ["delivered"], "Tag": ["b", "a"]}
    at = desk()
    await sms().handle_callback(signed("status/p1-1-1", twice), at)
    assert len(at.events) == 1

    with pytest.raises(CallbackRejectedError):
        await sms().handle_callback(signed("status/p1-1-1", twice, twice | {"Tag": ["b", "forged"]}), at)
    assert len(at.events) == 1


# -- acknowledgements -------------------------------------------------------------------------------------------------


async def press(at: RecordingCallbackHandler) -> str:
    form = {"CallSid": [f"CA{'1' * 32}"], "Digits": ["1"]}
    return (await voice().handle_callback(signed("key/p1-1-1/0/0", form), at)).body


async def test_07_confirmation_is_spoken_only_once_stored() -> None:
    """Defect (Grafana OnCall): "Acknowledged" is spoken before it is stored.

    Pantau: It is stored first.
    """
    assert SCRIPT.thanks in await press(desk())
    with pytest.raises(OSError, match="disk full"):
        await press(replace(desk(), broken=OSError("disk full")))


async def test_08_key_press_without_effect_is_answered_so() -> None:
    """Defect (Grafana OnCall): A key press in an unknown call is thanked for.

    Pantau: The call says that there is nothing to acknowledge.
    """
    said = await press(replace(desk(), over=True))
    assert SCRIPT.over in said
    assert SCRIPT.thanks not in said
    assert SCRIPT.thanks not in await press(RecordingCallbackHandler())


# -- crashes ----------------------------------------------------------------------------------------------------------


async def test_09_notification_claimed_before_crash_is_not_lost(env: DispatcherEnv) -> None:
    """Defect (Healthchecks): A notification is claimed before it is sent, and lost in a crash.

    Pantau: The attempt is stored; the gateway is asked, and then it is sent.
    """
    env.sms.happens.append(HANG)
    env.sms.taken.clear()
    await env.dispatcher.submit(trigger())
    await env.crash_and_restart()
    # Nothing arrived at the gateway.
    env.sms.taken.clear()
    await env.advance(10 * MINUTE)

    assert "outage to +60100000101" in [*env.sms.sent[1:], *env.modem.sent]


async def test_10_slow_modem_is_queried_and_sms_not_resent(tmp_path: Path) -> None:
    """Defect (gammu-smsd): An SMS is sent again when a modem is slow (`SendTimeout`).

    Pantau: The gateway is asked first.
    """
    async with open_dispatcher_env(tmp_path, DeliveryPolicy(deadline=timedelta(seconds=0.05))) as env:
        env.sms.happens.append(HANG)
        await env.submit(trigger())
        await env.advance(MINUTE)

        reference = env.sms.orders[0].reference
        assert env.sms.calls[:2] == [f"send {reference}", f"find {reference}"]
        assert len(env.sms.orders) == 1
        assert env.modem.orders == []


async def test_11_failing_message_delays_no_other(env: DispatcherEnv) -> None:
    """Defect (gammu-smsd): One bad message blocks the queue (files backend, before 1.43).

    Pantau: Other messages pass it.
    """
    env.sms.happens.extend([ErrorClass.TRANSIENT] * 30)
    env.modem.happens.extend([ErrorClass.TRANSIENT] * 30)
    await env.submit(trigger())
    env.sms.happens.clear()
    env.modem.happens.clear()
    steps = (Step(after=timedelta(0), contacts=(RAVI,), channels=(Channel.SMS,)),)
    other = replace(SNAPSHOT, agency="MDC", escalation=replace(SNAPSHOT.escalation, steps=steps))
    await env.submit(trigger(snapshot=other))
    assert [n.state for n in await env.notifications(2)] == [NotificationState.SENT]


# -- other channels ---------------------------------------------------------------------------------------------------


async def test_12_failed_sms_falls_back_to_voice_only(env: DispatcherEnv) -> None:
    """Defect (Iris): An e-mail is sent when SMS or call fails.

    Pantau: The next telephone and the next person are tried; there is no e-mail.
    """
    for gateway in (env.sms, env.modem):
        gateway.happens.extend([ErrorClass.PERMANENT] * 9)
    await env.submit(trigger())
    assert env.voice.sent[0] == "outage to +60100000101"
    assert {line.channel for line in env.lines()} == set(Channel), "there is no other channel to fall back to"


def test_13_too_long_text_is_shortened_and_not_dropped() -> None:
    """Defect (Iris): A text that is too long is dropped.

    Pantau: It is shortened.
    """
    content = compose(LONG, Language.MALAY, WORDING)
    assert content.text.startswith("RM0 ")
    assert len(content.text) <= 160
    assert errors(lint(content.text, LONG.office.short)) == ()


# -- configuration ----------------------------------------------------------------------------------------------------


async def test_14_failed_replacement_keeps_stored_list(tmp_path: Path) -> None:
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


async def test_15_unanswering_provider_times_out_with_unknown_status() -> None:
    """Defect (twilio-python): The asynchronous client ignores its time-out and hangs for minutes (#925).

    Pantau: A deadline ends the call, with its fate unknown.
    """
    async with answering(None) as (url, asked):
        # The deadline leaves time for the request on a busy machine.
        twilio = sms(url, deadline=3)
        with pytest.raises(DeliveryError) as error:
            await twilio.send(ORDER)
        await twilio.close()
    assert error.value.error is ErrorClass.UNKNOWN
    assert len(asked) == 1


async def test_16_server_error_is_not_posted_again_by_gateway() -> None:
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
async def test_17_status_200_without_accepted_message_is_failure(body: bytes) -> None:
    """Defect (sms-gateway): The status is 200 although the modem failed.

    Pantau: A 200 without an accepted message is no success.
    """
    answer = b"200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with answering(answer) as (url, _):
        twilio = sms(url)
        with pytest.raises(DeliveryError):
            await twilio.send(ORDER)
        await twilio.close()
