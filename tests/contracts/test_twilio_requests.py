"""Every kind of request to Twilio, against a simulator that checks it with Twilio's published description.

`pantau_lab.carrier.parameter` has the facts of the description. The voices of call documents are checked with the list
that Twilio publishes for `<Say>`.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from alerts.gateways.twilio import sms as twilio_sms
from alerts.gateways.twilio import voice as twilio_voice
from alerts.gateways.twilio.sms import _PROGRESS as SMS_PROGRESS
from alerts.gateways.twilio.voice import PROGRESS as CALL_PROGRESS
from alerts.model.gateway import (
    Content,
    DeliveryError,
    DeliveryReport,
    Gateway,
    GatewayContext,
    Script,
    SendRequest,
    SmsContent,
    SubmissionNotFound,
    SupportsReplies,
    VoiceContent,
)
from pantau_lab.callbacks import CallbackListener, RecordingCallbackHandler
from pantau_lab.carrier.api import app
from pantau_lab.carrier.carrier import Carrier
from pantau_lab.serving import serve

MOBILE, OFFICE, SENDER = "+60100000101", "+60300000101", "+60300000100"
TEXT = SmsContent(text="RM0 JPC: E-mel rasmi terganggu sejak 24/11, 2.15 ptg. Balas 1A. Ruj JPC-07")
#: message_enum_status without the statuses of inbound messages; call_enum_status.
SMS_STATUSES = {
    *("queued", "sending", "sent", "failed", "delivered", "undelivered"),
    *("accepted", "scheduled", "read", "partially_delivered", "canceled"),
}
CALL_STATUSES = {"queued", "ringing", "in-progress", "completed", "busy", "failed", "no-answer", "canceled"}
#: Twilio's voices per language, of Google's two older families.
VOICES = {
    language: {f"Google.{language}-{family}-{letter}" for family in ("Standard", "Wavenet") for letter in letters}
    for language, letters in (("ms-MY", "ABCD"), ("en-GB", "ABCDF"))
}


def script(language: str, block: str = "E-mel rasmi terganggu.") -> Script:
    return Script(
        language=language,
        headline="Gangguan e-mel.",
        blocks=(block,),
        menu="Tekan satu, empat atau lima.",
        thanks="Telah direkodkan.",
        already="Telah disahkan.",
        goodbye="Sekian.",
        over="Telah berakhir.",
        escalated="Telah diserahkan.",
        invitation="Tekan tiga.",
        unkeyed="Balas SMS.",
        may_release=True,
    )


CALL = VoiceContent(scripts=(script("ms-MY"), script("en-GB")))
#: Longer than a document in a request may be.
LONG_CALL = VoiceContent(scripts=(script("ms-MY", block="a" * 4000),))


@dataclass(kw_only=True)
class Twilio:
    carrier: Carrier
    callback_handler: RecordingCallbackHandler
    sms: Gateway
    voice: Gateway
    base_url: str
    #: Whether Twilio can reach the service.
    has_callbacks: bool

    async def send(
        self, gateway: Gateway, content: Content, to: str = MOBILE, extension: str = ""
    ) -> tuple[SendRequest, str]:
        """Send and wait until it has ended; return the request and the provider's id."""
        now = datetime.now(UTC)
        reference = f"d{len(self.callback_handler.contents)}-1"
        self.callback_handler.contents[reference] = content
        order = SendRequest(
            reference=reference,
            address=to,
            extension=extension,
            content=content,
            created_at=now,
            expires_at=now + timedelta(days=3),
        )
        report = await gateway.send(order)
        await self.carrier.settled()
        return order, _id(report)


