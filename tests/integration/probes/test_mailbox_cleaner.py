"""Mailbox cleaner on a real Dovecot: it deletes leftover probe messages of unused pool mailboxes, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from monitor.probing.mailbox_cleaner import MailboxCleaner
from probes.mail.message import compose
from probes.mail.token import TokenSigner
from probes.model.mailbox import Mailbox
from tests.integration.probes.foreign_mail import ForeignMail, contents, foreign_mail, put
from tests.mailbox_parts import imap_of
from tests.real.mailserver import Listener, MailServer

pytestmark = pytest.mark.real

_KEY = b"kunci-untuk-ujian-sahaja"
_OWN_SIGNER, _GONE_SIGNER = TokenSigner(_KEY, "prob-1"), TokenSigner(_KEY, "prob-2")


def _sent(box: Mailbox, ago: timedelta, folder: str = "INBOX") -> ForeignMail:
    """Return a message of a process that no longer exists."""
    at = datetime.now(UTC) - ago
    token = _GONE_SIGNER.issue("JCONTOH/outbound/rujukan-a", at, timedelta(minutes=10))
    raw = compose(token, sender=box.address, recipient=box.address, now=at)
    return ForeignMail(kind="tinggalan", raw=raw, folder=folder)


async def test_mailbox_cleaner_deletes_mail_of_gone_process_after_one_day(mail_server: MailServer) -> None:
    box = mail_server.mailbox("kumpulan-satu")
    kept = [
        _sent(box, timedelta(hours=24)),
        *(each for each in foreign_mail(box) if r"\Deleted" not in each.flags),
    ]
    leftover = [_sent(box, timedelta(hours=25)), _sent(box, timedelta(days=30), "Junk")]
    put(box, kept)
    before = contents(box, "INBOX"), contents(box, "Junk")
    put(box, leftover)

    await MailboxCleaner(lambda: [box], _OWN_SIGNER).clean_next()
    assert (contents(box, "INBOX"), contents(box, "Junk")) == before


async def test_mailbox_cleaner_skips_unreadable_and_pop3_mailboxes_in_turn(
    mail_server: MailServer,
) -> None:
    dead, one = mail_server.mailbox("kumpulan-dua"), mail_server.mailbox("kumpulan-tiga")
    # A POP3 session would lock out other users.
    locked = mail_server.mailbox("kumpulan-empat", pop3=Listener.POP3S)
    put(one, [_sent(one, timedelta(days=2)), _sent(one, timedelta(0))])
    broken = replace(dead, imap=replace(imap_of(dead), port=mail_server.server(Listener.CLOSED).port))
    cleaner = MailboxCleaner(lambda: [broken, locked, one], _OWN_SIGNER)
    await cleaner.clean_next()
    assert contents(one, "INBOX").total() == 2
    await cleaner.clean_next()
    assert contents(one, "INBOX").total() == 1


async def test_mailbox_cleaner_without_pool_does_nothing() -> None:
    await MailboxCleaner(list, _OWN_SIGNER).clean_next()
