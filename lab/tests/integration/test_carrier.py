"""SMS and calls through the gateways and the simulated carrier, over real sockets."""

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from twilio.request_validator import RequestValidator

from alerts.gateways.twilio import sms as twilio_sms
from alerts.gateways.twilio import voice as twilio_voice
from alerts.model.gateway import (
    NO_KEY,
    Content,
    DeliveryError,
    ErrorClass,
    Gateway,
    GatewayContext,
    Script,
    SendRequest,
    SmsContent,
    SubmissionState,
    VoiceContent,
)
from pantau_lab.callbacks import CallbackListener, RecordingCallbackHandler
from pantau_lab.carrier.api import app
from pantau_lab.carrier.carrier import Carrier
from pantau_lab.carrier.phone import PhoneBehaviour
from pantau_lab.carrier.speech import APPLICATION_ERROR
from pantau_lab.provider_fault import CallbackFault
from pantau_lab.serving import serve

MOBILE, LANDLINE, OTHER_MOBILE = "+60100000101", "+60300000101", "+60100000199"
OLD_TOKEN, NEW_TOKEN = "token-lama", "token-baharu"
SMS = SmsContent(
    text="RM0 JPC: E-mel rasmi terganggu sejak 24/11, 2.15 ptg. Sila guna surat, faks atau telefon sahaja. Ruj JPC-07"
)


def script(language: str, *, hello: str, block: str = "") -> Script:
    return Script(
        language=language,
        blocks=(hello, block or f"{language}: e-mel rasmi terganggu."),
        menu=f"{language}: tekan satu, dua atau tiga.",
        thanks=f"{language}: telah direkodkan.",
        already=f"{language}: telah disahkan oleh pegawai lain.",
        goodbye=f"{language}: sekian.",
        over=f"{language}: gangguan telah berakhir.",
    )


CALL = VoiceContent(scripts=(script("ms-MY", hello="Perhatian."), script("en-GB", hello="Attention.")))


@dataclass(kw_only=True)
class World:
    carrier: Carrier
    desk: RecordingCallbackHandler
    listener: CallbackListener
    sms: Gateway
    voice: Gateway
    base: str
    number: int = 0

    def send_request(self, content: Content, *, to: str = MOBILE, **more: Any) -> SendRequest:
        """Record an attempt, as the dispatcher does before it calls the gateway."""
        self.number += 1
        now = datetime.now(UTC)
        reference = f"d{self.number}-1"
        self.desk.contents[reference] = content
        return SendRequest(
            reference=reference,
            address=to,
            content=content,
            created_at=now,
            expires_at=now + timedelta(minutes=5),
            **more,
        )

    def progress(self) -> list[SubmissionState]:
        return [heard.report.progress for heard in self.desk.events if heard.report]

    def acknowledged(self) -> bool:
        return any(heard.acknowledged for heard in self.desk.events)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    carrier, desk = Carrier(auth_token=NEW_TOKEN), RecordingCallbackHandler()
    listener = CallbackListener(handler=desk)
    async with AsyncExitStack() as stack:
        listener.public_base = await stack.enter_async_context(serve(listener.app()))
        api = await stack.enter_async_context(serve(app(carrier)))

        def build(kind: Any, name: str) -> Gateway:
            settings = kind.config.model_validate(
                {
                    "account_sid": carrier.account_sid,
                    "auth_token": NEW_TOKEN,
                    "other_auth_tokens": [OLD_TOKEN],
                    "from_number": "+60300000100",
                    "base_url": api,
                }
            )
            gateway: Gateway = kind.build(
                settings, GatewayContext(callback_base=f"{listener.public_base}/{name}", directory=".")
            )
            listener.gateways[name] = gateway
            stack.push_async_callback(gateway.close)
            return gateway

        yield World(
            carrier=carrier,
            desk=desk,
            listener=listener,
            sms=build(twilio_sms.GATEWAY, "sms"),
            voice=build(twilio_voice.GATEWAY, "voice"),
            base=listener.public_base,
        )