@pytest.fixture(params=[True, False], ids=["called-back", "asked"])
async def twilio(request: pytest.FixtureRequest) -> AsyncIterator[Twilio]:
    carrier, callback_handler = Carrier(), RecordingCallbackHandler()
    listener = CallbackListener(handler=callback_handler)
    carrier.phone(MOBILE)
    carrier.phone(OFFICE)
    async with AsyncExitStack() as stack:
        listener.public_base = await stack.enter_async_context(serve(listener.app()))
        base_url = await stack.enter_async_context(serve(app(carrier)))

        def build(kind: Any, name: str, **more: str) -> Gateway:
            account = {"account_sid": carrier.account_sid, "auth_token": carrier.auth_token, "from_number": SENDER}
            base = f"{listener.public_base}/{name}" if request.param else None
            gateway: Gateway = kind.build(
                kind.config.model_validate({**account, "base_url": base_url, **more}),
                GatewayContext(callback_base=base, directory="."),
            )
            listener.gateways[name] = gateway
            stack.push_async_callback(gateway.close)
            return gateway

        yield Twilio(
            carrier=carrier,
            callback_handler=callback_handler,
            sms=build(twilio_sms.GATEWAY, "sms", replies="poll"),
            voice=build(twilio_voice.GATEWAY, "voice"),
            base_url=base_url,
            has_callbacks=request.param,
        )


async def test_sms_send_check_and_find_match_description(twilio: Twilio) -> None:
    order, sid = await twilio.send(twilio.sms, TEXT)
    assert (await twilio.sms.check(order, sid)).provider_id == sid
    assert not isinstance(await twilio.sms.find(order), SubmissionNotFound)
    # The request is valid for three days; Twilio's maximum is ten hours.
    assert twilio.carrier.messages[0].validity == 36000
    assert twilio.carrier.errors == []


async def test_sms_replies_are_collected_and_answered(twilio: Twilio) -> None:
    await twilio.carrier.send_reply(twilio.carrier.phones[MOBILE], "1A")
    assert isinstance(twilio.sms, SupportsReplies)
    twilio.callback_handler.reply = "Pengesahan 1A direkodkan."
    await twilio.sms.collect(datetime.now(UTC) - timedelta(days=1), twilio.callback_handler)
    await twilio.carrier.settled()
    assert [sms.body for sms in twilio.carrier.messages] == ["Pengesahan 1A direkodkan."]
    assert twilio.carrier.errors == []


@pytest.mark.parametrize("keys", [["1"], ["2", "3", "1"], ["4"], ["5", "280146#", "1"], []])
async def test_call_document_matches_description_for_any_keys(twilio: Twilio, keys: list[str]) -> None:
    twilio.carrier.phones[MOBILE].keys = keys
    order, sid = await twilio.send(twilio.voice, CALL)
    assert (await twilio.voice.check(order, sid)).provider_id == sid
    assert not isinstance(await twilio.voice.find(order), SubmissionNotFound)
    call = twilio.carrier.calls[0]
    assert call.url == ""
    assert all(line.voice in VOICES[line.language] for line in call.spoken)
    assert twilio.carrier.errors == []


async def test_call_document_too_long_is_fetched_or_rejected(twilio: Twilio) -> None:
    if not twilio.has_callbacks:
        with pytest.raises(DeliveryError, match="too long"):
            await twilio.send(twilio.voice, LONG_CALL)
    else:
        await twilio.send(twilio.voice, LONG_CALL)
        assert (twilio.carrier.calls[0].twiml, bool(twilio.carrier.calls[0].url)) == ("", True)
    assert twilio.carrier.errors == []


@pytest.mark.parametrize(
    ("extension", "pressed"), [("W1234#", "ww1234#"), ("ww1#", "ww1#"), ("W" * 12 + "123456*#", "w" * 24 + "123456*#")]
)
async def test_call_extension_is_converted_to_twilio_digits(twilio: Twilio, extension: str, pressed: str) -> None:
    await twilio.send(twilio.voice, CALL, OFFICE, extension)
    assert twilio.carrier.calls[0].extension == pressed
    assert twilio.carrier.errors == []


def test_every_described_status_is_mapped() -> None:
    assert SMS_PROGRESS.keys() == SMS_STATUSES
    # "initiated" appears in callbacks only.
    assert CALL_PROGRESS.keys() == CALL_STATUSES | {"initiated"}


