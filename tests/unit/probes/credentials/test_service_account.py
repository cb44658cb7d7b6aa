"""Service accounts for mailboxes, over real sockets: token, refusal with a reason, and no secret shown."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from pantau_lab.oauth import AuthorizationServer, LabServiceAccount, TokenEndpointFault, app
from pantau_lab.serving import serve
from probes.credentials.oauth import AccessTokenError, TokenCache
from probes.credentials.oauth_endpoint import Client
from probes.credentials.service_account import (
    MAX_KEY_FILE,
    BadServiceAccountError,
    ServiceAccount,
    ServiceAccountIssuer,
)

USER = "semakan@jabatan-contoh.gov.my"
SCOPE = "https://mail.google.com/"


@asynccontextmanager
async def google_server(account: LabServiceAccount | None = None) -> AsyncIterator[tuple[AuthorizationServer, Client]]:
    server = AuthorizationServer(username=USER, service_account=account or LabServiceAccount())
    async with serve(app(server)) as url:
        yield server, Client(token_url=f"{url}/token", client_id="1", scope=SCOPE, tls=ssl.create_default_context())


def read_account(account: LabServiceAccount) -> ServiceAccount:
    return ServiceAccount.read(account.key_file())


async def refused_error(
    client: Client, account: ServiceAccount, user: str = USER, minutes_ahead: float = 0
) -> AccessTokenError:
    issuer = ServiceAccountIssuer(
        client, account, user, clock=lambda: datetime.now(UTC) + timedelta(minutes=minutes_ahead)
    )
    with pytest.raises(AccessTokenError) as caught:
        await TokenCache(issuer).get()
    return caught.value


async def test_service_account_issues_token_for_delegated_mailbox() -> None:
    account = LabServiceAccount()
    async with google_server(account) as (server, client):
        token = await ServiceAccountIssuer(client, read_account(account), USER).issue()
        assert server.username_of(token.secret) == USER
    (asked,) = server.requests
    # Only the signed assertion is sent: with a client ID Google expects another flow.
    assert asked.keys() == {"grant_type", "assertion"}
    assert asked["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.mark.parametrize(
    ("fault", "message_part"),
    [
        ("scope", "unauthorized_client: Client is unauthorized to retrieve access tokens using this method"),
        ("fault", "unauthorized_client: Client is unauthorized"),
        ("user", "invalid_grant: Invalid email or User ID"),
        ("key", "invalid_grant: Invalid JWT Signature."),
        ("clock", "invalid_grant: Invalid JWT: Token must be a short-lived token"),
    ],
)
async def test_service_account_refusal_names_reason_without_assertion(fault: str, message_part: str) -> None:
    account = LabServiceAccount()
    ours = read_account(account)
    async with google_server(account) as (server, client):
        if fault == "scope":
            account.scopes.clear()
        elif fault == "fault":
            server.fault = TokenEndpointFault.UNAUTHORIZED_CLIENT
        elif fault == "key":
            account.renew_key()
        user, minutes_ahead = ("lain@jabatan-contoh.gov.my" if fault == "user" else USER), 20 if fault == "clock" else 0
        failure = await refused_error(client, ours, user, minutes_ahead)
    assert (failure.refused, str(failure).startswith(message_part)) == (True, True), failure
    assert server.requests[0]["assertion"] not in f"{failure!r} {failure}"


@pytest.mark.parametrize("minutes_ahead", [-50, -5, 4, 5])
async def test_service_account_clock_skew_within_tolerance_issues_token(minutes_ahead: float) -> None:
    account = LabServiceAccount()
    async with google_server(account) as (_, client):
        at = datetime.now(UTC) + timedelta(minutes=minutes_ahead)
        await ServiceAccountIssuer(client, read_account(account), USER, clock=lambda: at).issue()


async def test_service_account_endpoint_unavailable_is_not_refused_and_shows_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    account = LabServiceAccount()
    ours = read_account(account)
    async with google_server(account) as (server, client):
        server.fault = TokenEndpointFault.UNAVAILABLE
        failure = await refused_error(client, ours)
    assert not failure.refused
    shown_text = f"{ours!r} {ours} {failure!r} {caplog.text} {ServiceAccountIssuer(client, ours, USER)!r}"
    assert not [each for each in account.key_file().splitlines() if "PRIVATE" in each and each in shown_text]
    assert server.requests[0]["assertion"] not in shown_text


def key_file_with(**other: object) -> str:
    return json.dumps({**json.loads(LabServiceAccount().key_file()), **other})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no JSON"),
        ("[" * 5000, "is no JSON"),
        ("[]", "something else"),
        (key_file_with(type="authorized_user"), "something else"),
        (key_file_with(client_email=""), "does not say client_email"),
        (key_file_with(private_key=7), "does not say client_email"),
        (key_file_with(client_id="1\n2"), "does not say client_email"),
        (key_file_with(client_id="\ud800"), "does not say client_email"),
        (key_file_with(client_id="1" * 300), "does not say client_email"),
        (key_file_with(private_key="-----BEGIN PRIVATE KEY-----\nrahsia\n-----END PRIVATE KEY-----\n"), "cut off"),
        (key_file_with(private_key=LabServiceAccount().key.as_pem(private=False).decode()), "cut off"),
        ("x" * (MAX_KEY_FILE + 1), "has more than 8 KiB"),
    ],
)
def test_service_account_invalid_key_file_is_refused_without_content(text: str, reason: str) -> None:
    with pytest.raises(BadServiceAccountError, match=reason) as caught:
        ServiceAccount.read(text)
    assert "rahsia" not in str(caught.value)
    assert caught.value.__cause__ is None
