"""A service account in a mailbox' name, over real sockets: what it signs is taken, or refused in words, and never shown."""

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
from probes.credentials.service_account import MAX_KEY_FILE, BadServiceAccountError, Delegated, ServiceAccount

USER = "semakan@jabatan-contoh.gov.my"
SCOPE = "https://mail.google.com/"


@asynccontextmanager
async def google(account: LabServiceAccount | None = None) -> AsyncIterator[tuple[AuthorizationServer, Client]]:
    server = AuthorizationServer(username=USER, service_account=account or LabServiceAccount())
    async with serve(app(server)) as url:
        yield server, Client(token_url=f"{url}/token", client_id="1", scope=SCOPE, tls=ssl.create_default_context())


def read(account: LabServiceAccount) -> ServiceAccount:
    return ServiceAccount.read(account.file())


async def refusal(client: Client, account: ServiceAccount, user: str = USER, ahead: float = 0) -> AccessTokenError:
    issuer = Delegated(client, account, user, clock=lambda: datetime.now(UTC) + timedelta(minutes=ahead))
    with pytest.raises(AccessTokenError) as caught:
        await TokenCache(issuer).get()
    return caught.value


async def test_a_token_is_given_for_the_mailbox_that_the_account_may_act_for() -> None:
    account = LabServiceAccount()
    async with google(account) as (server, client):
        token = await Delegated(client, read(account), USER).issue()
        assert server.holder(token.secret) == USER
    (asked,) = server.asked
    # Nothing but what is signed, which says who asks for what: Google takes a client's id for another way.
    assert asked.keys() == {"grant_type", "assertion"}
    assert asked["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("scope", "unauthorized_client: Client is unauthorized to retrieve access tokens using this method"),
        ("fault", "unauthorized_client: Client is unauthorized"),
        ("user", "invalid_grant: Invalid email or User ID"),
        ("key", "invalid_grant: Invalid JWT Signature."),
        ("clock", "invalid_grant: Invalid JWT: Token must be a short-lived token"),
    ],
)
async def test_a_refusal_is_about_us_and_says_why_without_what_was_signed(wrong: str, words: str) -> None:
    account = LabServiceAccount()
    ours = read(account)
    async with google(account) as (server, client):
        if wrong == "scope":
            account.scopes.clear()
        elif wrong == "fault":
            server.trouble = TokenEndpointFault.UNAUTHORIZED_CLIENT
        elif wrong == "key":
            account.renew_key()
        user, ahead = ("lain@jabatan-contoh.gov.my" if wrong == "user" else USER), 20 if wrong == "clock" else 0
        failure = await refusal(client, ours, user, ahead)
    assert (failure.refused, str(failure).startswith(words)) == (True, True), failure
    assert server.asked[0]["assertion"] not in f"{failure!r} {failure}"


@pytest.mark.parametrize("ahead", [-50, -5, 4, 5])
async def test_a_clock_that_is_a_little_ahead_or_most_of_an_hour_behind_costs_nothing(ahead: float) -> None:
    account = LabServiceAccount()
    async with google(account) as (_, client):
        at = datetime.now(UTC) + timedelta(minutes=ahead)
        await Delegated(client, read(account), USER, clock=lambda: at).issue()


async def test_one_that_does_not_answer_is_nobodys_refusal_and_nothing_secret_shows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    account = LabServiceAccount()
    ours = read(account)
    async with google(account) as (server, client):
        server.trouble = TokenEndpointFault.UNAVAILABLE
        failure = await refusal(client, ours)
    assert not failure.refused
    said = f"{ours!r} {ours} {failure!r} {caplog.text} {Delegated(client, ours, USER)!r}"
    assert not [each for each in account.file().splitlines() if "PRIVATE" in each and each in said]
    assert server.asked[0]["assertion"] not in said


def altered(**other: object) -> str:
    return json.dumps({**json.loads(LabServiceAccount().file()), **other})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no JSON"),
        ("[" * 5000, "is no JSON"),
        ("[]", "something else"),
        (altered(type="authorized_user"), "something else"),
        (altered(client_email=""), "does not say client_email"),
        (altered(private_key=7), "does not say client_email"),
        (altered(client_id="1\n2"), "does not say client_email"),
        (altered(client_id="\ud800"), "does not say client_email"),
        (altered(client_id="1" * 300), "does not say client_email"),
        (altered(private_key="-----BEGIN PRIVATE KEY-----\nrahsia\n-----END PRIVATE KEY-----\n"), "cut off"),
        (altered(private_key=LabServiceAccount().key.as_pem(private=False).decode()), "cut off"),
        ("x" * (MAX_KEY_FILE + 1), "has more than 8 KiB"),
    ],
)
def test_what_is_no_key_of_one_is_refused_without_showing_it(text: str, why: str) -> None:
    with pytest.raises(BadServiceAccountError, match=why) as caught:
        ServiceAccount.read(text)
    assert "rahsia" not in str(caught.value)
    assert caught.value.__cause__ is None
