"""Gateways against malicious providers: each failure is a `DeliveryError` and memory stays bounded."""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from alerts.gateways.sinch_fax import SinchFax, SinchFaxSettings
from alerts.gateways.twilio.api import meaning_of_failure, parse_count
from alerts.gateways.twilio.sms import TwilioSms, TwilioSmsSettings
from alerts.gateways.twilio.voice import TwilioVoice, TwilioVoiceSettings
from alerts.model.gateway import (
    DeliveryError,
    DeliveryReport,
    ErrorClass,
    GatewayContext,
    PageContent,
    SendRequest,
    SmsContent,
    SubmissionState,
)
from alerts.provider import HttpClient, read_json

NUMBER = "+60100000101"
CONTEXT = GatewayContext(callback_base=None, directory="/nonexistent")
AT = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)
MESSAGE = {"sid": "SM1", "status": "delivered", "body": "x", "date_created": "Fri, 27 Nov 2026 08:00:01 +0000"}


class FakeTransport(httpx.AsyncBaseTransport):
    """Transport that gives every request the same response."""

    def __init__(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None, repeat: int = 1) -> None:
        self._status, self._headers = status, headers or {}
        self._parts = (body for _ in range(repeat))
        self.taken = 0

    async def _stream(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            self.taken += len(part)
            yield part

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self._status, headers=self._headers, content=self._stream())


def sms(transport: FakeTransport) -> TwilioSms:
    account: dict[str, Any] = {"account_sid": "AC" + "0" * 32, "auth_token": "rahsia", "from_number": "+60300000100"}
    gateway = TwilioSms(TwilioSmsSettings.model_validate(account), CONTEXT)
    gateway._twilio._provider._client._transport = transport  # type: ignore[assignment]
    return gateway


def voice(transport: FakeTransport, **settings: Any) -> TwilioVoice:
    account: dict[str, Any] = {"account_sid": "AC" + "0" * 32, "auth_token": "rahsia", "from_number": "+60300000100"}
    gateway = TwilioVoice(TwilioVoiceSettings.model_validate(account | settings), CONTEXT)
    gateway._twilio._provider._client._transport = transport  # type: ignore[assignment]
    return gateway


def fax(transport: FakeTransport) -> SinchFax:
    settings = SinchFaxSettings(project_id="p", key_id="k", key_secret=SecretStr("rahsia"), from_number=NUMBER)
    gateway = SinchFax(settings, CONTEXT)
    gateway._provider._client._transport = transport  # type: ignore[assignment]
    return gateway


def test_http_clients_share_ssl_context_that_verifies_host_name() -> None:
    clients = [HttpClient(proxy=proxy, deadline=1) for proxy in (None, SecretStr("http://192.0.2.1:3128"))]
    [context] = {client._transport._pool._ssl_context for client in clients}
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def order(content: SmsContent | PageContent) -> SendRequest:
    return SendRequest(
        reference="d1-1", address=NUMBER, content=content, expires_at=AT + timedelta(hours=1), created_at=AT
    )


SMS, PAGE = order(SmsContent(text="x")), order(PageContent(pdf=b"%PDF", title="x", pages=1))


async def failure_of(transport: FakeTransport) -> DeliveryError:
    with pytest.raises(DeliveryError) as failed:
        await sms(transport).send(SMS)
    return failed.value


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 20_000,
        b'{"sid": "\\ud800"}',
        b'{"sid": "\\u0000"}',
        b'{"sid": 1e309}',
        b'{"sid": ["SM1"]}',
        json.dumps({"sid": "x" * 101}).encode(),
        b'{"sid": ' + b"9" * 5000 + b"}",
    ],
)
async def test_answer_without_storable_id_is_unknown(body: bytes) -> None:
    assert (await failure_of(FakeTransport(body))).error is ErrorClass.UNKNOWN
    with pytest.raises(DeliveryError):
        await sms(FakeTransport(body)).check(SMS, "SM1")
    with pytest.raises(DeliveryError):
        await fax(FakeTransport(body.replace(b"sid", b"id"))).send(PAGE)


@pytest.mark.parametrize("wait", ["9" * 5000, "9" * 20, "-1", "Fri, 27 Nov 2026 08:00:00 GMT"])
async def test_implausible_retry_after_is_ignored(wait: str) -> None:
    refused = await failure_of(FakeTransport(b"{}", 429, {"Retry-After": wait}))
    assert (refused.error, refused.retry_after) == (ErrorClass.TRANSIENT, None)


