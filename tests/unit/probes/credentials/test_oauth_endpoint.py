"""A token endpoint, over real sockets: what it answers becomes a token or a reason, and never a leak."""

from __future__ import annotations

import logging
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pantau_lab.oauth import AuthorizationServer, TokenEndpointFault, app
from pantau_lab.serving import claimed, serve
from probes.credentials.oauth import AccessTokenError, TokenCache
from probes.credentials.oauth_endpoint import Client, ClientCredentials, RefreshToken, Rotation

USER = "semakan@jabatan-contoh.gov.my"


@asynccontextmanager
async def authorization_server(**settings: object) -> AsyncIterator[tuple[AuthorizationServer, Client]]:
    authorization_server = AuthorizationServer(username=USER, **settings)  # type: ignore[arg-type]
    async with serve(app(authorization_server)) as url:
        client = Client(
            token_url=f"{url}/token",
            client_id=authorization_server.client_id,
            client_secret=authorization_server.client_secret,
            scope="https://outlook.office365.com/.default",
            tls=ssl.create_default_context(),
        )
        yield authorization_server, client


def names(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir()]


async def failure_of(issuer: ClientCredentials | RefreshToken) -> AccessTokenError:
    with pytest.raises(AccessTokenError) as caught:
        await TokenCache(issuer, within=timedelta(seconds=3)).get()
    return caught.value


async def test_the_client_signs_in_for_itself() -> None:
    async with authorization_server() as (desk, client):
        before = datetime.now(UTC)
        token = await ClientCredentials(client).issue()
        assert desk.holder(token.secret) == USER
        assert token.expires_at is not None
        assert timedelta(minutes=59) < token.expires_at - before < timedelta(minutes=61)
    assert desk.asked == [
        {
            "grant_type": "client_credentials",
            "client_id": "pantau-ujian",
            "client_secret": "rahsia-klien",
            "scope": "https://outlook.office365.com/.default",
        }
    ]
    assert token.secret not in repr(token)
    assert "rahsia-klien" not in repr(client)


async def test_a_refresh_token_is_turned_into_an_access_token() -> None:
    async with authorization_server() as (desk, client):
        token = await RefreshToken(client, Rotation("segar-0")).issue()
        assert desk.holder(token.secret) == USER
    assert (desk.asked[0]["grant_type"], desk.asked[0]["refresh_token"]) == ("refresh_token", "segar-0")


async def test_a_rotated_refresh_token_is_used_from_then_on() -> None:
    async with authorization_server(rotates=True) as (desk, client):
        issuer = RefreshToken(client, Rotation("segar-0"))
        for _ in range(3):
            await issuer.issue()
        assert [form["refresh_token"] for form in desk.asked] == ["segar-0", "segar-1", "segar-2"]


async def test_a_rotated_refresh_token_outlives_a_restart_in_a_file_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "putaran"
    async with authorization_server(rotates=True) as (desk, client):
        await RefreshToken(client, Rotation("segar-0", file)).issue()
        await RefreshToken(client, Rotation("segar-0", file)).issue()
        assert desk.refresh_token == "segar-2"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert names(tmp_path) == ["putaran"]
        # What is configured anew is used at once, whatever the file says of the one before.
        desk.refresh_token = "segar-baharu"
        await RefreshToken(client, Rotation("segar-baharu", file)).issue()


async def test_a_file_that_cannot_be_written_costs_no_token(tmp_path: Path) -> None:
    async with authorization_server(rotates=True) as (_, client):
        issuer = RefreshToken(client, Rotation("segar-0", tmp_path / "tiada" / "putaran"))
        await issuer.issue()
        await issuer.issue()


@pytest.mark.parametrize(
    ("trouble", "refused", "words"),
    [
        (TokenEndpointFault.INVALID_CLIENT, True, "invalid_client: AADSTS7000222: The provided client secret keys"),
        (TokenEndpointFault.INVALID_GRANT, True, "invalid_grant: Token has been expired or revoked."),
        (TokenEndpointFault.UNAVAILABLE, False, "HTTP status 503"),
        (TokenEndpointFault.ERROR, False, "HTTP status 500"),
        (TokenEndpointFault.SILENT, False, "no answer to the request for a token"),
        (TokenEndpointFault.PORTAL, False, "does not answer as a token endpoint does"),
        (TokenEndpointFault.EMPTY, False, "holds no access token"),
    ],
)
async def test_a_failure_says_whether_it_is_about_us(*, trouble: TokenEndpointFault, refused: bool, words: str) -> None:
    async with authorization_server(trouble=trouble) as (_, client):
        failure = await failure_of(ClientCredentials(client))
    assert words in str(failure)
    assert failure.refused is refused
    assert "Trace ID" not in str(failure)


async def test_an_endpoint_out_of_reach_is_nobodys_refusal() -> None:
    async with authorization_server() as (_, client):
        pass
    with claimed(1) as (port,):
        for url in (f"http://127.0.0.1:{port}/token", "https://log-masuk.tiada.invalid/token"):
            failure = await failure_of(ClientCredentials(replace(client, token_url=url)))
            assert not failure.refused


async def test_the_wrong_path_is_a_refusal_in_words() -> None:
    async with authorization_server() as (_, client):
        failure = await failure_of(ClientCredentials(replace(client, token_url=f"{client.token_url}/lain")))
    assert failure.refused
    assert "HTTP status 404" in str(failure)


async def test_no_secret_gets_into_an_error_or_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with authorization_server() as (desk, client):
        await ClientCredentials(client).issue()
        await RefreshToken(client, Rotation("segar-0")).issue()
        desk.refresh_token = "segar-lain"
        first = await failure_of(RefreshToken(client, Rotation("segar-0")))
        # One that repeats what it was shown.
        desk.client_id = client.client_secret or ""
        second = await failure_of(ClientCredentials(client))
        assert "for app '***'" in str(second)
    words = f"{first!r} {first} {second!r} {second} {caplog.text}"
    assert not [secret for secret in ("rahsia-klien", "segar-0", *desk.grants) if secret in words]
    assert first.__cause__ is None
