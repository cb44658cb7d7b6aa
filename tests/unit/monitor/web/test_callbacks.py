"""Gateway callbacks, and requests of unknown clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from alerts.model.gateway import CallbackRejectedError, CallbackResponse
from monitor.runtime.log_throttle import LogThrottle
from monitor.web.callbacks import MAX_BODY, MAX_FIELDS, MAX_FORM, MAX_LARGE_BODIES, callbacks
from tests.unit.monitor.web.fake_service import BASE, Service, client

PATH = "/callbacks/sms-contoh/status/d42-1"


async def test_callback_reaches_gateway_unchanged() -> None:
    service = Service(answer=CallbackResponse(status=200, body="<Response/>", media_type="text/xml"))
    async with client(callbacks(service), host="penyerang.example") as web:
        answer = await web.post(f"{PATH}?n=1", data={"Digits": ["1", "2"], "Empty": ""}, headers={"X-Sign": "abc"})

    assert (answer.status_code, answer.text) == (200, "<Response/>")
    assert answer.headers["content-type"].startswith("text/xml")
    (incoming,) = service.received_callbacks
    assert incoming.path == "status/d42-1"
    assert incoming.url == f"{BASE}/status/d42-1?n=1"
    assert incoming.form == {"Digits": ["1", "2"], "Empty": [""]}
    assert incoming.headers["x-sign"] == "abc"


async def test_callback_without_form_is_passed_as_body() -> None:
    service = Service(answer=CallbackResponse())
    async with client(callbacks(service)) as web:
        answer = await web.post(PATH, json={"a": 1})

    assert answer.status_code == 204
    assert service.received_callbacks[0].form == {}
    assert service.received_callbacks[0].body == b'{"a":1}'


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/api/v1/incidents", "/callbacks/", "/callbacks/other/x", "/-/reload"]
)
async def test_callbacks_other_paths_are_not_found(path: str) -> None:
    service = Service()
    async with client(callbacks(service)) as web:
        answer = await web.post(path, content=b"x" * (MAX_BODY + 1))

    assert answer.status_code == 404
    assert service.received_callbacks == []


@pytest.mark.parametrize(("size", "status"), [(MAX_BODY, 204), (MAX_BODY + 1, 413)])
async def test_callback_body_size_is_limited(size: int, status: int) -> None:
    service = Service(answer=CallbackResponse())
    async with client(callbacks(service)) as web:
        answer = await web.post(PATH, content=b"x" * size)

    assert answer.status_code == status
    assert len(service.received_callbacks) == (status == 204)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_callback_rejected_is_answered_without_reason(status: int) -> None:
    async with client(
        callbacks(Service(answer=CallbackRejectedError(status, "signature of +60100000101 is wrong")))
    ) as web:
        answer = await web.post(PATH)

    assert (answer.status_code, answer.text) == (status, "")


async def test_callback_internal_error_reveals_nothing() -> None:
    async with client(callbacks(Service(answer=RuntimeError("token kata-laluan-contoh")))) as web:
        answer = await web.post(PATH)

    assert answer.status_code == 500
    assert "contoh" not in answer.text
    assert "Traceback" not in answer.text


async def test_callback_of_removed_gateway_is_not_found() -> None:
    async with client(callbacks(Service(answer=None))) as web:
        assert (await web.post(PATH)).status_code == 404


@pytest.mark.parametrize("form", [b"a=1&" * (MAX_FIELDS + 1), b"a=" + b"x" * MAX_FORM])
async def test_callback_form_too_large_is_refused(form: bytes) -> None:
    service = Service(answer=CallbackResponse())
    async with client(callbacks(service)) as web:
        answer = await web.post(PATH, content=form, headers={"Content-Type": "application/x-www-form-urlencoded"})

    assert answer.status_code == 413
    assert service.received_callbacks == []


async def test_callbacks_slow_large_bodies_are_limited_and_forms_do_not_wait() -> None:
    service, go_on = Service(answer=CallbackResponse()), asyncio.Event()
    arrived = asyncio.Semaphore(0)

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        arrived.release()
        await go_on.wait()

    async with client(callbacks(service)) as web, asyncio.TaskGroup() as strangers:
        held = [strangers.create_task(web.post(PATH, content=slow())) for _ in range(MAX_LARGE_BODIES)]
        for _ in held:
            await arrived.acquire()
        one_more = await web.post(PATH, json={"a": 1})
        key = await web.post(PATH, data={"Digits": "1"})
        go_on.set()

    assert (one_more.status_code, one_more.headers["retry-after"]) == (503, "5"), "its provider comes again"
    assert key.status_code == 204
    assert {task.result().status_code for task in held} == {204}


@pytest.mark.parametrize("kind", [b"application/json", b"application/x-www-form-urlencoded"])
async def test_callback_client_disconnect_is_no_error(kind: bytes) -> None:
    service = Service(answer=CallbackResponse())
    messages = iter([{"type": "http.request", "body": b"Digits=1", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    async def send(_: Any) -> None:
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", kind)],
    }
    await callbacks(service)(scope, receive, send)

    assert service.received_callbacks == []


async def test_callback_repeated_rejection_is_logged_once_per_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(answer=CallbackRejectedError(403, "no signature"))
    seconds = iter([0.0, 0.0, 0.0, 60.0, 60.0, 60.0])
    monkeypatch.setattr("monitor.web.callbacks.LogThrottle", lambda: LogThrottle(seconds.__next__))
    with capture_logs() as lines:
        async with client(callbacks(service)) as web:
            for _ in range(5):
                assert (await web.post(PATH)).status_code == 403
            service.answer = CallbackRejectedError(400, "not a status of a call")
            await web.post(PATH)

    assert [line["reason"] for line in lines] == ["no signature", "no signature", "not a status of a call"]