async def test_sms_delivered_reports_accepted_sent_and_delivered(world: World) -> None:
    phone = world.carrier.phone(MOBILE)
    send_request = world.send_request(SMS)
    report = await world.sms.send(send_request)
    await world.carrier.settled()
    await phone.expect_sms("terganggu", "JPC-07")
    assert report.progress is SubmissionState.ACCEPTED
    assert world.progress() == [SubmissionState.SENT, SubmissionState.DELIVERED]
    assert 240 <= world.carrier.messages[0].validity <= 300
    assert world.carrier.unexpected() == []


async def test_carrier_unexpected_message_is_listed(world: World) -> None:
    world.carrier.phone(MOBILE)
    await world.sms.send(world.send_request(SMS))
    await world.carrier.settled()
    assert [line for line in world.carrier.unexpected() if MOBILE in line]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("JPC: E-mel rasmi terganggu. Ruj JPC-07", "no RM0"),
        ("RM0 JPC: lihat jpc.contoh.my. Ruj JPC-07", "a link"),
        ("RM0 JPC: telefon 03-0000 0100. Ruj JPC-07", "a number"),
    ],
)
async def test_sms_against_content_rules_fails_without_delivery(world: World, text: str, why: str) -> None:
    phone = world.carrier.phone(MOBILE)
    await world.sms.send(world.send_request(SmsContent(text=text)))
    await world.carrier.settled()
    last = world.desk.events[-1].report
    assert last is not None
    assert (last.progress, last.error, last.code) == (SubmissionState.FAILED, ErrorClass.PERMANENT, "30007")
    assert phone.inbox == []


async def test_sms_handset_off_is_transient_failure(world: World) -> None:
    world.carrier.phone(MOBILE, behaviour=PhoneBehaviour.OFF)
    send_request = world.send_request(SMS)
    sent = await world.sms.send(send_request)
    await world.carrier.settled()
    report = await world.sms.check(send_request, sent.provider_id or "")
    assert (report.progress, report.error, report.code) == (SubmissionState.FAILED, ErrorClass.TRANSIENT, "30003")


@pytest.mark.parametrize(
    ("how", "code", "error"),
    [
        ({"landline": True}, "21614", ErrorClass.PERMANENT),
        ({"stopped": True}, "21610", ErrorClass.PERMANENT),
    ],
)
async def test_sms_phone_without_sms_is_refused_at_once(
    world: World, how: dict[str, bool], code: str, error: ErrorClass
) -> None:
    world.carrier.phone(LANDLINE, **how)
    with pytest.raises(DeliveryError) as raised:
        await world.sms.send(world.send_request(SMS, to=LANDLINE))
    assert (raised.value.code, raised.value.error) == (code, error)


async def test_sms_invalid_number_or_foreign_sender_is_refused(world: World) -> None:
    with pytest.raises(DeliveryError) as bad_number:
        await world.sms.send(world.send_request(SMS, to="+60"))
    world.carrier.senders.clear()
    with pytest.raises(DeliveryError) as bad_sender:
        await world.sms.send(world.send_request(SMS))
    assert (bad_number.value.code, bad_number.value.error) == ("21211", ErrorClass.PERMANENT)
    assert (bad_sender.value.code, bad_sender.value.error) == ("21606", ErrorClass.CONFIGURATION)


async def test_callback_sent_twice_is_one_event(world: World) -> None:
    world.carrier.phone(MOBILE)
    world.carrier.callback_fault = CallbackFault.TWICE
    await world.sms.send(world.send_request(SMS))
    await world.carrier.settled()
    assert world.progress() == [SubmissionState.SENT, SubmissionState.DELIVERED]
    assert len(world.desk.repeated) == 2


async def test_callbacks_out_of_order_have_own_event_ids(world: World) -> None:
    world.carrier.phone(MOBILE)
    world.carrier.callback_fault = CallbackFault.REVERSED
    await world.sms.send(world.send_request(SMS))
    await world.carrier.settled()
    assert world.progress() == [SubmissionState.DELIVERED, SubmissionState.SENT]
    assert len({heard.event_id for heard in world.desk.events}) == 2


async def test_callback_before_response_finds_attempt_by_reference(world: World) -> None:
    world.carrier.phone(MOBILE)
    world.carrier.callback_fault = CallbackFault.BEFORE_ANSWER
    send_request = world.send_request(SMS)
    await world.sms.send(send_request)
    assert {heard.reference for heard in world.desk.events} == {send_request.reference}


