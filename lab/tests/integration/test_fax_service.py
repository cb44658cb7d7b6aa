"""Faxes through the gateway and the simulated fax service, over real sockets."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from alerts.gateways import sinch_fax
from alerts.model.gateway import ErrorClass, Gateway, GatewayContext, PageContent, SendRequest, SubmissionState
from pantau_lab.callbacks import CallbackListener, RecordingCallbackHandler
from pantau_lab.faxservice.api import app
from pantau_lab.faxservice.machine import FaxBehaviour
from pantau_lab.faxservice.service import FaxService
from pantau_lab.provider_fault import CallbackFault
from pantau_lab.serving import serve

NUMBER = "+60300000201"
SECRET = "rahsia-panggil-balik"
PAGE = PageContent(
    pdf=b"%PDF-1.7\n<< /Type /Pages >> << /Type /Page >>\n%%EOF\n",
    title="Gangguan " * 10,
    pages=1,
    sender="JCM 03-0000 3001",
)


@dataclass(kw_only=True)
class World:
    service: FaxService
    desk: RecordingCallbackHandler
    fax: Gateway
    base: str

    def send_request(self, *, reference: str = "d1-1") -> SendRequest:
        now = datetime.now(UTC)
        self.desk.contents[reference] = PAGE
        return SendRequest(
            reference=reference,
            address=NUMBER,
            content=PAGE,
            created_at=now,
            expires_at=now + timedelta(hours=1),
        )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    service, desk = FaxService(), RecordingCallbackHandler()
    listener = CallbackListener(handler=desk)
    async with AsyncExitStack() as stack:
        listener.public_base = await stack.enter_async_context(serve(listener.app()))
        api = await stack.enter_async_context(serve(app(service)))
        settings = sinch_fax.SinchFaxSettings.model_validate(
            {
                "project_id": service.project_id,
                "key_id": service.key_id,
                "key_secret": service.key_secret,
                "from_number": "+60300000100",
                "base_url": api,
                "callback_secret": SECRET,
            }
        )
        fax = sinch_fax.SinchFax(settings, GatewayContext(callback_base=f"{listener.public_base}/fax", directory="."))
        listener.gateways["fax"] = fax
        stack.push_async_callback(fax.close)
        yield World(service=service, desk=desk, fax=fax, base=listener.public_base)


async def test_fax_is_delivered_whole_and_reported_once(world: World) -> None:
    seen: list[str] = []
    world.service.on_fax = lambda machine, title, _pdf: seen.append(f"{machine.number} {title}")
    machine = world.service.machine(NUMBER)
    report = await world.fax.send(world.send_request())
    await world.service.settled()
    heard = world.desk.events[0].report
    assert heard is not None
    assert report.progress is SubmissionState.ACCEPTED
    assert (heard.progress, heard.provider_id) == (SubmissionState.DELIVERED, report.provider_id)
    assert machine.received == [PAGE.pdf]
    assert seen == [f"{NUMBER} {PAGE.sender}"]
    assert world.service.errors == []


@pytest.mark.parametrize(
    ("behaviour", "error", "code"),
    [
        (FaxBehaviour.BUSY, ErrorClass.TRANSIENT, "CALL_ERROR/17"),
        (FaxBehaviour.NO_ANSWER, ErrorClass.TRANSIENT, "CALL_ERROR/16"),
        (FaxBehaviour.NOT_A_FAX, ErrorClass.TRANSIENT, "CALL_ERROR/30"),
        (FaxBehaviour.OUT_OF_PAPER, ErrorClass.TRANSIENT, "FAX_ERROR/48"),
        (FaxBehaviour.DEAD, ErrorClass.PERMANENT, "CALL_ERROR/49"),
    ],
)
async def test_fax_failed_reports_error_class_and_code(
    world: World, behaviour: FaxBehaviour, error: ErrorClass, code: str
) -> None:
    world.service.machine(NUMBER, behaviour=behaviour)
    send_request = world.send_request()
    sent = await world.fax.send(send_request)
    await world.service.settled()
    report = await world.fax.check(send_request, sent.provider_id or "")
    assert (report.progress, report.error, report.code) == (SubmissionState.FAILED, error, code)
    assert world.desk.events[0].report == report
    # Only Pantau retries, not the provider.
    assert world.service.faxes[0].retries == 0


@pytest.mark.parametrize(
    ("kind", "code", "error"),
    [
        ("DOCUMENT_CONVERSION_ERROR", 54, ErrorClass.PERMANENT),
        ("DOCUMENT_CONVERSION_ERROR", 133, ErrorClass.PERMANENT),
        ("CALL_ERROR", 11, ErrorClass.TRANSIENT),
        ("CALL_ERROR", 32, ErrorClass.PERMANENT),
        ("CALL_ERROR", 34, ErrorClass.PERMANENT),
        ("FAX_ERROR", 1, ErrorClass.TRANSIENT),
        ("FAX_ERROR", 31, ErrorClass.PERMANENT),
        ("FAX_ERROR", 68, ErrorClass.PERMANENT),
        ("FAX_ERROR", 46, ErrorClass.CONFIGURATION),
        ("FAX_ERROR", 133, ErrorClass.CONFIGURATION),
        ("LINE_ERROR", 1, ErrorClass.TRANSIENT),
        ("FATAL_ERROR", 1, ErrorClass.PERMANENT),
        ("NEW_ERROR", None, ErrorClass.TRANSIENT),
    ],
)
async def test_fax_error_code_maps_to_error_class(world: World, kind: str, code: int | None, error: ErrorClass) -> None:
    world.send_request()
    fax = {"id": "F1", "status": "FAILURE", "errorType": kind, "errorCode": code}
    assert await post(world, {"event": "FAX_COMPLETED", "fax": fax}) == 200
    report = world.desk.events[0].report
    assert report is not None
    assert report.error is error


async def test_callback_sent_twice_is_one_event(world: World) -> None:
    world.service.machine(NUMBER)
    world.service.callback_fault = CallbackFault.TWICE
    await world.fax.send(world.send_request())
    await world.service.settled()
    assert (len(world.desk.events), len(world.desk.repeated)) == (1, 1)


async def test_callback_before_response_finds_attempt(world: World) -> None:
    world.service.machine(NUMBER)
    world.service.callback_fault = CallbackFault.BEFORE_ANSWER
    await world.fax.send(world.send_request())
    assert [heard.reference for heard in world.desk.events] == ["d1-1"]


async def test_find_tells_two_faxes_to_one_machine_apart(world: World) -> None:
    world.service.machine(NUMBER)
    first, second = world.send_request(), world.send_request(reference="d1-2")
    sent = [await world.fax.send(first), await world.fax.send(second)]
    found = [await world.fax.find(first), await world.fax.find(second)]
    assert [getattr(report, "provider_id", None) for report in found] == [report.provider_id for report in sent]


@pytest.mark.parametrize("secret", ["salah-sama-sekali", "", None])
async def test_callback_without_secret_is_refused(world: World, secret: str | None) -> None:
    world.send_request()
    fax = {"id": "F1", "status": "COMPLETED"}
    assert await post(world, {"event": "FAX_COMPLETED", "fax": fax}, secret=secret) == 403
    assert world.desk.events == []


@pytest.mark.parametrize(
    "event",
    [
        "not JSON",
        ["a list"],
        {"event": "INCOMING_FAX", "fax": {"id": "F1", "status": "COMPLETED"}},
        {"event": "FAX_COMPLETED", "fax": {"id": "F1", "status": "DREAMING"}},
        {"event": "FAX_COMPLETED", "fax": {"status": "COMPLETED"}},
        {"event": "FAX_COMPLETED", "fax": {"id": "F1", "status": "COMPLETED", "labels": {"pantau": "d9-9"}}},
    ],
)
async def test_callback_malformed_is_refused(world: World, event: Any) -> None:
    world.send_request()
    assert await post(world, event) == 400
    assert world.desk.events == []


async def test_callback_multipart_form_is_accepted(world: World) -> None:
    world.send_request()
    fax = json.dumps({"id": "F1", "status": "COMPLETED", "labels": {"pantau": "d1-1"}})
    form: dict[str, Any] = {
        "event": (None, "FAX_COMPLETED"),
        "fax": (None, fax),
        "file": ("page.pdf", b"%PDF-1.7\xff", "application/pdf"),
    }
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{world.base}/fax/done/d1-1", files=form, headers=login(SECRET))
    assert answer.status_code == 200
    assert len(world.desk.events) == 1


async def test_callback_malformed_multipart_form_is_refused(world: World) -> None:
    world.send_request()
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        for body in (b"", b"--x\r\n\r\n--x--", b"--x\r\nContent-Disposition: form-data; name=fax\r\n\r\n\xff\r\n--x--"):
            async with httpx.AsyncClient(trust_env=False) as client:
                headers = {**login(SECRET), "Content-Type": kind}
                answer = await client.post(f"{world.base}/fax/done/d1-1", content=body, headers=headers)
            assert answer.status_code == 400
    assert world.desk.events == []


async def test_callback_unknown_attempt_changes_nothing(world: World) -> None:
    fax = {"id": "F1", "status": "COMPLETED"}
    assert await post(world, {"event": "FAX_COMPLETED", "fax": fax}) == 200
    assert world.desk.events == []


async def test_fax_list_filters_by_label(world: World) -> None:
    world.service.machine(NUMBER)
    await world.fax.send(world.send_request())
    auth = httpx.BasicAuth(world.service.key_id, world.service.key_secret)
    async with serve(app(world.service)) as api, httpx.AsyncClient(trust_env=False, auth=auth) as client:
        url = f"{api}/v3/projects/{world.service.project_id}/faxes"
        for reference, found in (("d1-1", 1), ("d1-2", 0)):
            page = (await client.get(url, params={"labels[pantau]": reference})).json()
            assert page["totalItems"] == found


async def post(world: World, event: Any, *, secret: str | None = SECRET) -> int:
    headers = {} if secret is None else login(secret)
    content = event if isinstance(event, str) else json.dumps(event)
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.post(f"{world.base}/fax/done/d1-1", content=content, headers=headers)).status_code


def login(secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"pantau:{secret}".encode()).decode()}
