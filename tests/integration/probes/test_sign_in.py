"""Access tokens with real servers: Dovecot introspects each token (RFC 7662), and Postfix asks Dovecot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from pantau_lab.oauth import AuthorizationServer, TokenEndpointFault, app
from pantau_lab.serving import serve
from probes.credentials.oauth import TokenCache
from probes.credentials.oauth_endpoint import Client, ClientCredentialsIssuer, RefreshTokenIssuer, RefreshTokenStore
from probes.model.mailbox import Mailbox, OAuth
from probes.model.reply import Reason
from probes.model.result import Outcome, Party, Phase
from tests.integration.probes.round_trips import TIMEOUTS, between
from tests.real.mailserver import REFERENCE, Listener, MailServer

pytestmark = pytest.mark.real


@dataclass(slots=True)
class AdjustableClock:
    """A clock that a test can advance."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass(slots=True)
class OAuthMailbox:
    """A mailbox and the authorization server of its tokens."""

    authorization: AuthorizationServer
    client: Client
    mailbox: Mailbox
    clock: AdjustableClock


@asynccontextmanager
async def oauth_mailbox(
    server: MailServer, name: str, *, uses_refresh_token: bool = False, pop3: Listener | None = None
) -> AsyncIterator[OAuthMailbox]:
    address = server.address(name)
    authorization, clock = (
        AuthorizationServer(username=address, rotates_refresh_token=uses_refresh_token),
        AdjustableClock(),
    )
    async with serve(app(authorization), port=server.ports[Listener.INTROSPECTION]) as url:
        client = Client(
            token_url=f"{url}/token",
            client_id=authorization.client_id,
            client_secret=authorization.client_secret,
            tls=server.trust,
        )
        issuer = (
            RefreshTokenIssuer(client, RefreshTokenStore("segar-0"))
            if uses_refresh_token
            else ClientCredentialsIssuer(client)
        )
        login = OAuth(username=address, tokens=TokenCache(issuer, clock=clock))
        yield OAuthMailbox(authorization, client, server.mailbox(name, login=login, pop3=pop3), clock)


@pytest.mark.parametrize("uses_refresh_token", [False, True])
@pytest.mark.parametrize("pop3", [None, Listener.POP3S])
async def test_roundtrip_with_access_tokens_is_delivered(
    mail_server: MailServer, *, uses_refresh_token: bool, pop3: Listener | None
) -> None:
    async with oauth_mailbox(
        mail_server,
        f"tanda-{'segar' if uses_refresh_token else 'klien'}-{pop3 or Listener.IMAPS}",
        uses_refresh_token=uses_refresh_token,
        pop3=pop3,
    ) as of:
        async with between(of.mailbox, of.mailbox) as round_trips:
            result = await round_trips.run()
        dialogue = "\n".join(round_trips.recorder.dialogue)
    assert result.outcome is Outcome.DELIVERED, result
    # One token for sending and reading.
    assert len(of.authorization.requests) == 1
    assert "C: AUTH XOAUTH2 ***" in dialogue
    assert not any(token in dialogue for token in of.authorization.grants)


@pytest.mark.pitfall
async def test_roundtrip_refused_token_ends_run_with_server_reason(mail_server: MailServer) -> None:
    """Trap: Servers and their directories refuse a token in different words.

    Pantau: A real server's refusal ends the run at once, with its reason.
    """
    async with oauth_mailbox(mail_server, "tanda-ditolak") as of:
        elsewhere = mail_server.mailbox("semakan", domain=REFERENCE)
        await token_cache(of).get()
        of.authorization.revoke()
        async with between(of.mailbox, elsewhere) as round_trips:
            sending = await round_trips.run()
        async with between(elsewhere, of.mailbox) as round_trips:
            receiving = await round_trips.run()
    for result, party in ((sending, Party.SENDER), (receiving, Party.RECIPIENT)):
        assert result.outcome is Outcome.AUTH
        assert result.duration < TIMEOUTS.session
        assert result.failure is not None
        assert (result.failure.party, result.failure.reason) == (party, Reason.CREDENTIALS_REFUSED)
        assert result.failure.credentials_refused
        assert result.failure.detail.startswith("status 401, scope mail; ")


async def test_roundtrip_revoked_token_is_renewed(mail_server: MailServer) -> None:
    async with oauth_mailbox(mail_server, "tanda-dibaharui") as of, between(of.mailbox, of.mailbox) as round_trips:
        assert (await round_trips.run()).outcome is Outcome.DELIVERED
        of.authorization.revoke()
        of.clock.ahead = timedelta(minutes=10)
        assert (await round_trips.run()).outcome is Outcome.DELIVERED
    assert len(of.authorization.requests) == 2


async def test_roundtrip_authorization_server_refusing_client_is_auth_failure(mail_server: MailServer) -> None:
    async with oauth_mailbox(mail_server, "tanda-tamat") as of:
        of.authorization.fault = TokenEndpointFault.INVALID_CLIENT
        async with between(of.mailbox, mail_server.mailbox("semakan", domain=REFERENCE)) as round_trips:
            for _ in range(3):
                result = await round_trips.run()
    assert result.outcome is Outcome.AUTH
    assert result.failure is not None
    assert (result.failure.phase, result.failure.reason) == (Phase.AUTH, Reason.TOKEN_REFUSED)
    assert "AADSTS7000222" in result.failure.detail
    # Three runs and a watcher send one request.
    assert len(of.authorization.requests) == 1


async def test_roundtrip_authorization_server_down_is_inconclusive(mail_server: MailServer) -> None:
    async with oauth_mailbox(mail_server, "tanda-tiada") as of:
        nowhere = ClientCredentialsIssuer(replace(of.client, token_url="http://127.0.0.1:1/token"))
        box = replace(of.mailbox, login=OAuth(username=of.mailbox.address, tokens=TokenCache(nowhere)))
        async with between(box, mail_server.mailbox("semakan", domain=REFERENCE)) as round_trips:
            result = await round_trips.run()
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.failure is not None
    assert result.failure.reason is Reason.NO_TOKEN
    assert result.phases == {}


def token_cache(of: OAuthMailbox) -> TokenCache:
    login = of.mailbox.login
    assert isinstance(login, OAuth)
    assert isinstance(login.tokens, TokenCache)
    return login.tokens