async def test_sms_without_callbacks_is_checked(world: World) -> None:
    world.carrier.phone(MOBILE)
    world.carrier.callback_fault = CallbackFault.NEVER
    send_request = world.send_request(SMS)
    sent = await world.sms.send(send_request)
    await world.carrier.settled()
    assert world.desk.events == []
    assert (await world.sms.check(send_request, sent.provider_id or "")).progress is SubmissionState.DELIVERED


async def test_callback_unknown_attempt_changes_nothing(world: World) -> None:
    world.carrier.phone(MOBILE)
    send_request = world.send_request(SMS)
    del world.desk.contents[send_request.reference]
    await world.sms.send(send_request)
    await world.carrier.settled()
    assert (world.desk.events, world.carrier.errors) == ([], [])


async def test_callback_both_tokens_accepted_during_rotation(world: World) -> None:
    world.carrier.phone(MOBILE)
    send_request = world.send_request(SMS)
    for token in (OLD_TOKEN, NEW_TOKEN):
        status = await post(
            world, f"/sms/status/{send_request.reference}", {"MessageSid": token, "MessageStatus": "sent"}, token
        )
        assert status == 204
    assert len(world.desk.events) == 2


@pytest.mark.parametrize("path", ["/sms/status/d1-1", "/voice/status/d1-1", "/voice/key/d1-1/0/0", "/voice/speak/d1-1"])
@pytest.mark.parametrize("token", ["token-orang-lain", None])
async def test_callback_forged_or_unsigned_is_refused(world: World, path: str, token: str | None) -> None:
    world.send_request(CALL)
    assert await post(world, path, {"Digits": "1", "CallSid": "CA1", "MessageStatus": "sent"}, token) == 403
    assert world.desk.events == []


@pytest.mark.parametrize(
    ("path", "form", "status"),
    [
        ("/sms/status/d1-1", {"MessageSid": "SM1", "MessageStatus": "received"}, 400),
        ("/sms/elsewhere", {}, 404),
        ("/voice/status/d1-1", {"CallSid": "CA1", "CallStatus": "dreaming"}, 400),
        ("/voice/key/d1-1/0/zero", {"Digits": "1"}, 404),
        ("/voice/elsewhere", {}, 404),
    ],
)
async def test_callback_malformed_is_refused(world: World, path: str, form: dict[str, str], status: int) -> None:
    world.send_request(CALL)
    assert await post(world, path, form, NEW_TOKEN) == status
    assert world.desk.events == []


@pytest.mark.parametrize(
    ("path", "digits"),
    [
        ("speak/{}", ""),
        *(("key/{}/0/0", digits) for digits in ("1", "2", "3", "5", "9", "")),
        ("pin/{}/0", "280146"),
        ("confirm/{}/0", "1"),
    ],
)
async def test_voice_callback_for_sms_attempt_is_refused(world: World, path: str, digits: str) -> None:
    """The callback is signed, but refers to the attempt of another gateway."""
    reference = world.send_request(SmsContent(text="RM0 JPC: E-mel rasmi terganggu.")).reference
    form = {"CallSid": "CA1", "Digits": digits}
    assert await post(world, f"/voice/{path.format(reference)}", form, NEW_TOKEN) == 404


async def post(world: World, path: str, form: dict[str, str], token: str | None) -> int:
    url = f"{world.base}{path}"
    signature = "" if token is None else RequestValidator(token).compute_signature(url, form)
    headers = {"X-Twilio-Signature": signature} if signature else {}
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.post(url, data=form, headers=headers)).status_code


async def test_call_key_one_acknowledges_before_thanks(world: World) -> None:
    phone = world.carrier.phone(MOBILE, keys=["1"])
    await world.voice.send(world.send_request(CALL))
    call = await phone.expect_call("Perhatian.", "ms-MY: telah direkodkan.")
    await world.carrier.settled()
    assert world.acknowledged()
    assert [line.text for line in call.spoken] == [
        *("Perhatian.", "Perhatian.", "ms-MY: e-mel rasmi terganggu.", "ms-MY: e-mel rasmi terganggu."),
        *("ms-MY: tekan satu, dua atau tiga.", "ms-MY: telah direkodkan."),
    ]
    assert {line.voice for line in call.spoken} == {"Google.ms-MY-Wavenet-A"}
    assert world.carrier.unexpected() == []


