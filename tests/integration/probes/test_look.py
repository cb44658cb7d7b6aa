"""Real servers, as somebody sees them who has not signed in yet."""

from __future__ import annotations

import ssl
from dataclasses import replace

import pytest

from probes.model.reply import Reason
from probes.preauth.capabilities import query_servers
from probes.preauth.session import Protocol
from tests.real.mailserver import Door, MailServer

pytestmark = pytest.mark.real

SEEN: dict[tuple[Protocol, Door], Reason | None] = {
    (Protocol.SMTP, Door.SUBMISSION): None,
    (Protocol.SMTP, Door.SUBMISSIONS): None,
    (Protocol.IMAP, Door.IMAP): None,
    (Protocol.IMAP, Door.IMAPS): None,
    (Protocol.POP3, Door.POP3): None,
    (Protocol.POP3, Door.POP3S): None,
    (Protocol.SMTP, Door.EXPIRED): Reason.CERTIFICATE_EXPIRED,
    (Protocol.SMTP, Door.CLEAR): Reason.TLS_NOT_OFFERED,
    (Protocol.SMTP, Door.CLOSED): Reason.PORT_REFUSED,
    # Another protocol than was looked for.
    (Protocol.SMTP, Door.IMAPS): Reason.UNEXPECTED_ANSWER,
}


async def test_all_doors_are_looked_at_at_once_and_each_ends_in_a_reason(mail_server: MailServer) -> None:
    found = await query_servers([(protocol, mail_server.server(door)) for protocol, door in SEEN])
    assert {key: each.failure and each.failure.reason for key, each in zip(SEEN, found, strict=True)} == SEEN
    assert [each.takes_password for each in found] == [each.is_usable for each in found]


async def test_a_certificate_is_held_against_the_name_and_its_authority(mail_server: MailServer) -> None:
    other = replace(mail_server.server(Door.IMAPS), tls_name="mel.lain.gov.my")
    strange = mail_server.server(Door.IMAPS, ssl.create_default_context())
    found = await query_servers([(Protocol.IMAP, other), (Protocol.IMAP, strange)])
    assert [each.failure and each.failure.reason for each in found] == [
        Reason.CERTIFICATE_NAME_MISMATCH,
        Reason.CERTIFICATE_UNTRUSTED,
    ]
