"""Gateways without callbacks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerts.gateways import sinch_fax
from alerts.gateways.twilio import sms as twilio_sms
from alerts.gateways.twilio import voice as twilio_voice
from alerts.model.gateway import (
    Content,
    DeliveryError,
    ErrorClass,
    Gateway,
    GatewayContext,
    GatewayKind,
    PageContent,
    Script,
    SendRequest,
    SmsContent,
    VoiceContent,
)
from pantau_lab.carrier import api as carrier_api
from pantau_lab.carrier.carrier import Carrier
from pantau_lab.faxservice import api as fax_api
from pantau_lab.faxservice.service import FaxService
from pantau_lab.serving import serve

MOBILE, FAX = "+60100000101", "+60300000201"


def order(content: Content, *, to: str, expires_in: timedelta = timedelta(minutes=5)) -> SendRequest:
    now = datetime.now(UTC)
    return SendRequest(reference="d1-1", address=to, content=content, created_at=now, expires_at=now + expires_in)


def call(block: str) -> VoiceContent:
    script = Script(
        language="ms-MY", blocks=(block,), menu="Tekan satu.", thanks="Direkodkan.", already="Telah.", goodbye="Sekian."
    )
    return VoiceContent(scripts=(script,))


@asynccontextmanager
async def without_callback(kind: GatewayKind, **settings: Any) -> AsyncIterator[Gateway]:
    gateway = kind.build(kind.config.model_validate(settings), GatewayContext(callback_base=None, directory="."))
    yield gateway
    await gateway.close()


@pytest.fixture
async def carrier() -> Carrier:
    carrier = Carrier()
    carrier.phone(MOBILE, keys=["1"])
    return carrier


@asynccontextmanager
async def twilio(kind: GatewayKind, carrier: Carrier) -> AsyncIterator[Gateway]:
    account = {
        "account_sid": carrier.account_sid,
        "auth_token": carrier.auth_token,
        "from_number": "+60300000100",
    }
    async with (
        serve(carrier_api.app(carrier)) as base_url,
        without_callback(kind, base_url=base_url, **account) as gateway,
    ):
        yield gateway


async def test_voice_without_callback_speaks_without_gather(carrier: Carrier) -> None:
    async with twilio(twilio_voice.GATEWAY, carrier) as gateway:
        await gateway.send(order(call("Perhatian."), to=MOBILE))
        await carrier.settled()
    (made,) = carrier.calls
    assert made.text.split("\n") == ["Perhatian.", "Perhatian.", "Sekian."]
    assert (made.callback, made.fallback_url, made.keys) == ("", "", "")


async def test_voice_script_too_long_for_inline_is_rejected(carrier: Carrier) -> None:
    async with twilio(twilio_voice.GATEWAY, carrier) as gateway:
        with pytest.raises(DeliveryError) as raised:
            await gateway.send(order(call("a" * 4000), to=MOBILE))
    assert raised.value.error is ErrorClass.PERMANENT
    assert carrier.calls == []


@pytest.mark.parametrize(
    ("expires_in", "least", "most"),
    [(timedelta(days=2), 36000, 36000), (timedelta(minutes=-1), 1, 1), (timedelta(minutes=5), 295, 300)],
)
async def test_sms_validity_ends_at_expiry_within_limits(
    carrier: Carrier, expires_in: timedelta, least: int, most: int
) -> None:
    async with twilio(twilio_sms.GATEWAY, carrier) as gateway:
        await gateway.send(order(SmsContent(text="RM0 JPC: ujian. Ruj JPC-07"), to=MOBILE, expires_in=expires_in))
    assert least <= carrier.messages[0].validity <= most
    assert carrier.messages[0].callback == ""


async def test_sms_validity_is_independent_of_local_clock(carrier: Carrier) -> None:
    made = order(SmsContent(text="RM0 JPC: ujian. Ruj JPC-07"), to=MOBILE)
    an_hour_behind = replace(
        made, created_at=made.created_at - timedelta(hours=1), expires_at=made.expires_at - timedelta(hours=1)
    )
    async with twilio(twilio_sms.GATEWAY, carrier) as gateway:
        await gateway.send(an_hour_behind)
    assert carrier.messages[0].validity == 300


async def test_fax_without_callback_secret_requests_no_callback() -> None:
    service = FaxService()
    service.machine(FAX)
    project = {
        "project_id": service.project_id,
        "key_id": service.key_id,
        "key_secret": service.key_secret,
        "from_number": "+60300000100",
    }
    async with serve(fax_api.app(service)) as base_url:
        kind = sinch_fax.GATEWAY
        settings = kind.config.model_validate({**project, "base_url": base_url})
        gateway = kind.build(settings, GatewayContext(callback_base="https://pantau.contoh.example/fax", directory="."))
        await gateway.send(order(PageContent(pdf=b"%PDF-1.7", title="Ujian", pages=1), to=FAX))
        await gateway.close()
    assert service.faxes[0].callback_url == ""
