"""Message handler: mail that cannot be parsed is kept, and other errors are raised."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from probes.arrival.expectation import Expectation, FolderKind
from probes.arrival.message_handler import MailboxMessage, MessageHandler
from probes.mail.disposition import TokenRegistry
from probes.model.result import Party
from tests.unit.probes.standin import mailbox
from tests.unit.probes.watchers import FOREIGN, SIGNER, Counted, issue


def handler() -> MessageHandler:
    token = issue()
    waiting = {token.id: [Expectation(token, Party.RECIPIENT, wake=lambda: None, on_end=lambda _: None)]}
    return MessageHandler(
        mailbox=mailbox(),
        signer=SIGNER,
        registry=TokenRegistry(),
        waiting=waiting,
        on_arrival=Counted(),
        clock=lambda: datetime.now(UTC),
    )


def message(fetch: Callable[[], Awaitable[bytes | None]]) -> MailboxMessage:
    return MailboxMessage(uid=1, header=FOREIGN, size=len(FOREIGN), fetch_content=fetch)


async def test_message_handler_fetch_error_is_raised_not_unparsable() -> None:
    async def broken() -> bytes | None:
        raise LookupError("our own bug")

    with pytest.raises(LookupError, match="our own bug"):
        await handler().process(message(broken), FolderKind.INBOX, may_count=True)


async def test_message_handler_unparsable_mail_is_kept() -> None:
    async def nested() -> bytes | None:
        return b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(3000))

    assert not await handler().process(message(nested), FolderKind.INBOX, may_count=True)


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x-uuencode"])
async def test_message_handler_foreign_mail_with_encoded_single_part_is_kept(encoding: str) -> None:
    header = f"Subject: mesyuarat\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()

    async def fetch() -> bytes | None:
        return header + b"UHVrdWwgOS4=\r\n"

    mail = MailboxMessage(uid=1, header=header, size=len(header) + 14, fetch_content=fetch)
    assert not await handler().process(mail, FolderKind.INBOX, may_count=True)