GOOD_SMS = {"To": MOBILE, "From": SENDER, "Body": "RM0 JPC: ujian"}
GOOD_CALL = {"To": MOBILE, "From": SENDER, "Twiml": "<Response/>"}


@pytest.mark.parametrize(
    ("resource", "form", "code"),
    [
        ("Messages", GOOD_SMS | {"To": "60100000101"}, 21211),
        ("Messages", GOOD_SMS | {"From": "60300000100"}, 21212),
        ("Messages", GOOD_SMS | {"From": ""}, 21212),
        ("Messages", GOOD_SMS | {"Body": ""}, 21602),
        ("Messages", GOOD_SMS | {"Body": "a" * 1601}, 21617),
        ("Messages", GOOD_SMS | {"ValidityPeriod": "0"}, 20001),
        ("Messages", GOOD_SMS | {"ValidityPeriod": "36001"}, 20001),
        ("Messages", GOOD_SMS | {"ValidityPeriod": "60.5"}, 20001),
        ("Messages", GOOD_SMS | {"RiskCheck": "disabled"}, 20001),
        ("Messages", GOOD_SMS | {"SmartEncoded": "no"}, 20001),
        ("Messages", GOOD_SMS | {"StatusCallback": "https://panggil_balik.contoh.gov.my/x"}, 21609),
        ("Messages", GOOD_SMS | {"StatusCallback": "nowhere"}, 21609),
        ("Calls", GOOD_CALL | {"To": "03-0000 0101"}, 21211),
        ("Calls", GOOD_CALL | {"From": "JPC"}, 21212),
        ("Calls", GOOD_CALL | {"Timeout": "601"}, 20001),
        ("Calls", GOOD_CALL | {"TimeLimit": "ten"}, 20001),
        ("Calls", GOOD_CALL | {"SendDigits": "W1234#"}, 21206),
        ("Calls", GOOD_CALL | {"SendDigits": "1" * 33}, 21206),
        ("Calls", GOOD_CALL | {"Twiml": "a" * 4001}, 20001),
        ("Calls", GOOD_CALL | {"Twiml": ""}, 21205),
        ("Calls", GOOD_CALL | {"Url": "ftp://contoh.gov.my"}, 21205),
        ("Calls", GOOD_CALL | {"StatusCallbackEvent": "initiated completed"}, 20001),
        ("Calls", GOOD_CALL | {"StatusCallbackEvent": ["initiated", "hung-up"]}, 20001),
    ],
)
async def test_simulator_rejects_invalid_requests(
    twilio: Twilio, resource: str, form: dict[str, str | list[str]], code: int
) -> None:
    answer = await _request(twilio, "POST", resource, data=form)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert not twilio.carrier.messages
    assert not twilio.carrier.calls


@pytest.mark.parametrize(
    ("resource", "query"),
    [
        ("Messages", {"PageSize": "1001"}),
        ("Messages", {"PageSize": "0"}),
        ("Messages", {"DateSent>": "24/11/2026"}),
        ("Calls", {"StartTime<": "2026-11-24T10:00:00Z"}),
        ("Calls", {"Status": "over"}),
    ],
)
async def test_simulator_rejects_invalid_list_queries(twilio: Twilio, resource: str, query: dict[str, str]) -> None:
    assert (await _request(twilio, "GET", resource, params=query)).json()["code"] == 20001


async def test_simulator_records_unknown_parameter(twilio: Twilio) -> None:
    await _request(twilio, "POST", "Messages", data=GOOD_SMS | {"Validity": "60"})
    assert twilio.carrier.errors == ["Validity: no parameter that is known here"]


def _id(report: DeliveryReport) -> str:
    assert report.provider_id is not None
    return report.provider_id


async def _request(twilio: Twilio, method: str, resource: str, **what: Any) -> httpx.Response:
    carrier = twilio.carrier
    url = f"{twilio.base_url}/2010-04-01/Accounts/{carrier.account_sid}/{resource}.json"
    async with httpx.AsyncClient(auth=(carrier.account_sid, carrier.auth_token)) as client:
        return await client.request(method, url, **what)
