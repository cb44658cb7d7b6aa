"""Capabilities of a server before sign-in, and a limit for silent servers."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta

import pytest

from probes.kinds.certificate import KIND as CERTIFICATE
from probes.model.check import CheckScope, Verdict
from probes.model.mailbox import Mailbox, Password, Security, Server
from probes.model.probe import ProbeFailedError
from probes.model.reply import Reason
from probes.model.result import Party
from probes.preauth import capabilities as looking
from probes.preauth.capabilities import parse_capabilities, query_server
from probes.preauth.forbidden_sign_in import find_revealing_mechanisms
from probes.preauth.session import Protocol
from probes.protocol.pop3 import open_session
from probes.run.trace import TraceRecorder
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.pop3_standin import Pop3StandIn
from tests.unit.probes.standin import SmtpStandIn, hang, listening


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
def test_capabilities_password_acceptance(*, protocol: Protocol, offers: list[str], taken: bool) -> None:
    assert parse_capabilities(protocol, offers).accepts_password is taken


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
def test_capabilities_revealing_mechanisms_in_clear_text(
    *, protocol: Protocol, offers: tuple[str, ...], shown: str
) -> None:
    assert find_revealing_mechanisms(protocol, offers) == shown


async def test_query_server_silent_server_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_SERVER_TIMEOUT_SECONDS", 0.05)
    async with listening(hang) as port, asyncio.timeout(HANG_TIMEOUT):
        server = Server(host="127.0.0.1", port=port, security=Security.STARTTLS, tls=ssl.create_default_context())
        found = await query_server(Protocol.SMTP, server)
    assert found.failure is not None
    assert found.failure.reason == Reason.NO_ANSWER


async def test_query_server_pop3_without_capa_fails_like_retrieval() -> None:
    standin = Pop3StandIn(tricks={"CAPA": "-ERR apa?\r\n"})
    async with listening(standin) as port:
        server = Server(host="127.0.0.1", port=port, security=Security.STARTTLS, tls=ssl.create_default_context())
        login = Password(username="semakan", secret="rahsia")
        mailbox = Mailbox(name="a", address="semakan@jabatan-contoh.gov.my", login=login, pop3=server)
        found = await query_server(Protocol.POP3, server)
        check_scope = CheckScope(agency="JCM", mailboxes=(mailbox,), domains=("jabatan-contoh.gov.my",))
        offered, *_ = await CERTIFICATE.build(check_scope, lambda: datetime.now(UTC)).run()
        with pytest.raises(ProbeFailedError) as read:
            await open_session(mailbox, TraceRecorder(), Party.RECIPIENT, response_timeout=timedelta(seconds=5))
    assert found.failure == read.value.failure
    assert read.value.failure.reason == Reason.TLS_NOT_OFFERED
    assert (offered.aspect, offered.verdict) == ("offered", Verdict.FAIL)
    assert standin.asked == ["CAPA"] * 3


@pytest.mark.parametrize(
    ("protocol", "standin"),
    [
        (Protocol.SMTP, SmtpStandIn(extensions=("STARTTLS ", "SIZE 1000"), tricks={"STARTTLS": "454 4.7.0 nanti\r\n"})),
        (Protocol.POP3, Pop3StandIn(capabilities=("UIDL", "STLS \t"), tricks={"STLS": "-ERR nanti\r\n"})),
    ],
)
async def test_query_server_tls_offered_with_trailing_blanks_is_recognised(
    protocol: Protocol, standin: SmtpStandIn | Pop3StandIn
) -> None:
    async with listening(standin) as port:
        server = Server(host="127.0.0.1", port=port, security=Security.STARTTLS, tls=ssl.create_default_context())
        found = await query_server(protocol, server)
    assert found.failure is not None
    assert found.failure.reason == Reason.TLS_UNAVAILABLE
