"""Real servers before sign-in."""

from __future__ import annotations

import ssl
from dataclasses import replace

import pytest

from probes.model.reply import Reason
from probes.preauth.capabilities import query_servers
from probes.preauth.session import Protocol
from tests.real.mailserver import Listener, MailServer

pytestmark = pytest.mark.real

EXPECTED: dict[tuple[Protocol, Listener], Reason | None] = {
    (Protocol.SMTP, Listener.SUBMISSION): None,
    (Protocol.SMTP, Listener.SUBMISSIONS): None,
    (Protocol.IMAP, Listener.IMAP): None,
    (Protocol.IMAP, Listener.IMAPS): None,
    (Protocol.POP3, Listener.POP3): None,
    (Protocol.POP3, Listener.POP3S): None,
    (Protocol.SMTP, Listener.EXPIRED): Reason.CERTIFICATE_EXPIRED,
    (Protocol.SMTP, Listener.CLEAR): Reason.TLS_NOT_OFFERED,
    (Protocol.SMTP, Listener.CLOSED): Reason.PORT_REFUSED,
    # Another protocol than expected.
    (Protocol.SMTP, Listener.IMAPS): Reason.UNEXPECTED_ANSWER,
}


async def test_query_servers_each_port_has_reason(mail_server: MailServer) -> None:
    found = await query_servers([(protocol, mail_server.server(door)) for protocol, door in EXPECTED])
    assert {key: each.failure and each.failure.reason for key, each in zip(EXPECTED, found, strict=True)} == EXPECTED
    assert [each.accepts_password for each in found] == [each.is_usable for each in found]


async def test_query_servers_checks_certificate_name_and_authority(mail_server: MailServer) -> None:
    other = replace(mail_server.server(Listener.IMAPS), tls_name="mel.lain.gov.my")
    untrusted = mail_server.server(Listener.IMAPS, ssl.create_default_context())
    found = await query_servers([(Protocol.IMAP, other), (Protocol.IMAP, untrusted)])
    assert [each.failure and each.failure.reason for each in found] == [
        Reason.CERTIFICATE_NAME_MISMATCH,
        Reason.CERTIFICATE_UNTRUSTED,
    ]
