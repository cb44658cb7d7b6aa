"""What a server's offers mean to somebody who wants to sign in, and that a server that says nothing is left soon."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from probes.model.mailbox import Security, Server
from probes.model.reply import Reason
from probes.stranger import look as looking
from probes.stranger.forbidden_sign_in import revealing
from probes.stranger.look import look_at, seen
from probes.stranger.session import Protocol
from tests.unit.probes.standin import hang, listening


@pytest.mark.parametrize(
    ("protocol", "offers", "taken"),
    [
        (Protocol.SMTP, ["PIPELINING", "AUTH PLAIN LOGIN"], True),
        (Protocol.SMTP, ["AUTH LOGIN XOAUTH2"], True),
        (Protocol.SMTP, ["AUTH=LOGIN"], True),
        (Protocol.SMTP, ["AUTH XOAUTH2"], False),
        (Protocol.SMTP, ["SIZE 1000"], False),
        (Protocol.IMAP, ["IMAP4REV1"], True),
        (Protocol.IMAP, ["IMAP4REV1", "AUTH=PLAIN", "AUTH=XOAUTH2"], True),
        (Protocol.IMAP, ["IMAP4REV1", "LOGINDISABLED", "AUTH=XOAUTH2"], False),
        (Protocol.IMAP, ["IMAP4REV1", "LOGINDISABLED"], False),
        (Protocol.POP3, ["SASL PLAIN XOAUTH2"], True),
        (Protocol.POP3, ["UIDL", "USER"], True),
        (Protocol.POP3, ["UIDL"], False),
        (Protocol.POP3, [], True),
    ],
)
def test_whether_a_password_is_taken_follows_from_what_is_offered(
    *, protocol: Protocol, offers: list[str], taken: bool
) -> None:
    assert seen(protocol, offers).takes_password is taken


@pytest.mark.parametrize(
    ("protocol", "offers", "shown"),
    [
        (Protocol.SMTP, ("SIZE 1000", "AUTH CRAM-MD5 PLAIN LOGIN"), "LOGIN, PLAIN"),
        (Protocol.SMTP, ("AUTH=LOGIN",), "LOGIN"),
        (Protocol.SMTP, ("AUTH CRAM-MD5",), ""),
        (Protocol.IMAP, ("IMAP4REV1", "AUTH=XOAUTH2"), "LOGIN, XOAUTH2"),
        (Protocol.IMAP, ("IMAP4REV1", "LOGINDISABLED"), ""),
        (Protocol.IMAP, (), ""),
        (Protocol.POP3, ("USER", "SASL OAUTHBEARER"), "OAUTHBEARER, USER"),
        (Protocol.POP3, ("UIDL",), ""),
    ],
)
def test_what_is_offered_in_clear_shows_a_password_or_not(
    *, protocol: Protocol, offers: tuple[str, ...], shown: str
) -> None:
    assert revealing(protocol, offers) == shown


async def test_a_silent_server_is_left_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_SERVER_SECONDS", 0.05)
    async with listening(hang) as port, asyncio.timeout(2):
        server = Server(host="127.0.0.1", port=port, security=Security.STARTTLS, tls=ssl.create_default_context())
        found = await look_at(Protocol.SMTP, server)
    assert found.failure is not None
    assert found.failure.reason == Reason.NO_ANSWER
