"""Access tokens with real servers: Dovecot asks who issued it about each (RFC 7662), and Postfix asks Dovecot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from pantau_lab.oauth import AuthorizationServer, TokenEndpointFault, app
from pantau_lab.serving import serve
from probes.credentials.oauth import TokenCache
from probes.credentials.oauth_endpoint import Client, ClientCredentials, RefreshToken, Rotation
from probes.model.mailbox import Mailbox, OAuth
from probes.model.reply import Reason
from probes.model.result import Outcome, Party, Phase
from tests.integration.probes.trip import PATIENCE, between
from tests.real.mailserver import REFERENCE, Door, MailServer

pytestmark = pytest.mark.real


@dataclass(slots=True)
class Wall:
    """A clock that a test may turn."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass(slots=True)
class IssuingOffice:
    """An authorization server, and a mailbox whose tokens it issues."""

    authorization: AuthorizationServer
    client: Client
    mailbox: Mailbox
    wall: Wall


@asynccontextmanager
async def office(
    server: MailServer, name: str, *, refreshing: bool = False, pop3: Door | None = None
) -> AsyncIterator[IssuingOffice]:
    address = server.address(name)
    authorization, wall = AuthorizationServer(username=address, rotates=refreshing), Wall()
    async with serve(app(authorization), port=server.ports[Door.INTROSPECTION]) as url:
        client = Client(
            token_url=f"{url}/token",
            client_id=authorization.client_id,
            client_secret=authorization.client_secret,
            tls=server.trust,
        )
        issuer = RefreshToken(client, Rotation("segar-0")) if refreshing else ClientCredentials(client)
        login = OAuth(username=address, tokens=TokenCache(issuer, clock=wall))
        yield IssuingOffice(authorization, client, server.mailbox(name, login=login, pop3=pop3), wall)


@pytest.mark.parametrize("refreshing", [False, True])
@pytest.mark.parametrize("pop3", [None, Door.POP3S])
async def test_a_message_goes_round_with_access_tokens_only(
    mail_server: MailServer, *, refreshing: bool, pop3: Door | None
) -> None:
    async with office(
        mail_server,
        f"tanda-{'segar' if refreshing else 'klien'}-{pop3 or Door.IMAPS}",
        refreshing=refreshing,
        pop3=pop3,
    ) as of:
        async with between(of.mailbox, of.mailbox) as trips:
            result = await trips.run()
        dialogue = "\n".join(trips.recorder.dialogue)
    assert result.outcome is Outcome.DELIVERED, result
    # One token for sending and reading.
    assert len(of.authorization.asked) == 1
    assert "C: AUTH XOAUTH2 ***" in dialogue
    assert not any(token in dialogue for token in of.authorization.grants)


@pytest.mark.pitfall
async def test_a_refused_token_ends_the_run_at_once_with_the_servers_reason(mail_server: MailServer) -> None:
    """Trap: Servers and their directories refuse a token in different words.

    Pantau: A real server's refusal ends the run at once, with its reason.
    """
    async with office(mail_server, "tanda-ditolak") as of:
        elsewhere = mail_server.mailbox("semakan", domain=REFERENCE)
        await tokens(of).get()
        of.authorization.revoke()
        async with between(of.mailbox, elsewhere) as trips:
            sending = await trips.run()
        async with between(elsewhere, of.mailbox) as trips:
            receiving = await trips.run()
    for result, party in ((sending, Party.SENDER), (receiving, Party.RECIPIENT)):
        assert result.outcome is Outcome.AUTH
        assert result.duration < PATIENCE.session
        assert result.failure is not None
        assert (result.failure.party, result.failure.reason) == (party, Reason.CREDENTIALS_REFUSED)
        assert result.failure.credentials_refused
        assert result.failure.detail.startswith("status 401, scope mail; ")


async def test_a_token_that_was_revoked_is_renewed_without_anybody_noticing(mail_server: MailServer) -> None:
    async with office(mail_server, "tanda-dibaharui") as of, between(of.mailbox, of.mailbox) as trips:
        assert (await trips.run()).outcome is Outcome.DELIVERED
        of.authorization.revoke()
        of.wall.ahead = timedelta(minutes=10)
        assert (await trips.run()).outcome is Outcome.DELIVERED
    assert len(of.authorization.asked) == 2


async def test_an_authorization_server_that_refuses_the_client_is_about_our_account(mail_server: MailServer) -> None:
    async with office(mail_server, "tanda-tamat") as of:
        of.authorization.trouble = TokenEndpointFault.INVALID_CLIENT
        async with between(of.mailbox, mail_server.mailbox("semakan", domain=REFERENCE)) as trips:
            for _ in range(3):
                result = await trips.run()
    assert result.outcome is Outcome.AUTH
    assert result.failure is not None
    assert (result.failure.phase, result.failure.reason) == (Phase.AUTH, Reason.TOKEN_REFUSED)
    assert "AADSTS7000222" in result.failure.detail
    # Three runs and a watcher, one question.
    assert len(of.authorization.asked) == 1


async def test_an_authorization_server_that_is_down_is_no_fault_of_the_mail_server(mail_server: MailServer) -> None:
    async with office(mail_server, "tanda-tiada") as of:
        nowhere = ClientCredentials(replace(of.client, token_url="http://127.0.0.1:1/token"))
        box = replace(of.mailbox, login=OAuth(username=of.mailbox.address, tokens=TokenCache(nowhere)))
        async with between(box, mail_server.mailbox("semakan", domain=REFERENCE)) as trips:
            result = await trips.run()
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.failure is not None
    assert result.failure.reason is Reason.NO_TOKEN
    assert result.phases == {}


def tokens(of: IssuingOffice) -> TokenCache:
    login = of.mailbox.login
    assert isinstance(login, OAuth)
    assert isinstance(login.tokens, TokenCache)
    return login.tokens