async def test_call_key_one_without_store_is_not_thanked(world: World) -> None:
    phone = world.carrier.phone(MOBILE, keys=["1", "1"])
    world.desk.broken = OSError("the store is away")
    await world.voice.send(world.send_request(CALL))
    call = await phone.expect_call()
    await world.carrier.settled()
    assert not world.acknowledged()
    assert "telah direkodkan" not in call.text
    # The fallback URL repeats the menu before the carrier gives up.
    assert call.text.count("tekan satu") == 2
    assert APPLICATION_ERROR in call.text


async def test_call_second_person_is_told_of_first_acknowledgement(world: World) -> None:
    first, second = world.carrier.phone(MOBILE, keys=["1"]), world.carrier.phone(OTHER_MOBILE, keys=["1"])
    await world.voice.send(world.send_request(CALL))
    await first.expect_call("telah direkodkan")
    await world.voice.send(world.send_request(CALL, to=OTHER_MOBILE))
    await second.expect_call("telah disahkan oleh pegawai lain")
    await world.carrier.settled()


async def test_call_own_acknowledgement_is_not_reported_as_another_persons(world: World) -> None:
    phone = world.carrier.phone(MOBILE, keys=["1"])
    world.desk.acknowledged = world.desk.theirs = True
    await world.voice.send(world.send_request(CALL))
    call = await phone.expect_call("telah direkodkan")
    await world.carrier.settled()
    assert "pegawai lain" not in call.text


async def test_call_about_resolved_incident_says_so(world: World) -> None:
    phone = world.carrier.phone(MOBILE, keys=["1"])
    world.desk.over = True
    await world.voice.send(world.send_request(CALL))
    await phone.expect_call("gangguan telah berakhir")
    await world.carrier.settled()


async def test_call_key_four_escalates_before_confirmation(world: World) -> None:
    phone = world.carrier.phone(MOBILE, keys=["4"])
    scripts = tuple(replace(each, escalated=f"{each.language}: telah diserahkan.") for each in CALL.scripts)
    await world.voice.send(world.send_request(VoiceContent(scripts=scripts)))
    await phone.expect_call("ms-MY: telah diserahkan.")
    await world.carrier.settled()
    assert [heard.escalated for heard in world.desk.events].count(True) == 1
    assert not world.acknowledged()


async def test_call_key_four_without_escalation_repeats_menu(world: World) -> None:
    phone = world.carrier.phone(MOBILE, keys=["4", "1"])
    await world.voice.send(world.send_request(CALL))
    call = await phone.expect_call("telah direkodkan")
    await world.carrier.settled()
    assert call.text.count("tekan satu") == 2
    assert not any(heard.escalated for heard in world.desk.events)


async def test_call_key_two_repeats_and_key_three_switches_language(world: World) -> None:
    phone = world.carrier.phone(MOBILE, keys=["2", "3", "3", "1"])
    await world.voice.send(world.send_request(CALL))
    call = await phone.expect_call()
    await world.carrier.settled()
    menus = [line.language for line in call.spoken if "tekan satu" in line.text]
    assert menus == ["ms-MY", "ms-MY", "en-GB", "ms-MY"]
    assert call.keys == "2331"
    assert {line.voice for line in call.spoken} == {"Google.ms-MY-Wavenet-A", "Google.en-GB-Wavenet-A"}


