"""What a server's offers mean to somebody who wants to sign in, and that a server that says nothing is left soon."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from probes.model.mailbox import Security, Server
from probes.model.reply import Reason
from probes.stranger import look as looking
from probes.stranger.look import look_at, seen
from probes.stranger.session import Protocol
from tests.unit.probes.standin import hang, listening

PASSWORD, TOKEN = "password", "token"


@pytest.mark.parametrize(
    ("protocol", "offers", "ways"),
    [
        (Protocol.SMTP, ["PIPELINING", "AUTH PLAIN LOGIN"], {PASSWORD}),
        (Protocol.SMTP, ["AUTH LOGIN XOAUTH2"], {PASSWORD, TOKEN}),
        (Protocol.SMTP, ["AUTH=LOGIN"], {PASSWORD}),
        (Protocol.SMTP, ["AUTH XOAUTH2"], {TOKEN}),
        (Protocol.SMTP, ["SIZE 1000"], set()),
        (Protocol.IMAP, ["IMAP4REV1"], {PASSWORD}),
        (Protocol.IMAP, ["IMAP4REV1", "AUTH=PLAIN", "AUTH=XOAUTH2"], {PASSWORD, TOKEN}),
        (Protocol.IMAP, ["IMAP4REV1", "LOGINDISABLED", "AUTH=XOAUTH2"], {TOKEN}),
        (Protocol.IMAP, ["IMAP4REV1", "LOGINDISABLED"], set()),
        (Protocol.POP3, ["SASL PLAIN XOAUTH2"], {PASSWORD, TOKEN}),
        (Protocol.POP3, ["UIDL", "USER"], {PASSWORD}),
        (Protocol.POP3, ["UIDL"], set()),
        (Protocol.POP3, [], {PASSWORD}),
    ],
)
def test_ways_to_sign_in_follow_from_what_is_offered(protocol: Protocol, offers: list[str], ways: set[str]) -> None:
    found = seen(protocol, offers)
    assert {way for way, is_taken in ((PASSWORD, found.takes_password), (TOKEN, found.takes_token)) if is_taken} == ways


async def test_a_silent_server_is_left_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_SERVER_SECONDS", 0.05)
    async with listening(hang) as port, asyncio.timeout(2):
        server = Server(host="127.0.0.1", port=port, security=Security.STARTTLS, tls=ssl.create_default_context())
        found = await look_at(Protocol.SMTP, server)
    assert found.failure is not None
    assert found.failure.reason == Reason.NO_ANSWER
