"""A person's consent to access, requested from an authorization server over real sockets."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from pantau_lab.oauth import AuthorizationServer, TokenEndpointFault, app
from pantau_lab.serving import serve
from probes.credentials.consent import (
    Consent,
    ConsentError,
    DeviceCode,
    NoConsentReason,
    authorization_request,
    exchange_code,
    poll_consent,
    request_device_code,
)
from probes.credentials.oauth_endpoint import Client, RefreshTokenIssuer, RefreshTokenStore
from tests.unit.alerts.people import T0

SECOND = timedelta(seconds=1)
BACK = "https://pantau.contoh.my/mailboxes/consent"
TLS = ssl.create_default_context()


@asynccontextmanager
async def provider(**settings: object) -> AsyncIterator[tuple[AuthorizationServer, Client, str]]:
    server = AuthorizationServer(username="peti@jabatan-contoh.gov.my", **settings)  # type: ignore[arg-type]
    async with serve(app(server)) as url:
        client = Client(
            token_url=f"{url}/token",
            client_id=server.client_id,
            client_secret=server.client_secret,
            scope="mail offline_access",
            tls=TLS,
        )
        yield server, client, url


async def test_device_code_consent_given_yields_refresh_token() -> None:
    async with provider(client_secret=None, consent_errors=["authorization_pending", "slow_down"]) as (
        server,
        client,
        url,
    ):
        code = await request_device_code(client, f"{url}/device", T0)
        assert (code.user_code, code.address) == ("KAYU-BATU", "https://log-masuk.contoh.my/peranti")
        assert (code.expires_at, code.interval) == (T0 + timedelta(minutes=15), 5 * SECOND)
        assert not code.is_due(T0 + 4 * SECOND)
        assert code.is_due(T0 - timedelta(hours=8)), "the clock was set back"
        assert code.device_code not in repr(code)

        pending = await poll_consent(client, code, T0 + 5 * SECOND)
        assert isinstance(pending, DeviceCode)
        assert (pending.interval, pending.is_due(T0 + 10 * SECOND)) == (5 * SECOND, True)
        # The polling interval grows after slow_down (RFC 8628 3.5).
        pending = await poll_consent(client, pending, T0 + 10 * SECOND)
        assert isinstance(pending, DeviceCode)
        assert (pending.interval, pending.is_due(T0 + 19 * SECOND)) == (10 * SECOND, False)

        consent = await poll_consent(client, pending, T0 + 20 * SECOND)
        assert isinstance(consent, Consent)
        assert consent.refresh_token not in repr(consent)
        token = await RefreshTokenIssuer(client, RefreshTokenStore(consent.refresh_token)).issue()
        assert server.username_of(token.secret) == server.username
    assert server.requests[0] == {"client_id": "pantau-ujian", "scope": "mail offline_access"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("access_denied", NoConsentReason.DENIED),
        ("authorization_declined", NoConsentReason.DENIED),
        ("expired_token", NoConsentReason.EXPIRED),
        ("invalid_grant", NoConsentReason.BLOCKED),
        ("unauthorized_client", NoConsentReason.BLOCKED),
    ],
)
async def test_device_code_consent_refused_raises_reason(error: str, reason: NoConsentReason) -> None:
    async with provider(client_secret=None, consent_errors=[error]) as (_, client, url):
        code = await request_device_code(client, f"{url}/device", T0)
        with pytest.raises(ConsentError) as caught:
            await poll_consent(client, code, T0 + 5 * SECOND)
    assert caught.value.reason is reason
    assert code.device_code not in str(caught.value)


async def test_device_code_failed_poll_is_retried_until_code_expires() -> None:
    async with provider(client_secret=None, fault=TokenEndpointFault.ERROR) as (server, client, url):
        code = await request_device_code(client, f"{url}/device", T0)
        pending = await poll_consent(client, code, T0 + 5 * SECOND)
        assert isinstance(pending, DeviceCode)
        assert pending.interval == 10 * SECOND
        asked = len(server.requests)
        with pytest.raises(ConsentError) as caught:
            await poll_consent(client, pending, code.expires_at)
    assert caught.value.reason is NoConsentReason.EXPIRED
    # No further request was sent.
    assert len(server.requests) == asked


async def test_device_code_request_refused_or_unreachable_raises_reason() -> None:
    async with provider(fault=TokenEndpointFault.INVALID_CLIENT) as (_, client, url):
        with pytest.raises(ConsentError) as caught:
            await request_device_code(client, f"{url}/device")
    assert caught.value.reason is NoConsentReason.BLOCKED
    with pytest.raises(ConsentError) as caught:
        await request_device_code(client, "http://127.0.0.1:1/device")
    assert caught.value.reason is NoConsentReason.UNAVAILABLE


@pytest.mark.parametrize(
    "answer",
    [
        {"verification_uri": "http://log-masuk.contoh.my/"},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": "https://orang@log-masuk.contoh.my/"},
        {"user_code": "A" * 100},
        {"user_code": "<b>\u202e"},
        {"device_code": 7},
    ],
)
async def test_device_code_response_with_unsafe_values_is_refused(answer: dict[str, object]) -> None:
    response = {"device_code": "x", "user_code": "KAYU", "verification_uri": "https://log-masuk.contoh.my/", **answer}

    async def device(_request: object) -> JSONResponse:
        return JSONResponse(response)

    client = Client(token_url="https://x.invalid", client_id="pantau", tls=TLS)
    async with serve(Starlette(routes=[Route("/device", device, methods=["POST"])])) as url:
        with pytest.raises(ConsentError):
            await request_device_code(client, f"{url}/device")


async def test_authorization_code_is_redeemed_once_and_only_with_verifier() -> None:
    async with provider() as (server, client, url), httpx.AsyncClient() as browser:
        request = authorization_request(client, f"{url}/authorize", BACK, "peti@jabatan-contoh.gov.my")
        asked = parse_qs(urlsplit(request.address).query)
        assert (asked["state"], asked["code_challenge_method"]) == ([request.state], ["S256"])
        assert (asked["access_type"], asked["login_hint"]) == (["offline"], ["peti@jabatan-contoh.gov.my"])
        assert request.verifier not in request.address

        def redirect_query(answer: httpx.Response) -> dict[str, list[str]]:
            return parse_qs(urlsplit(answer.headers["location"]).query)

        returned = redirect_query(await browser.get(request.address))
        assert returned["state"] == [request.state]
        (code,) = returned["code"]
        consent = await exchange_code(client, code, request, BACK)
        assert consent.refresh_token == server.refresh_token
        # A code is valid once.
        with pytest.raises(ConsentError) as caught:
            await exchange_code(client, code, request, BACK)
        assert caught.value.reason is NoConsentReason.BLOCKED
        # A stolen code is useless without the verifier.
        (code,) = redirect_query(await browser.get(request.address))["code"]
        with pytest.raises(ConsentError):
            await exchange_code(client, code, replace(request, verifier="x" * 64), BACK)