@pytest.mark.parametrize("how", [{}, {"behaviour": PhoneBehaviour.VOICEMAIL, "keys": ["1"]}, {"keys": ["9", "#", "*"]}])
async def test_call_without_valid_key_repeats_twice_and_ends(world: World, how: dict[str, Any]) -> None:
    phone = world.carrier.phone(MOBILE, **how)
    await world.voice.send(world.send_request(CALL))
    call = await phone.expect_call("ms-MY: sekian.")
    await world.carrier.settled()
    assert call.text.count("tekan satu") == 3
    last = world.desk.events[-1].report
    assert last is not None
    # A voicemail may have answered, so the call is tried again. Any key means a person.
    assert (last.progress, last.error, last.code) == (SubmissionState.FAILED, ErrorClass.TRANSIENT, NO_KEY)
    assert (SubmissionState.DELIVERED in world.progress()) is (call.keys != "")
    assert not world.acknowledged()


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [(PhoneBehaviour.BUSY, "busy"), (PhoneBehaviour.NO_ANSWER, "no-answer"), (PhoneBehaviour.OFF, "failed")],
)
async def test_call_unanswered_is_transient_failure(world: World, behaviour: PhoneBehaviour, code: str) -> None:
    world.carrier.phone(MOBILE, behaviour=behaviour)
    await world.voice.send(world.send_request(CALL))
    await world.carrier.settled()
    last = world.desk.events[-1].report
    assert last is not None
    assert (last.progress, last.error, last.code) == (SubmissionState.FAILED, ErrorClass.TRANSIENT, code)


async def test_call_answered_reports_statuses_in_sequence(world: World) -> None:
    world.carrier.phone(MOBILE, keys=[""])
    await world.voice.send(world.send_request(CALL))
    await world.carrier.settled()
    assert world.progress() == [
        SubmissionState.ACCEPTED,
        SubmissionState.SENT,
        SubmissionState.SENT,
        SubmissionState.FAILED,
    ]
    assert [heard.event_id.rsplit("/")[-1] for heard in world.desk.events] == ["0", "1", "2", "3"]


async def test_call_office_line_dials_extension(world: World) -> None:
    phone = world.carrier.phone(LANDLINE, extension="1234", keys=["1"])
    await world.voice.send(world.send_request(CALL, to=LANDLINE, extension="W1234#"))
    await phone.expect_call("telah direkodkan")
    await world.carrier.settled()


async def test_call_long_script_is_fetched_when_answered(world: World) -> None:
    long = VoiceContent(scripts=(script("ms-MY", hello="Perhatian.", block="Penggunaan e-mel persendirian. " * 80),))
    phone = world.carrier.phone(MOBILE, keys=["1"])
    await world.voice.send(world.send_request(long))
    await phone.expect_call("e-mel persendirian", "telah direkodkan")
    await world.carrier.settled()
    assert (world.carrier.calls[0].twiml, world.carrier.errors) == ("", [])


async def test_call_unknown_attempt_hangs_up(world: World) -> None:
    phone = world.carrier.phone(MOBILE, keys=["1"])
    send_request = world.send_request(CALL)
    del world.desk.contents[send_request.reference]
    await world.voice.send(send_request)
    call = await phone.expect_call()
    await world.carrier.settled()
    assert "telah direkodkan" not in call.text
    assert (world.desk.events, world.carrier.errors) == ([], [])


async def test_carrier_api_refuses_wrong_credentials(world: World) -> None:
    login = base64.b64encode(b"AC:salah").decode()
    async with serve(app(Carrier())) as base_url, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(
            f"{base_url}/2010-04-01/Accounts/AC/Messages.json", headers={"Authorization": f"Basic {login}"}
        )
    assert (answer.status_code, answer.json()["code"]) == (401, 20003)


async def test_carrier_list_filters_by_number_and_day(world: World) -> None:
    carrier = Carrier(auth_token=NEW_TOKEN)
    carrier.phone(MOBILE)
    async with serve(app(carrier)) as base_url, httpx.AsyncClient(trust_env=False) as client:
        client.auth = httpx.BasicAuth(carrier.account_sid, NEW_TOKEN)
        url = f"{base_url}/2010-04-01/Accounts/{carrier.account_sid}/Messages.json"
        await client.post(url, data={"To": MOBILE, "From": "+60300000100", "Body": SMS.text})
        await carrier.settled()
        sent = carrier.messages[0].sent_at
        assert sent is not None
        today = sent.date()
        tomorrow = today + timedelta(days=1)
        for query, found in (
            ({"To": MOBILE}, 1),
            ({"To": OTHER_MOBILE}, 0),
            ({"DateSent>": str(today)}, 1),
            ({"DateSent>": str(tomorrow)}, 0),
            ({"DateSent<": str(tomorrow)}, 1),
        ):
            assert len((await client.get(url, params=query)).json()["messages"]) == found, query
