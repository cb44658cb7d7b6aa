"""Token endpoint over real sockets: a response becomes a token or a reason, and no secret is shown."""

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
from probes.credentials.oauth_endpoint import Client, ClientCredentialsIssuer, RefreshTokenIssuer, RefreshTokenStore

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


def file_names(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir()]


async def failure_of(issuer: ClientCredentialsIssuer | RefreshTokenIssuer) -> AccessTokenError:
    with pytest.raises(AccessTokenError) as caught:
        await TokenCache(issuer, within=timedelta(seconds=3)).get()
    return caught.value


async def test_client_credentials_issue_access_token() -> None:
    async with authorization_server() as (token_server, client):
        before = datetime.now(UTC)
        token = await ClientCredentialsIssuer(client).issue()
        assert token_server.username_of(token.secret) == USER
        assert token.expires_at is not None
        assert timedelta(minutes=59) < token.expires_at - before < timedelta(minutes=61)
    assert token_server.requests == [
        {
            "grant_type": "client_credentials",
            "client_id": "pantau-ujian",
            "client_secret": "rahsia-klien",
            "scope": "https://outlook.office365.com/.default",
        }
    ]
    assert token.secret not in repr(token)
    assert "rahsia-klien" not in repr(client)


async def test_refresh_token_issues_access_token() -> None:
    async with authorization_server() as (token_server, client):
        token = await RefreshTokenIssuer(client, RefreshTokenStore("segar-0")).issue()
        assert token_server.username_of(token.secret) == USER
    assert (token_server.requests[0]["grant_type"], token_server.requests[0]["refresh_token"]) == (
        "refresh_token",
        "segar-0",
    )


async def test_rotated_refresh_token_is_used_next() -> None:
    async with authorization_server(rotates_refresh_token=True) as (token_server, client):
        issuer = RefreshTokenIssuer(client, RefreshTokenStore("segar-0"))
        for _ in range(3):
            await issuer.issue()
        assert [form["refresh_token"] for form in token_server.requests] == ["segar-0", "segar-1", "segar-2"]


async def test_rotated_refresh_token_in_file_survives_restart(tmp_path: Path) -> None:
    file = tmp_path / "putaran"
    async with authorization_server(rotates_refresh_token=True) as (token_server, client):
        await RefreshTokenIssuer(client, RefreshTokenStore("segar-0", file)).issue()
        await RefreshTokenIssuer(client, RefreshTokenStore("segar-0", file)).issue()
        assert token_server.refresh_token == "segar-2"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file_names(tmp_path) == ["putaran"]
        # A newly configured token is used at once, whatever the file contains.
        token_server.refresh_token = "segar-baharu"
        await RefreshTokenIssuer(client, RefreshTokenStore("segar-baharu", file)).issue()


async def test_rotated_refresh_token_file_not_writable_still_issues_tokens(tmp_path: Path) -> None:
    async with authorization_server(rotates_refresh_token=True) as (_, client):
        issuer = RefreshTokenIssuer(client, RefreshTokenStore("segar-0", tmp_path / "tiada" / "putaran"))
        await issuer.issue()
        await issuer.issue()


@pytest.mark.parametrize(
    ("fault", "refused", "message_part"),
    [
        (TokenEndpointFault.INVALID_CLIENT, True, "invalid_client: AADSTS7000222: The provided client secret keys"),
        (TokenEndpointFault.INVALID_GRANT, True, "invalid_grant: Token has been expired or revoked."),
        (TokenEndpointFault.UNAVAILABLE, False, "HTTP status 503"),
        (TokenEndpointFault.ERROR, False, "HTTP status 500"),
        (TokenEndpointFault.SILENT, False, "no response to the request for a token"),
        (TokenEndpointFault.PORTAL, False, "does not respond like a token endpoint"),
        (TokenEndpointFault.EMPTY, False, "contains no access token"),
    ],
)
async def test_token_endpoint_failure_is_refused_only_when_about_client(
    *, fault: TokenEndpointFault, refused: bool, message_part: str
) -> None:
    async with authorization_server(fault=fault) as (_, client):
        failure = await failure_of(ClientCredentialsIssuer(client))
    assert message_part in str(failure)
    assert failure.refused is refused
    assert "Trace ID" not in str(failure)


async def test_token_endpoint_unreachable_is_not_refused() -> None:
    async with authorization_server() as (_, client):
        pass
    with claimed(1) as (port,):
        for url in (f"http://127.0.0.1:{port}/token", "https://log-masuk.tiada.invalid/token"):
            failure = await failure_of(ClientCredentialsIssuer(replace(client, token_url=url)))
            assert not failure.refused


async def test_token_endpoint_wrong_path_is_refused_with_status() -> None:
    async with authorization_server() as (_, client):
        failure = await failure_of(ClientCredentialsIssuer(replace(client, token_url=f"{client.token_url}/lain")))
    assert failure.refused
    assert "HTTP status 404" in str(failure)


async def test_token_errors_and_logs_contain_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with authorization_server() as (token_server, client):
        await ClientCredentialsIssuer(client).issue()
        await RefreshTokenIssuer(client, RefreshTokenStore("segar-0")).issue()
        token_server.refresh_token = "segar-lain"
        first = await failure_of(RefreshTokenIssuer(client, RefreshTokenStore("segar-0")))
        # A server that repeats the secret.
        token_server.client_id = client.client_secret or ""
        second = await failure_of(ClientCredentialsIssuer(client))
        assert "for app '***'" in str(second)
    message_part = f"{first!r} {first} {second!r} {second} {caplog.text}"
    assert not [secret for secret in ("rahsia-klien", "segar-0", *token_server.grants) if secret in message_part]
    assert first.__cause__ is None
