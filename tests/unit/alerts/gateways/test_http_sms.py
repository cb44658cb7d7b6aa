"""A provider that is only described: its error table, what it brings, and how it proves who it is."""

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
FACES: dict[str, Callable[[Aggregator], Starlette]] = {"awan": awan, "suria": suria}
T, P, C, U = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.CONFIGURATION, ErrorClass.UNKNOWN
#: What each fault of an error table is for the next step.
CLASSES = {
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
class Scene:
    """A provider, the gateway that is described for it, and the listener that it calls."""

    account: Aggregator
    gateway: Gateway
    desk: RecordingCallbackHandler
    listener: CallbackListener


@asynccontextmanager
async def scene(provider: str, **changes: Any) -> AsyncIterator[Scene]:
    account = Aggregator(secret=SECRET, callback_secret=CALLBACK_SECRET)
    desk = RecordingCallbackHandler(contents={"d42-1": SmsContent(text=TEXT)}, answers=TEXT)
    listener = CallbackListener(desk=desk)
    async with serve(FACES[provider](account)) as base_url, serve(listener.app()) as public:
        listener.public_base = public
        gateway = sms_providers.build(provider, base_url, SECRET, f"{public}/sms-{provider}", **changes)
        listener.gateways[f"sms-{provider}"] = gateway
        yield Scene(account=account, gateway=gateway, desk=desk, listener=listener)
        await gateway.close()


async def refused(call: Any) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        await call
    return raised.value


@pytest.mark.parametrize("provider", FACES)
@pytest.mark.parametrize("wrong", CLASSES)
async def test_each_code_of_the_table_has_its_class_and_takes_nothing(provider: str, wrong: str) -> None:
    async with scene(provider) as play:
        play.account.refusals.append(wrong)
        error = await refused(play.gateway.send(ORDER))

        assert error.error is CLASSES[wrong]
        assert error.code == (AWAN_CODES[wrong] if provider == "awan" else SURIA_CODES[wrong][1])
        assert play.account.messages == []


def test_the_tables_of_the_stand_ins_are_all_tried() -> None:
    assert {*CLASSES, "duplicate"} == set(AWAN_CODES) == set(SURIA_CODES)


@pytest.mark.parametrize("provider", FACES)
async def test_what_the_provider_has_already_is_taken_as_sent(provider: str) -> None:
    async with scene(provider) as play:
        await play.gateway.send(ORDER)
        again = await play.gateway.send(ORDER)

        assert (again.progress, again.provider_id) == (SubmissionState.ACCEPTED, "d42-1")
        assert len(play.account.messages) == 1


@pytest.mark.parametrize("provider", FACES)
async def test_rm0_stands_in_front_once_whoever_writes_it(provider: str) -> None:
    async with scene(provider) as play:
        await play.gateway.send(ORDER)
        (message,) = play.account.messages
    assert message.text == TEXT
    assert message.to == (NUMBER.removeprefix("+") if provider == "awan" else NUMBER)


@pytest.mark.parametrize("provider", FACES)
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
async def test_what_became_of_it_is_asked(
    provider: str, state: str, progress: SubmissionState, error: ErrorClass | None
) -> None:
    async with scene(provider) as play:
        sent = await play.gateway.send(ORDER)
        play.account.messages[0].state = state
        report = await play.gateway.check(ORDER, sent.provider_id or "")
        found = await play.gateway.find(ORDER)

    assert (report.progress, report.error, report.provider_id) == (progress, error, "91")
    assert found == report


async def test_a_provider_that_goes_by_its_own_id_alone_cannot_be_asked_after_a_lost_answer() -> None:
    receipts = sms_providers.settings("awan")["receipts"] | {"fields": {"id": "{id}"}}
    gateway = sms_providers.build("awan", "http://127.0.0.1:1", SECRET, receipts=receipts)
    assert await gateway.find(ORDER) == SubmissionNotFound(certain=False)
    await gateway.close()


async def test_without_receipts_an_sms_stays_as_it_was_taken() -> None:
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


async def test_kannel_is_one_more_provider() -> None:
    """As its own HTTP interface has it: docs/how-to/operator/sms-providers.md."""
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
async def test_kannel_says_why_not(answer: str, status: int, error: ErrorClass) -> None:
    async with recorder(answer, status) as (base_url, _):
        gateway = sms_providers.build("modem", base_url, SECRET)
        assert (await refused(gateway.send(ORDER))).error is error
        await gateway.close()


@pytest.mark.parametrize(
    ("t", "progress"), [("8", SubmissionState.SENT), ("1", SubmissionState.DELIVERED), ("34", SubmissionState.FAILED)]
)
async def test_kannel_brings_its_reports_in_the_query(t: str, progress: SubmissionState) -> None:
    desk = RecordingCallbackHandler(contents={"d42-1": SmsContent(text=TEXT)})
    gateway = sms_providers.build("modem", "", SECRET, "https://x/callbacks/sms-modem")
    url = f"https://x/callbacks/sms-modem/status/d42-1?key={CALLBACK_SECRET}&t={t}"
    await gateway.handle_callback(CallbackRequest(path="status/d42-1", url=url, form={}, headers={}, body=b""), desk)
    assert [(heard.reference, heard.report and heard.report.progress) for heard in desk.heard] == [("d42-1", progress)]
    for wrong in (url.replace(CALLBACK_SECRET, "salah"), url.partition("?")[0]):
        with pytest.raises(CallbackRejectedError, match="secret"):
            await gateway.handle_callback(
                CallbackRequest(path="status/d42-1", url=wrong, form={}, headers={}, body=b""), desk
            )
    await gateway.close()


async def test_a_number_is_written_as_the_provider_wants_it() -> None:
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


async def test_what_an_address_has_in_its_query_stays_there() -> None:
    async with recorder("code=0") as (base_url, seen):
        gateway = sms_providers.build("awan", "", SECRET, url=f"{base_url}/api/?act=send", receipts=None)
        await gateway.send(ORDER)
        await gateway.close()
    assert seen[0][0].url.path == "/api/"
    assert seen[0][0].query_params["act"] == "send"


@pytest.mark.parametrize("answer", ["", "<html>code=0</html>" * 5000, "code=", "OK", "\0\0", "code=0,id=" + "9" * 500])
async def test_an_odd_answer_is_taken_for_no_more_than_it_says(answer: str) -> None:
    async with recorder(answer) as (base_url, _):
        gateway = sms_providers.build("awan", base_url, SECRET)
        if "code=0" in answer:
            assert (await gateway.send(ORDER)).provider_id == "d42-1"
        else:
            assert (await refused(gateway.send(ORDER))).error is U
        await gateway.close()


@pytest.mark.parametrize("answer", [f"code={NUMBER[1:]}", f"code={'9' * 30}"])
async def test_a_code_that_may_be_a_number_is_shown_to_nobody(answer: str) -> None:
    async with recorder(answer) as (base_url, _):
        gateway = sms_providers.build("awan", base_url, SECRET)
        error = await refused(gateway.send(ORDER))
        await gateway.close()
    assert (error.error, error.code) == (U, "")


def state(status: str = "D", **more: str) -> dict[str, str]:
    return {"client_ref": "d42-1", "status": status, "message_id": "91", **more}


async def test_a_signed_report_is_believed_and_a_repeated_one_changes_nothing() -> None:
    async with scene("suria") as play:
        await play.gateway.send(ORDER)
        (message,) = play.account.messages
        for status in ("S", "D", "D"):
            assert await play.account.bring("POST", message.callback, **signed(CALLBACK_SECRET, state(status))) == 200

    reports = [heard.report.progress for heard in play.desk.heard if heard.report]
    assert reports == [SubmissionState.SENT, SubmissionState.DELIVERED]
    assert play.desk.repeated == ["91/D"]


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
async def test_only_what_is_signed_and_understood_is_believed(change: Callable[[Any], Any], status: int) -> None:
    async with scene("suria") as play:
        url = f"{play.listener.public_base}/sms-suria/status/d42-1"
        assert await play.account.bring("POST", url, **change(signed(CALLBACK_SECRET, state()))) == status
    assert len(play.desk.heard) == (status == 200)


async def test_a_report_for_one_message_cannot_be_sent_to_the_address_of_another() -> None:
    async with scene("suria") as play:
        url = f"{play.listener.public_base}/sms-suria/status/d42-2"
        assert await play.account.bring("POST", url, **signed(CALLBACK_SECRET, state())) == 400
        assert play.desk.heard == []


@pytest.mark.parametrize("path", ["", "lain", "status/d42-1/lagi", "smsx"])
async def test_an_address_that_we_never_gave_is_not_found(path: str) -> None:
    async with scene("suria") as play:
        url = f"{play.listener.public_base}/sms-suria/{path}"
        assert await play.account.bring("POST", url, **signed(CALLBACK_SECRET, state())) == 404


@pytest.mark.parametrize("sender", ["60100000101", "+60 10-000 0101", "0100000101", "0060100000101"])
async def test_a_person_answers_and_is_answered_once_however_often_it_comes(sender: str) -> None:
    async with scene("suria") as play:
        url = f"{play.listener.public_base}/sms-suria/sms"
        said = {"from": sender, "body": "1A", "message_id": "mo7"}
        for _ in range(2):
            assert await play.account.bring("POST", url, **signed(CALLBACK_SECRET, said)) == 200
        assert await play.account.bring("POST", url, **signed(CALLBACK_SECRET, said | {"from": "SPAM"})) == 400

        assert [(each.sender, each.text, each.event_id) for each in play.desk.said] == [(NUMBER, "1A", "mo7/received")]
        assert [message.to for message in play.account.messages] == [NUMBER]
        assert isinstance(play.gateway, SupportsReplies)
        assert play.gateway.receives_replies


async def test_an_answer_that_cannot_be_sent_is_not_sent_again() -> None:
    async with scene("suria") as play:
        play.account.refusals.append("balance")
        said = {"from": NUMBER, "body": "1A", "message_id": "mo7"}
        url = f"{play.listener.public_base}/sms-suria/sms"
        assert await play.account.bring("POST", url, **signed(CALLBACK_SECRET, said)) == 200
        assert (play.account.messages, len(play.desk.said)) == ([], 1)


@pytest.mark.parametrize(
    ("proof", "headers", "query", "peer", "heard"),
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
async def test_a_callback_proves_who_it_is_by_all_that_is_asked_for(
    proof: dict[str, Any], headers: dict[str, str], query: str, peer: str, heard: int
) -> None:
    callback = {"reference": "ref", "state": "state", **proof}
    gateway = sms_providers.build("awan", "", SECRET, "https://x/callbacks/sms-awan", callback=callback)
    desk = RecordingCallbackHandler(contents={"d42-1": SmsContent(text=TEXT)})
    url = f"https://x/callbacks/sms-awan/status?ref=d42-1&state=D{query}"
    incoming = CallbackRequest(path="status", url=url, form={}, headers=headers, body=b"", peer=peer)
    if heard:
        await gateway.handle_callback(incoming, desk)
    else:
        with pytest.raises(CallbackRejectedError) as raised:
            await gateway.handle_callback(incoming, desk)
        assert raised.value.status == 403
    assert len(desk.heard) == heard
    await gateway.close()


async def test_a_signature_of_the_body_proves_nothing_that_stands_in_the_query() -> None:
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
    """Bring several events in one call, as Infobip does; return the answer's status, and what came of them."""
    desk = RecordingCallbackHandler(contents={"d42-1": SmsContent(text=TEXT), "d42-2": SmsContent(text=TEXT)})
    gateway = sms_providers.build("suria", "", SECRET, "https://x/callbacks/sms-suria", callback=RESULTS)
    body = json.dumps({"results": results}).encode()
    incoming = CallbackRequest(
        path=path, url=f"https://x/{path}", form={}, headers={"X-Kunci": CALLBACK_SECRET}, body=body
    )
    try:
        status = (await gateway.handle_callback(incoming, desk)).status
    except CallbackRejectedError as refused:
        status = refused.status
    await gateway.close()
    return status, desk


def reply(sender: str, text: str, id_: str) -> dict[str, str]:
    return {"from": sender, "to": "63001", "text": text, "messageId": id_}


def result(reference: str, group: str) -> dict[str, Any]:
    return {"callbackData": reference, "messageId": f"m-{reference}", "status": {"groupName": group}}


@pytest.mark.parametrize(
    ("results", "status", "said"),
    [
        ([reply("60100000101", "2A", "mo1"), reply("60100000102", "1A", "mo2")], 200, ["2A", "1A"]),
        ([reply("SPAM", "Menang RM5", "mo1"), reply("60100000102", "1A", "mo2")], 400, ["1A"]),
        ([reply("60100000102", "1A", "mo2"), reply("60100000102", "1A", "mo2")], 200, ["1A"]),
        (["", reply("60100000102", "1A", "mo2")], 400, ["1A"]),
        ([], 200, []),
        (reply("60100000102", "1A", "mo2"), 400, []),
    ],
)
async def test_http_sms_callback_with_a_list_reads_every_reply(results: Any, status: int, said: list[str]) -> None:
    answered, desk = await bring_results("sms", results)
    assert (answered, [each.text for each in desk.said]) == (status, said)


@pytest.mark.parametrize(
    ("results", "status", "heard"),
    [
        ([result("d42-1", "D"), result("d42-2", "S")], 200, ["d42-1", "d42-2"]),
        ([result("d42-1", "BAHARU"), result("d42-2", "D")], 400, ["d42-2"]),
    ],
)
async def test_http_sms_callback_with_a_list_reads_every_state(results: Any, status: int, heard: list[str]) -> None:
    answered, desk = await bring_results("status", results)
    assert (answered, [each.reference for each in desk.heard]) == (status, heard)


async def test_without_a_callback_nobody_is_heard() -> None:
    gateway = sms_providers.build("awan", "", SECRET)
    with pytest.raises(CallbackRejectedError):
        await gateway.handle_callback(
            CallbackRequest(path="status", url="https://x/status", form={}, headers={}, body=b""),
            RecordingCallbackHandler(),
        )
    await gateway.close()


async def test_nothing_is_logged_of_a_password_in_a_query(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with scene("awan") as play:
        await play.gateway.send(ORDER)
        await refused(asyncio.wait_for(play.gateway.check(replace(ORDER, reference="tiada"), ""), 5))
        settings = sms_providers.settings("awan", "http://127.0.0.1:1", SECRET)
        shown = repr(play.gateway) + caplog.text + repr(HttpSmsSettings.model_validate(settings))
    assert SECRET not in shown
    assert NUMBER[1:] not in caplog.text


def test_the_stand_in_signs_as_the_document_says() -> None:
    assert json.loads(signed("k", {"a": 1})["content"]) == {"a": 1}
    assert Message(id="1", to=NUMBER, text=TEXT, reference="d1-1").state == "Q"
