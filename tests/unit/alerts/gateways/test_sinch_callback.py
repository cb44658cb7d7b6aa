"""Callbacks of Sinch, malformed or valid."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

import pytest

from alerts.gateways.sinch_fax import GATEWAY, SinchFax
from alerts.model.gateway import (
    AckResult,
    CallbackEvent,
    CallbackRejectedError,
    CallbackRequest,
    Content,
    GatewayContext,
    SubmissionState,
)
from pantau_lab.callbacks import RecordingCallbackHandler

BASE = "https://pantau.contoh.example/callbacks/faks"
SECRET = "rahsia-panggil-balik"
AUTHORIZATION = "Basic " + base64.b64encode(f"pantau:{SECRET}".encode()).decode()
FAX = {"id": "01F", "status": "COMPLETED", "labels": {"pantau": "d1-1"}, "pagesSentSuccessfully": 1}


@dataclass(kw_only=True)
class StrictCallbackHandler(RecordingCallbackHandler):
    """Callback handler that encodes texts, as a store does."""

    async def record(self, event: CallbackEvent) -> AckResult:
        assert event.report is not None
        text = (event.reference, event.event_id, event.report.provider_id, event.report.code, event.report.detail)
        assert all((word or "").encode() is not None for word in text)
        self.events.append(event)
        return AckResult.NONE

    async def content(self, reference: str) -> Content | None:
        raise AssertionError(reference)


async def deliver(body: bytes, handler: StrictCallbackHandler) -> None:
    config = GATEWAY.config.model_validate(
        {
            "project_id": "p",
            "key_id": "k",
            "key_secret": "rahsia",
            "callback_secret": SECRET,
            "from_number": "+60300000000",
        }
    )
    gateway = GATEWAY.build(config, GatewayContext(callback_base=BASE, directory="."))
    assert isinstance(gateway, SinchFax)
    incoming = CallbackRequest(
        path="done/d1-1", url=f"{BASE}/done/d1-1", form={}, headers={"authorization": AUTHORIZATION}, body=body
    )
    try:
        await gateway.handle_callback(incoming, handler)
    finally:
        await gateway.close()


def completed(**changes: object) -> bytes:
    return json.dumps({"event": "FAX_COMPLETED", "fax": {**FAX, **changes}}).encode()


MALFORMED = {
    "no JSON": b"{",
    "no text": b"\xff\xfe\x00",
    "too deep": b"[" * 200_000,
    "a list": b"[]",
    "no fax": b'{"event": "FAX_COMPLETED"}',
    "a fax that is a list": b'{"event": "FAX_COMPLETED", "fax": []}',
    "a status that is a list": completed(status=["COMPLETED"]),
    "a status that is an object": completed(status={"COMPLETED": 1}),
    "an event that is an object": b'{"event": {}, "fax": {"id": "01F", "status": "COMPLETED"}}',
    "a label that is a list": completed(labels={"pantau": ["d1-1"]}),
    "a label that is an object": completed(labels={"pantau": {}}),
    "half a surrogate pair": completed(id="\ud800"),
    "no id": completed(id=None),
    "another fax": completed(labels={"pantau": "d2-1"}),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_callback_with_valid_password_is_rejected(body: bytes) -> None:
    handler = StrictCallbackHandler()
    with pytest.raises(CallbackRejectedError) as refused:
        await deliver(body, handler)

    assert refused.value.status == 400
    assert handler.events == []


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({}, ""),
        ({"labels": "pantau"}, ""),
        ({"numberOfPages": 2}, "1 of 2 pages"),
        ({"pagesSentSuccessfully": 10**30, "numberOfPages": 2}, ""),
        ({"pagesSentSuccessfully": -1, "numberOfPages": "2"}, ""),
        ({"pagesSentSuccessfully": {}}, ""),
    ],
)
async def test_invalid_page_count_does_not_lose_failure_report(changes: dict[str, object], detail: str) -> None:
    handler = StrictCallbackHandler()
    await deliver(completed(status="FAILURE", **changes), handler)

    [event] = handler.events
    assert event.report is not None
    assert (event.report.progress, event.report.detail) == (SubmissionState.FAILED, detail)
