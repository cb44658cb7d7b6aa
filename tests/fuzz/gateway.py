"""Fuzz targets of providers' callbacks and responses."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import httpx
from pydantic import SecretStr
from twilio.request_validator import RequestValidator

from alerts.gateways.http.sms import HttpSms
from alerts.gateways.sinch_fax import SinchFax, SinchFaxSettings
from alerts.gateways.twilio.sms import Replies, TwilioSms, TwilioSmsSettings
from alerts.gateways.twilio.voice import TwilioVoice, TwilioVoiceSettings
from alerts.model.gateway import (
    AckResult,
    CallbackEvent,
    CallbackRejectedError,
    CallbackRequest,
    CallbackResponse,
    Content,
    DeliveryError,
    DeliveryReport,
    Gateway,
    GatewayContext,
    InboundSms,
    PageContent,
    ReleasePrompt,
    ReleaseStage,
    Script,
    SendRequest,
    SmsContent,
    VoiceContent,
)
from tests import sms_providers
from tests.fuzz.target import TURN, Target

SECRET = "rahsia-yang-tidak-patut-keluar"
_BASE = "https://pantau.contoh.example/callbacks/contoh"
_NUMBER = "+60100000101"
_ACCOUNT: dict[str, Any] = {"account_sid": "AC" + "0" * 32, "auth_token": SECRET, "from_number": "+60300000100"}
_CONTEXT = GatewayContext(callback_base=_BASE, directory="/nonexistent")
_SCRIPT = Script(
    language="ms-MY",
    blocks=("Perhatian.",),
    menu="Tekan satu.",
    thanks="Direkodkan.",
    already="Telah disahkan.",
    goodbye="Sekian.",
    may_release=True,
)
_CONTENTS: Mapping[str, Content] = {
    "sms": SmsContent(text="RM0 JPC: x"),
    "voice": VoiceContent(scripts=(_SCRIPT,)),
    "fax": PageContent(pdf=b"%PDF", title="x", pages=1),
}
_AT = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)


def _can_be_stored(text: str | None) -> bool:
    """Return whether both databases can store *text*."""
    if text is None:
        return True
    with suppress(UnicodeEncodeError):
        return "\0" not in text and len(text.encode()) <= 200
    return False


def _is_storable(report: DeliveryReport | None) -> bool:
    return report is None or all(map(_can_be_stored, (report.provider_id, report.code, report.detail)))


class _CheckingHandler:
    """Callback handler that checks what it gets."""

    async def record(self, heard: CallbackEvent) -> AckResult:
        assert _can_be_stored(heard.event_id)
        assert _is_storable(heard.report)
        return AckResult.TAKEN

    async def content(self, reference: str) -> Content | None:
        return VoiceContent(scripts=(_SCRIPT,)) if reference == "d42-1" else None

    async def receive(self, said: InboundSms) -> SmsContent | None:
        assert _can_be_stored(said.event_id)
        return SmsContent(text="Direkodkan.")

    async def begin_release(self, reference: str) -> ReleasePrompt:
        return ReleasePrompt(stage=ReleaseStage.PIN, texts={"ms-MY": "Taip PIN."}, fallback_texts={"ms-MY": "Sekian."})

    async def verify_pin(self, reference: str, pin: str) -> ReleasePrompt:
        return await self.begin_release(reference)

    async def release(self, reference: str) -> ReleasePrompt:
        return ReleasePrompt(stage=ReleaseStage.END, texts={"ms-MY": "Sekian."})


@cache
def _gateways() -> Mapping[str, Gateway]:
    """Return one gateway of each kind, cached because making them takes longest."""
    sms = TwilioSmsSettings.model_validate(_ACCOUNT | {"replies": Replies.POLL})
    fax = SinchFaxSettings(
        project_id="p", key_id="k", key_secret=SecretStr(SECRET), from_number=_NUMBER, callback_secret=SecretStr(SECRET)
    )
    return {
        "sms": TwilioSms(sms, _CONTEXT),
        "voice": TwilioVoice(TwilioVoiceSettings.model_validate(_ACCOUNT), _CONTEXT),
        "fax": SinchFax(fax, _CONTEXT),
        "awan": sms_providers.build("awan", secret=SECRET, callbacks=_BASE, replies="poll"),
        "suria": sms_providers.build("suria", secret=SECRET, callbacks=_BASE, replies="poll"),
    }


def _callback(octets: bytes) -> None:
    """A callback is answered or refused, with or without valid signature, and its data can be stored."""
    path, _, rest = octets.decode("utf-8", "replace").partition("\n")
    kind, _, body = rest.partition("\n")
    fields = parse_qsl(body, keep_blank_values=True)
    form: dict[str, list[str]] = {}
    for name, value in fields:
        form.setdefault(name, []).append(value)
    url = f"{_BASE}/{path}"
    signature = RequestValidator(SECRET).compute_signature(url, {name: values[0] for name, values in form.items()})
    basic = base64.b64encode(f"pantau:{SECRET}".encode()).decode()
    mac = hmac.digest(sms_providers.CALLBACK_SECRET.encode(), body.encode(), "sha256").hex()
    known = {
        "x-suria-signature": mac,
        "content-type": kind,
        "x-twilio-signature": signature,
        "authorization": f"Basic {basic}",
    }
    for headers in (known, {"content-type": kind, "x-twilio-signature": kind, "authorization": kind}):
        for name, gateway in _gateways().items():
            incoming = CallbackRequest(
                path=path.partition("?")[0], url=url, form=form, headers=headers, body=body.encode()
            )
            answer = _handled(gateway, incoming)
            if answer is not None:
                assert headers is known, name
                assert SECRET not in answer.body


def _handled(gateway: Gateway, incoming: CallbackRequest) -> CallbackResponse | None:
    handling = gateway.handle_callback(incoming, _CheckingHandler())
    try:
        if isinstance(gateway, HttpSms):
            # It sends its answer to the person as a separate SMS.
            _client_of(gateway)._transport = _ScriptedTransport(b"200" + TURN)
            return asyncio.run(handling)
        # The coroutine never suspends, so that no event loop is needed.
        handling.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    except CallbackRejectedError as refusal:
        assert 400 <= refusal.status < 500
        assert SECRET not in refusal.reason
        return None
    raise AssertionError("the coroutine suspended")


class _ScriptedTransport(httpx.AsyncBaseTransport):
    """Transport that answers every request with the same status, headers and body."""

    def __init__(self, octets: bytes) -> None:
        head, _, self._body = octets.partition(TURN)
        status, _, wait = head.partition(b" ")
        self._status = 200 + int.from_bytes(status[:2].ljust(2, b"\0"), "big") % 400 if status != b"200" else 200
        self._headers = [(b"Retry-After", bytes(c for c in wait if 32 <= c < 127))]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self._status, headers=self._headers, stream=httpx.ByteStream(self._body))


def _respond(octets: bytes) -> None:
    """Each response becomes a storable report or a delivery error without secrets."""
    asyncio.run(_ask_all(octets))


def _client_of(gateway: Any) -> Any:
    if isinstance(gateway, HttpSms):
        return gateway._client
    return (getattr(gateway, "_provider", None) or gateway._twilio._provider)._client


async def _ask_all(octets: bytes) -> None:
    for name, gateway in _gateways().items():
        _client_of(gateway)._transport = _ScriptedTransport(octets)
        request_to_send = SendRequest(
            reference="d42-1",
            address=_NUMBER,
            content=_CONTENTS.get(name, _CONTENTS["sms"]),
            created_at=_AT,
            expires_at=_AT + timedelta(hours=1),
        )
        for asked in (
            gateway.send(request_to_send),
            gateway.find(request_to_send),
            gateway.check(request_to_send, "SM1"),
        ):
            try:
                report = await asked
            except DeliveryError as error:
                assert SECRET not in str(error)
                assert _NUMBER not in str(error)
                assert _can_be_stored(error.code)
                assert error.retry_after is None or timedelta() <= error.retry_after < timedelta(days=36_500)
            else:
                assert not isinstance(report, DeliveryReport) or _is_storable(report)
        if isinstance(gateway, TwilioSms | HttpSms):
            with suppress(DeliveryError):
                await gateway.collect(_AT, _CheckingHandler())


def _json(value: Any) -> bytes:
    return b"200" + TURN + json.dumps(value).encode()


_MESSAGE = {
    "sid": "SM1",
    "status": "delivered",
    "body": "RM0 JPC: x",
    "num_segments": "1",
    "direction": "inbound",
    "from": _NUMBER,
    "date_created": "Fri, 27 Nov 2026 08:00:01 +0000",
    "error_code": None,
}
_CALL = {
    "sid": "CA1",
    "status": "completed",
    "duration": "12",
    "from": "+60300000100",
    "date_created": _MESSAGE["date_created"],
}
_FAX = {
    "id": "01",
    "status": "COMPLETED",
    "numberOfPages": 1,
    "pagesSentSuccessfully": 1,
    "labels": {"pantau": "d42-1"},
}

TARGETS = (
    Target(
        name="callback",
        run=_callback,
        seeds={
            "a status": b"status/d42-1\napplication/x-www-form-urlencoded\nMessageSid=SM1&MessageStatus=delivered&ErrorCode=",
            "a status of 5,000 digits": b"status/d42-1\nx\nMessageSid=SM1&MessageStatus=failed&ErrorCode="
            + b"9" * 5000,
            "a call of 5,000 digits": b"status/d42-1\nx\nCallSid=CA1&CallStatus=completed&CallDuration=" + b"9" * 5000,
            "call of long duration": b"status/d42-1\nx\nCallSid=CA1&CallStatus=completed&CallDuration=" + b"9" * 30,
            "an SMS": b"sms\nx\nMessageSid=SM1&From=%2B60100000101&To=%2B60300000100&Body=1A",
            "fields again": b"sms\nx\nMessageSid=SM1&MessageSid=SM2&From=a&To=%2B60300000100&To=b&Body=1A&Body=2A",
            "a key": b"key/d42-1/0/0\nx\nCallSid=CA1&Digits=1",
            "key in non-ASCII digits": "key/d42-1/\u0661/0\nx\nDigits=\u0661".encode(),
            "a PIN": b"pin/d42-1/0\nx\nDigits=123456",
            "a half of a character": b"status/d42-1\nx\nMessageSid=%ED%A0%80%00&MessageStatus=delivered",
            "a fax": b'done/d42-1\napplication/json\n{"event": "FAX_COMPLETED", "fax": '
            + json.dumps(_FAX).encode()
            + b"}",
            "fax with infinite id": b'done/d42-1\napplication/json\n{"event": "FAX_COMPLETED", "fax": {"id": 1e309, "status": "COMPLETED", "numberOfPages": -1}}',
            "a fax of NULs": b'done/d42-1\napplication/json\n{"event": "FAX_COMPLETED", "fax": {"id": "\\u0000", "status": "FAILURE", "errorType": "\\u0000"}}',
            "JSON without end": b"done/d42-1\napplication/json\n" + b"[" * 20_000,
            "a form in parts": b'done/d42-1\nmultipart/form-data; boundary=b\n--b\r\nContent-Disposition: form-data; name="event"\r\n\r\nFAX_COMPLETED\r\n--b\r\nContent-Disposition: form-data; name="fax"\r\n\r\n'
            + json.dumps(_FAX).encode()
            + b"\r\n--b--\r\n",
            "a report of an SMS": b'status\napplication/json\n{"client_ref": "d42-1", "status": "D", "message_id": "\\u0000"}',
            "an SMS in JSON": b'sms\napplication/json\n{"from": "0100000101", "body": "1A", "message_id": 7}',
            "SMS with invalid sender": b'sms\napplication/json\n{"from": "+0", "body": [], "message_id": "x"}',
            "a part in uuencode": b'done/d42-1\nmultipart/form-data; boundary=b\n--b\r\nContent-Disposition: form-data; name="fax"\r\nContent-Transfer-Encoding: uuencode\r\n\r\n\xff\r\n--b--\r\n',
        },
    ),
    Target(
        name="provider",
        run=_respond,
        seeds={
            "a message": _json(_MESSAGE | {"messages": [_MESSAGE], "calls": [_CALL]}),
            "a line of text": b"200" + TURN + b"code=0,id=91,state=D",
            "a refusal in text": b"200" + TURN + b"code=2",
            "an inbox": _json({"messages": [{"id": "mo1", "from": "60100000101", "body": "1A"}, {"id": None}, 3]}),
            "an error in JSON": b"\x00\xe6" + TURN + b'{"error": {"code": "E-NUM"}}',
            "a call": _json(_CALL | {"messages": [_MESSAGE], "calls": [_CALL]}),
            "a fax": _json(_FAX | {"faxes": [_FAX]}),
            "lists of invalid items": _json(
                {"sid": "x", "messages": [None, 1, "x", []], "calls": [None], "faxes": [None, []]}
            ),
            "no list": _json({"sid": "x", "messages": {}, "calls": 1, "faxes": "x"}),
            "impossible times": _json(
                {
                    "sid": "x",
                    "messages": [_MESSAGE | {"date_created": "Fri, 27 Nov 2026 08:00:01 +99999999999999"}],
                    "calls": [_CALL | {"date_created": "31 Dec 9999 23:59:59 -2359"}],
                }
            ),
            "counts of 5,000 digits": _json(_MESSAGE | {"num_segments": "9" * 5000, "duration": "9" * 5000}),
            "counts too large for a database": _json(
                _MESSAGE | {"num_segments": "9" * 30, "duration": "9" * 30, "id": "1"}
            ),
            "an error of 5,000 digits": _json(_MESSAGE | {"status": "failed", "error_code": "9" * 5000}),
            "half a character": b"200" + TURN + b'{"sid": "\\ud800", "id": "\\ud800", "status": "failed"}',
            "a NUL": b"200" + TURN + b'{"sid": "\\u0000", "id": "\\u0000", "status": "FAILURE"}',
            "an id of a megabyte": _json(_MESSAGE | {"sid": "x" * 1_000_000, "id": "x" * 1_000_000}),
            "ids that are not text": _json({"sid": [1], "id": {"a": 1}, "status": []}),
            "no finite number": b"200" + TURN + b'{"sid": NaN, "id": 1e309, "status": Infinity}',
            "nested without end": b"200" + TURN + b'{"a":' * 20_000,
            "a wait of 5,000 digits": b"\x00\xe5 " + b"9" * 5000 + TURN + b"{}",
            "long wait": b"\x00\xe5 " + b"9" * 20 + TURN + b"{}",
            "HTML page": b"200" + TURN + b"<html>",
            "an error": b"\x00\xc8" + TURN + b'{"code": 21211, "message": "x"}',
        },
    ),
)