async def test_compressed_answer_exceeding_limit_is_not_decompressed() -> None:
    bomb = gzip.compress(json.dumps(MESSAGE | {"x": "a" * 1_000_000}).encode())
    assert (await failure_of(FakeTransport(bomb, 200, {"Content-Encoding": "gzip"}))).error is ErrorClass.UNKNOWN


async def test_endless_answer_is_not_read_to_end() -> None:
    transport = FakeTransport(b"x" * 1_000_000, repeat=10_000)
    assert (await failure_of(transport)).error is ErrorClass.UNKNOWN
    assert transport.taken < 10_000_000


@pytest.mark.parametrize("odd", [None, 1, "x", [], {}, {"sid": None}])
async def test_find_skips_malformed_list_items(odd: object) -> None:
    found = await sms(FakeTransport(json.dumps({"messages": [odd, MESSAGE]}).encode())).find(SMS)
    assert isinstance(found, DeliveryReport)
    assert found.progress is SubmissionState.DELIVERED
    page = {"faxes": [odd, {"id": "1", "status": "COMPLETED", "labels": {"pantau": "d1-1"}}]}
    assert isinstance(await fax(FakeTransport(json.dumps(page).encode())).find(PAGE), DeliveryReport)


@pytest.mark.blind
@pytest.mark.parametrize(
    ("date", "queried_after", "found"),
    [
        # Our clock is eight hours ahead when sending and when searching. Then it is an hour behind.
        ("Fri, 27 Nov 2026 00:00:20 GMT", 20, True),
        ("Fri, 27 Nov 2026 09:00:20 GMT", 20, False),
        # A message created nine minutes before the attempt is another one.
        ("Fri, 27 Nov 2026 00:10:00 GMT", 20, False),
        # Both clocks agree but for the duration of the answer.
        ("Fri, 27 Nov 2026 08:00:50 GMT", 20, False),
        ("", 20, False),
        ("Fri, 99 Nov 2026", 20, False),
    ],
)
async def test_twilio_find_with_clock_difference_searches_by_twilio_clock(
    date: str, queried_after: int, *, found: bool
) -> None:
    """Defect: With our clock eight hours ahead, an SMS is searched in the future, not found, and sent again.

    Pantau: Twilio is searched by its own clock.
    """
    message = MESSAGE | {"date_created": "Fri, 27 Nov 2026 00:00:01 +0000"}
    transport = FakeTransport(json.dumps({"messages": [message]}).encode(), headers={"Date": date})
    answer = await sms(transport).find(replace(SMS, queried_at=AT + timedelta(seconds=queried_after)))
    assert isinstance(answer, DeliveryReport) is found


@pytest.mark.parametrize(("deadline", "created", "found"), [(60, 55, True), (60, 95, False), (10, 55, False)])
async def test_twilio_find_of_call_searches_until_deadline_of_submission(
    deadline: int, created: int, *, found: bool
) -> None:
    """A call that Twilio creates at the end of a long deadline is found, and not placed a second time."""
    at = (AT + timedelta(seconds=created)).strftime("%a, %d %b %Y %H:%M:%S +0000")
    call = {"sid": "CA1", "status": "completed", "from": "+60300000100", "date_created": at}
    gateway = voice(FakeTransport(json.dumps({"calls": [call]}).encode()), deadline_seconds=deadline)
    assert isinstance(await gateway.find(replace(SMS, queried_at=AT)), DeliveryReport) is found


@pytest.mark.parametrize("at", ["Fri, 27 Nov 2026 08:00:01 +99999999999999", "9" * 5000, ""])
async def test_find_implausible_date_raises_error(at: str) -> None:
    page = {"messages": [MESSAGE | {"date_created": at}]}
    with pytest.raises(DeliveryError, match="not understood"):
        await sms(FakeTransport(json.dumps(page).encode())).find(SMS)


@pytest.mark.parametrize("digits", ["9" * 5000, "9" * 20, "²", "-1", "1_0"])
def test_parse_count_out_of_range_returns_none(digits: str) -> None:
    assert parse_count(digits) is None
    assert meaning_of_failure(digits).error is ErrorClass.TRANSIENT


def test_read_json_replaces_characters_unsupported_by_store() -> None:
    parsed = read_json(b'{"a\\u0000": ["\\ud800b", 1, null, "\\ud83d\\ude00", "\\\\u0000"]}')
    assert parsed == {"a\ufffd": ["\ufffdb", 1, None, "\U0001f600", "\\u0000"]}
