"""Mail that cannot be parsed is left alone; what else goes wrong with it is not taken for that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from probes.arrival.expectation import Expectation, FolderKind
from probes.arrival.message_handler import MailboxMessage, MessageHandler
from probes.mail.disposition import TokenRegistry
from probes.model.result import Party
from tests.unit.probes.standin import mailbox
from tests.unit.probes.watch import FOREIGN, SIGNER, Counted, issue


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


def letter(whole: Callable[[], Awaitable[bytes | None]]) -> MailboxMessage:
    return MailboxMessage(uid=1, header=FOREIGN, size=len(FOREIGN), fetch_content=whole)


async def test_an_error_while_a_mail_is_fetched_is_not_taken_for_mail_that_cannot_be_parsed() -> None:
    async def broken() -> bytes | None:
        raise LookupError("our own bug")

    with pytest.raises(LookupError, match="our own bug"):
        await handler().process(letter(broken), FolderKind.INBOX, count=True)


async def test_mail_that_cannot_be_parsed_is_left_alone() -> None:
    async def nested() -> bytes | None:
        return b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(3000))

    assert not await handler().process(letter(nested), FolderKind.INBOX, count=True)


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x-uuencode"])
async def test_foreign_mail_whose_only_part_is_encoded_does_not_end_the_watch(encoding: str) -> None:
    header = f"Subject: mesyuarat\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()

    async def whole() -> bytes | None:
        return header + b"UHVrdWwgOS4=\r\n"

    mail = MailboxMessage(uid=1, header=header, size=len(header) + 14, fetch_content=whole)
    assert not await handler().process(mail, FolderKind.INBOX, count=True)
