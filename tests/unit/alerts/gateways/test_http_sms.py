"""HTTP SMS gateway with a configured provider: error table, callbacks and authentication."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from alerts.gateways.http.profile import HttpSmsSettings
from alerts.model.gateway import (
    CallbackRejectedError,
    CallbackRequest,
    DeliveryError,
    DeliveryReport,
    ErrorClass,
    Gateway,
    SendRequest,
    SmsContent,
    SubmissionNotFound,
    SubmissionState,
    SupportsReplies,
)
from pantau_lab.aggregator import AWAN_CODES, SURIA_CODES, Aggregator, Message, awan, signed, suria
from pantau_lab.callbacks import CallbackListener, RecordingCallbackHandler
from pantau_lab.serving import serve
from tests import sms_providers
from tests.sms_providers import CALLBACK_SECRET

SECRET = "rahsia-penyedia"
NUMBER = "+60100000101"
TEXT = "RM0 JCM ICT: AMARAN. E-mel keluar gagal sejak 24/11, 2.15 ptg. Balas 1A untuk sahkan. Ruj JCM-07"
NOW = datetime(2026, 11, 24, 6, 15, tzinfo=UTC)
ORDER = SendRequest(
    reference="d42-1",
    address=NUMBER,
    content=SmsContent(text=TEXT),
    created_at=NOW,
    expires_at=NOW + timedelta(minutes=5),
)
SIMULATORS: dict[str, Callable[[Aggregator], Starlette]] = {"awan": awan, "suria": suria}
T, P, C, U = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.CONFIGURATION, ErrorClass.UNKNOWN
#: Error class of each fault in an error table.
ERROR_CLASSES = {
    "credentials": C,
    "balance": C,
    "sender": C,
    "account": C,
    "number": P,
    "text": P,
    "temporary": T,
    "new": U,
}


@dataclass(kw_only=True)
class Connection:
    """Simulated provider, its configured gateway and the callback listener."""

    account: Aggregator
    gateway: Gateway
    handler: RecordingCallbackHandler
    listener: CallbackListener


@asynccontextmanager
async def connected(provider: str, **changes: Any) -> AsyncIterator[Connection]:
    account = Aggregator(secret=SECRET, callback_secret=CALLBACK_SECRET)
    handler = RecordingCallbackHandler(contents={"d42-1": SmsContent(text=TEXT)}, reply=TEXT)
    listener = CallbackListener(handler=handler)
    async with serve(SIMULATORS[provider](account)) as base_url, serve(listener.app()) as public:
        listener.public_base = public
        gateway = sms_providers.build(provider, base_url, SECRET, f"{public}/sms-{provider}", **changes)
        listener.gateways[f"sms-{provider}"] = gateway
        yield Connection(account=account, gateway=gateway, handler=handler, listener=listener)
        await gateway.close()


async def refused(call: Any) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        await call
    return raised.value


@pytest.mark.parametrize("provider", SIMULATORS)
@pytest.mark.parametrize("wrong", ERROR_CLASSES)
async def test_error_code_has_configured_class_and_queues_no_message(provider: str, wrong: str) -> None:
    async with connected(provider) as connection:
        connection.account.refusals.append(wrong)
        error = await refused(connection.gateway.send(ORDER))

        assert error.error is ERROR_CLASSES[wrong]
        assert error.code == (AWAN_CODES[wrong] if provider == "awan" else SURIA_CODES[wrong][1])
        assert connection.account.messages == []


def test_error_class_table_covers_all_simulator_codes() -> None:
    assert {*ERROR_CLASSES, "duplicate"} == set(AWAN_CODES) == set(SURIA_CODES)


@pytest.mark.parametrize("provider", SIMULATORS)
async def test_send_duplicate_is_reported_accepted(provider: str) -> None:
    async with connected(provider) as connection:
        await connection.gateway.send(ORDER)
        again = await connection.gateway.send(ORDER)

        assert (again.progress, again.provider_id) == (SubmissionState.ACCEPTED, "d42-1")
        assert len(connection.account.messages) == 1


@pytest.mark.parametrize("provider", SIMULATORS)
async def test_send_prefixes_rm0_once(provider: str) -> None:
    async with connected(provider) as connection:
        await connection.gateway.send(ORDER)
        (message,) = connection.account.messages
    assert message.text == TEXT
    assert message.to == (NUMBER.removeprefix("+") if provider == "awan" else NUMBER)


@pytest.mark.parametrize("provider", SIMULATORS)
@pytest.mark.parametrize(
    ("state", "progress", "error"),
    [
        ("Q", SubmissionState.ACCEPTED, None),
        ("S", SubmissionState.SENT, None),
        ("D", SubmissionState.DELIVERED, None),
        ("X", SubmissionState.FAILED, T),
        ("U", SubmissionState.FAILED, P),
        ("BAHARU", SubmissionState.ACCEPTED, None),
    ],
)
async def test_check_and_find_return_configured_state(
    provider: str, state: str, progress: SubmissionState, error: ErrorClass | None
) -> None:
    async with connected(provider) as connection:
        sent = await connection.gateway.send(ORDER)
        connection.account.messages[0].state = state
        report = await connection.gateway.check(ORDER, sent.provider_id or "")
        found = await connection.gateway.find(ORDER)

    assert (report.progress, report.error, report.provider_id) == (progress, error, "91")
    assert found == report


async def test_find_without_own_reference_is_uncertain_not_found() -> None:
    receipts = sms_providers.settings("awan")["receipts"] | {"fields": {"id": "{id}"}}
    gateway = sms_providers.build("awan", "http://127.0.0.1:1", SECRET, receipts=receipts)
    assert await gateway.find(ORDER) == SubmissionNotFound(certain=False)
    await gateway.close()


async def test_provider_without_receipts_reports_accepted() -> None:
    gateway = sms_providers.build("awan", "http://127.0.0.1:1", SECRET, receipts=None, states={})
    assert await gateway.find(ORDER) == SubmissionNotFound(certain=False)
    assert await gateway.check(ORDER, "91") == DeliveryReport(progress=SubmissionState.ACCEPTED, provider_id="91")
    await gateway.close()


@asynccontextmanager
async def recorder(answer: str, status: int = 200) -> AsyncIterator[tuple[str, list[tuple[Request, bytes]]]]:
    seen: list[tuple[Request, bytes]] = []

    async def note(request: Request) -> Response:
        seen.append((request, await request.body()))
        return PlainTextResponse(answer, status_code=status)

    async with serve(Starlette(routes=[Route("/{path:path}", note, methods=["GET", "POST"])])) as base_url:
        yield base_url, seen


async def test_kannel_send_uses_documented_request() -> None:
    """The request follows docs/how-to/operator/sms-providers.md."""
    async with recorder("0: Accepted for delivery", 202) as (base_url, seen):
        gateway = sms_providers.build("modem", base_url, SECRET, "https://pantau.contoh.gov.my/callbacks/sms-modem")
        report = await gateway.send(ORDER)
        await gateway.close()
    asked = dict(seen[0][0].query_params)

    assert report.provider_id == "d42-1", "it gives none"
    assert seen[0][0].url.path == "/cgi-bin/sendsms"
    assert (asked["username"], asked["password"], asked["to"], asked["text"]) == ("pantau", SECRET, NUMBER, TEXT)
    assert (asked["coding"], asked["validity"]) == ("0", "5")
    dlr = urlsplit(asked["dlr-url"])
    assert dlr.path == "/callbacks/sms-modem/status/d42-1"
    assert parse_qs(dlr.query) == {"key": [CALLBACK_SECRET], "t": ["%d"]}


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        ("3: Queued for later delivery", 202, U),
        ("4: Temporal failure, try again later.", 503, T),
        ("Authorization failed for sendsms", 403, C),
        ("Number(s) has/have been denied by white- and/or black-lists.", 400, P),
    ],
)
async def test_kannel_error_answer_has_error_class(answer: str, status: int, error: ErrorClass) -> None:
    async with recorder(answer, status) as (base_url, _):
        gateway = sms_providers.build("modem", base_url, SECRET)
        assert (await refused(gateway.send(ORDER))).error is error
        await gateway.close()


@pytest.mark.parametrize(
    ("t", "progress"), [("8", SubmissionState.SENT), ("1", SubmissionState.DELIVERED), ("34", SubmissionState.FAILED)]
)
async def test_kannel_status_callback_reads_query(t: str, progress: SubmissionState) -> None:
    handler = RecordingCallbackHandler(contents={"d42-1": SmsContent(text=TEXT)})
    gateway = sms_providers.build("modem", "", SECRET, "https://x/callbacks/sms-modem")
    url = f"https://x/callbacks/sms-modem/status/d42-1?key={CALLBACK_SECRET}&t={t}"
    await gateway.handle_callback(CallbackRequest(path="status/d42-1", url=url, form={}, headers={}, body=b""), handler)
    assert [(event.reference, event.report and event.report.progress) for event in handler.events] == [
        ("d42-1", progress)
    ]
    for wrong in (url.replace(CALLBACK_SECRET, "salah"), url.partition("?")[0]):
        with pytest.raises(CallbackRejectedError, match="secret"):
            await gateway.handle_callback(
                CallbackRequest(path="status/d42-1", url=wrong, form={}, headers={}, body=b""), handler
            )
    await gateway.close()


async def test_send_formats_number_as_configured() -> None:
    fields = {"to": "{to_local}", "msg": "{text}", "ttl": "{seconds}", "n": "{callback}"}
    async with recorder("code=0") as (base_url, seen):
        gateway = sms_providers.build(
            "awan", base_url, SECRET, fields=fields, method="form", headers={"X-Kunci": "{secret}"}, receipts=None
        )
        await gateway.send(ORDER)
        abroad = await refused(gateway.send(replace(ORDER, address="+6580000000")))
        await gateway.close()
    ((request, body),) = seen
    assert request.headers["x-kunci"] == SECRET
    assert parse_qs(body.decode()) == {"to": ["0100000101"], "msg": [TEXT.removeprefix("RM0 ")], "ttl": ["300"]}
    assert abroad.error is P
    assert abroad.detail == "not a Malaysian number"


async def test_send_keeps_query_of_configured_url() -> None:
    async with recorder("code=0") as (base_url, seen):
        gateway = sms_providers.build("awan", "", SECRET, url=f"{base_url}/api/?act=send", receipts=None)
        await gateway.send(ORDER)
        await gateway.close()
    assert seen[0][0].url.path == "/api/"
    assert seen[0][0].query_params["act"] == "send"


@pytest.mark.parametrize("answer", ["", "<html>code=0</html>" * 5000, "code=", "OK", "\0\0", "code=0,id=" + "9" * 500])
async def test_send_malformed_answer_is_unknown_error(answer: str) -> None:
    async with recorder(answer) as (base_url, _):
        gateway = sms_providers.build("awan", base_url, SECRET)
        if "code=0" in answer:
            assert (await gateway.send(ORDER)).provider_id == "d42-1"
        else:
            assert (await refused(gateway.send(ORDER))).error is U
        await gateway.close()


@pytest.mark.parametrize("answer", [f"code={NUMBER[1:]}", f"code={'9' * 30}"])
async def test_error_code_resembling_number_is_not_exposed(answer: str) -> None:
    async with recorder(answer) as (base_url, _):
        gateway = sms_providers.build("awan", base_url, SECRET)
        error = await refused(gateway.send(ORDER))
        await gateway.close()
    assert (error.error, error.code) == (U, "")


def state(status: str = "D", **more: str) -> dict[str, str]:
    return {"client_ref": "d42-1", "status": status, "message_id": "91", **more}


async def test_signed_status_callback_is_accepted_and_repeated_one_ignored() -> None:
    async with connected("suria") as connection:
        await connection.gateway.send(ORDER)
        (message,) = connection.account.messages
        for status in ("S", "D", "D"):
            assert (
                await connection.account.send_callback(
                    "POST", message.callback, **signed(CALLBACK_SECRET, state(status))
                )
                == 200
            )

    reports = [event.report.progress for event in connection.handler.events if event.report]
    assert reports == [SubmissionState.SENT, SubmissionState.DELIVERED]
    assert connection.handler.repeated == ["91/D"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda sent: sent | {"content": sent["content"].replace(b"d42-1", b"d42-2")}, 403),
        (lambda sent: sent | {"headers": {"X-Suria-Signature": ""}}, 403),
        (lambda sent: sent | {"headers": {"X-Suria-Signature": "AAAA"}}, 403),
        (lambda _: {}, 403),
        (lambda _: signed("salah-sama-sekali-kuncinya", state()), 403),
        (lambda _: signed(CALLBACK_SECRET, state("BAHARU")), 400),
        (lambda _: signed(CALLBACK_SECRET, {"status": "D"}), 400),
        (lambda _: signed(CALLBACK_SECRET, {"status": "D", "client_ref": "d42-1"}), 200),
        (lambda _: signed(CALLBACK_SECRET, {"client_ref": "d42-9", "status": "D"}), 400),
        (lambda _: signed(CALLBACK_SECRET, state() | {"client_ref": "d42-1\0" * 40}), 400),
    ],
)
async def test_callback_requires_valid_signature_and_known_state(change: Callable[[Any], Any], status: int) -> None:
    async with connected("suria") as connection:
        url = f"{connection.listener.public_base}/sms-suria/status/d42-1"
        assert await connection.account.send_callback("POST", url, **change(signed(CALLBACK_SECRET, state()))) == status
    assert len(connection.handler.events) == (status == 200)


async def test_status_callback_on_url_of_other_message_is_rejected() -> None:
    async with connected("suria") as connection:
        url = f"{connection.listener.public_base}/sms-suria/status/d42-2"
        assert await connection.account.send_callback("POST", url, **signed(CALLBACK_SECRET, state())) == 400
        assert connection.handler.events == []


@pytest.mark.parametrize("path", ["", "lain", "status/d42-1/lagi", "smsx"])
async def test_callback_on_unknown_path_is_not_found(path: str) -> None:
    async with connected("suria") as connection:
        url = f"{connection.listener.public_base}/sms-suria/{path}"
        assert await connection.account.send_callback("POST", url, **signed(CALLBACK_SECRET, state())) == 404


@pytest.mark.parametrize("sender", ["60100000101", "+60 10-000 0101", "0100000101", "0060100000101"])
async def test_repeated_reply_callback_is_answered_once(sender: str) -> None:
    async with connected("suria") as connection:
        url = f"{connection.listener.public_base}/sms-suria/sms"
        received = {"from": sender, "body": "1A", "message_id": "mo7"}
        for _ in range(2):
            assert await connection.account.send_callback("POST", url, **signed(CALLBACK_SECRET, received)) == 200
        assert (
            await connection.account.send_callback("POST", url, **signed(CALLBACK_SECRET, received | {"from": "SPAM"}))
            == 400
        )

        assert [(each.sender, each.text, each.event_id) for each in connection.handler.received] == [
            (NUMBER, "1A", "mo7/received")
        ]
        assert [message.to for message in connection.account.messages] == [NUMBER]
        assert isinstance(connection.gateway, SupportsReplies)
        assert connection.gateway.receives_replies


async def test_failed_answer_to_reply_is_not_resent() -> None:
    async with connected("suria") as connection:
        connection.account.refusals.append("balance")
        received = {"from": NUMBER, "body": "1A", "message_id": "mo7"}
        url = f"{connection.listener.public_base}/sms-suria/sms"
        assert await connection.account.send_callback("POST", url, **signed(CALLBACK_SECRET, received)) == 200
        assert (connection.account.messages, len(connection.handler.received)) == ([], 1)


@pytest.mark.parametrize(
    ("proof", "headers", "query", "peer", "count"),
    [
        ({"secret_header": "X-Kunci", "secret": CALLBACK_SECRET}, {"x-kunci": CALLBACK_SECRET}, "", "", 1),
        ({"secret_header": "X-Kunci", "secret": CALLBACK_SECRET}, {"x-kunci": "salah"}, "", "", 0),
        ({"secret_header": "X-Kunci", "secret": CALLBACK_SECRET}, {}, f"&kunci={CALLBACK_SECRET}", "", 0),
        ({"secret_field": "kunci", "secret": CALLBACK_SECRET}, {}, f"&kunci={CALLBACK_SECRET}", "", 1),
        ({"secret_field": "kunci", "secret": CALLBACK_SECRET}, {}, "", "", 0),
        ({"addresses": ["203.0.113.0/24"]}, {}, "", "203.0.113.9", 1),
        ({"addresses": ["203.0.113.0/24"]}, {}, "", "198.51.100.9", 0),
        ({"addresses": ["203.0.113.0/24"]}, {}, "", "", 0),
        (
            {"addresses": ["203.0.113.0/24"], "secret_field": "kunci", "secret": CALLBACK_SECRET},
            *({}, "", "203.0.113.9", 0),
        ),
    ],
)
async def test_callback_must_pass_every_configured_check(
    proof: dict[str, Any], headers: dict[str, str], query: str, peer: str, count: int
) -> None:
    callback = {"reference": "ref", "state": "state", **proof}
    gateway = sms_providers.build("awan", "", SECRET, "https://x/callbacks/sms-awan", callback=callback)
    handler = RecordingCallbackHandler(contents={"d42-1": SmsContent(text=TEXT)})
    url = f"https://x/callbacks/sms-awan/status?ref=d42-1&state=D{query}"
    incoming = CallbackRequest(path="status", url=url, form={}, headers=headers, body=b"", peer=peer)
    if count:
        await gateway.handle_callback(incoming, handler)
    else:
        with pytest.raises(CallbackRejectedError) as raised:
            await gateway.handle_callback(incoming, handler)
        assert raised.value.status == 403
    assert len(handler.events) == count
    await gateway.close()


async def test_body_signature_does_not_authenticate_query() -> None:
    callback = {"reference": "ref", "state": "state", "signature_header": "X-Tanda", "secret": CALLBACK_SECRET}
    gateway = sms_providers.build("awan", "", SECRET, "https://x/callbacks/sms-awan", callback=callback)
    headers = {"x-tanda": signed(CALLBACK_SECRET, {})["headers"]["X-Suria-Signature"]}
    incoming = CallbackRequest(
        path="status", url="https://x/callbacks/sms-awan/status?ref=d42-1&state=D", form={}, headers=headers, body=b"{}"
    )
    with pytest.raises(CallbackRejectedError, match="not a state"):
        await gateway.handle_callback(incoming, RecordingCallbackHandler())
    await gateway.close()


RESULTS = {
    "format": "json",
    "reference": "results.0.callbackData",
    "state": "results.0.status.groupName",
    "id": "results.0.messageId",
    "reply": {"sender": "results.0.from", "text": "results.0.text", "id": "results.0.messageId"},
    "secret_header": "X-Kunci",
    "secret": CALLBACK_SECRET,
}


async def bring_results(path: str, results: Any) -> tuple[int, RecordingCallbackHandler]:
    """Bring several events in one callback, as Infobip does. Return the status and the handler."""
    handler = RecordingCallbackHandler(contents={"d42-1": SmsContent(text=TEXT), "d42-2": SmsContent(text=TEXT)})
    gateway = sms_providers.build("suria", "", SECRET, "https://x/callbacks/sms-suria", callback=RESULTS)
    body = json.dumps({"results": results}).encode()
    incoming = CallbackRequest(
        path=path, url=f"https://x/{path}", form={}, headers={"X-Kunci": CALLBACK_SECRET}, body=body
    )
    try:
        status = (await gateway.handle_callback(incoming, handler)).status
    except CallbackRejectedError as refused:
        status = refused.status
    await gateway.close()
    return status, handler


def reply(sender: str, text: str, id_: str) -> dict[str, str]:
    return {"from": sender, "to": "63001", "text": text, "messageId": id_}


def result(reference: str, group: str) -> dict[str, Any]:
    return {"callbackData": reference, "messageId": f"m-{reference}", "status": {"groupName": group}}


@pytest.mark.parametrize(
    ("results", "status", "texts"),
    [
        ([reply("60100000101", "2A", "mo1"), reply("60100000102", "1A", "mo2")], 200, ["2A", "1A"]),
        ([reply("SPAM", "Menang RM5", "mo1"), reply("60100000102", "1A", "mo2")], 400, ["1A"]),
        ([reply("60100000102", "1A", "mo2"), reply("60100000102", "1A", "mo2")], 200, ["1A"]),
        (["", reply("60100000102", "1A", "mo2")], 400, ["1A"]),
        ([], 200, []),
        (reply("60100000102", "1A", "mo2"), 400, []),
    ],
)
async def test_callback_with_list_reads_every_reply(results: Any, status: int, texts: list[str]) -> None:
    answered, handler = await bring_results("sms", results)
    assert (answered, [each.text for each in handler.received]) == (status, texts)


@pytest.mark.parametrize(
    ("results", "status", "references"),
    [
        ([result("d42-1", "D"), result("d42-2", "S")], 200, ["d42-1", "d42-2"]),
        ([result("d42-1", "BAHARU"), result("d42-2", "D")], 400, ["d42-2"]),
    ],
)
async def test_callback_with_list_reads_every_state(results: Any, status: int, references: list[str]) -> None:
    answered, handler = await bring_results("status", results)
    assert (answered, [each.reference for each in handler.events]) == (status, references)


async def test_callback_not_configured_is_rejected() -> None:
    gateway = sms_providers.build("awan", "", SECRET)
    with pytest.raises(CallbackRejectedError):
        await gateway.handle_callback(
            CallbackRequest(path="status", url="https://x/status", form={}, headers={}, body=b""),
            RecordingCallbackHandler(),
        )
    await gateway.close()


async def test_password_in_query_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with connected("awan") as connection:
        await connection.gateway.send(ORDER)
        await refused(asyncio.wait_for(connection.gateway.check(replace(ORDER, reference="tiada"), ""), 5))
        settings = sms_providers.settings("awan", "http://127.0.0.1:1", SECRET)
        shown = repr(connection.gateway) + caplog.text + repr(HttpSmsSettings.model_validate(settings))
    assert SECRET not in shown
    assert NUMBER[1:] not in caplog.text


def test_simulator_signs_as_documented() -> None:
    assert json.loads(signed("k", {"a": 1})["content"]) == {"a": 1}
    assert Message(id="1", to=NUMBER, text=TEXT, reference="d1-1").state == "Q"
