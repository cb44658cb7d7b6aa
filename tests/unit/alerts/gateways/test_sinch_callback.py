"""What Sinch, or somebody with its password, may tell us about a fax."""

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
LOGIN = "Basic " + base64.b64encode(f"pantau:{SECRET}".encode()).decode()
DONE = {"id": "01F", "status": "COMPLETED", "labels": {"pantau": "d1-1"}, "pagesSentSuccessfully": 1}


@dataclass(kw_only=True)
class CallbackHandler(RecordingCallbackHandler):
    """Takes down what it is told, as a store does."""

    async def record(self, heard: CallbackEvent) -> AckResult:
        assert heard.report is not None
        text = (heard.reference, heard.event_id, heard.report.provider_id, heard.report.code, heard.report.detail)
        assert all((word or "").encode() is not None for word in text)
        self.heard.append(heard)
        return AckResult.NONE

    async def content(self, reference: str) -> Content | None:
        raise AssertionError(reference)


async def hear(body: bytes, desk: CallbackHandler) -> None:
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
        path="done/d1-1", url=f"{BASE}/done/d1-1", form={}, headers={"authorization": LOGIN}, body=body
    )
    try:
        await gateway.handle_callback(incoming, desk)
    finally:
        await gateway.close()


def completed(**changes: object) -> bytes:
    return json.dumps({"event": "FAX_COMPLETED", "fax": {**DONE, **changes}}).encode()


ODD = {
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


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
async def test_odd_words_with_the_right_password_are_refused(body: bytes) -> None:
    desk = CallbackHandler()
    with pytest.raises(CallbackRejectedError) as refused:
        await hear(body, desk)

    assert refused.value.status == 400
    assert desk.heard == []


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
async def test_a_number_of_pages_that_is_none_does_not_lose_the_news(changes: dict[str, object], detail: str) -> None:
    desk = CallbackHandler()
    await hear(completed(status="FAILURE", **changes), desk)

    [heard] = desk.heard
    assert heard.report is not None
    assert (heard.report.progress, heard.report.detail) == (SubmissionState.FAILED, detail)
