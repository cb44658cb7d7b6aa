"""A mailbox of a pool that nobody uses any more, on a real Dovecot: what is forgotten there goes, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from monitor.probing.mailbox_cleaner import MailboxCleaner
from probes.mail.message import compose
from probes.mail.token import TokenSigner
from probes.model.mailbox import Mailbox
from tests.ends import imap_of
from tests.integration.probes.foreign import Foreign, contents, foreign_mail, put
from tests.real.mailserver import Door, MailServer

pytestmark = pytest.mark.real

_KEY = b"kunci-untuk-ujian-sahaja"
_US, _GONE = TokenSigner(_KEY, "prob-1"), TokenSigner(_KEY, "prob-2")


def _sent(box: Mailbox, ago: timedelta, folder: str = "INBOX") -> Foreign:
    """Return a message that a process sent which is gone."""
    at = datetime.now(UTC) - ago
    token = _GONE.issue("JCONTOH/outbound/rujukan-a", at, timedelta(minutes=10))
    raw = compose(token, sender=box.address, recipient=box.address, now=at)
    return Foreign(kind="tinggalan", raw=raw, folder=folder)


async def test_what_a_process_left_behind_that_is_gone_is_taken_away_a_day_later(mail_server: MailServer) -> None:
    box = mail_server.mailbox("kumpulan-satu")
    kept = [
        _sent(box, timedelta(hours=24)),
        *(each for each in foreign_mail(box) if r"\Deleted" not in each.flags),
    ]
    forgotten = [_sent(box, timedelta(hours=25)), _sent(box, timedelta(days=30), "Junk")]
    put(box, kept)
    before = contents(box, "INBOX"), contents(box, "Junk")
    put(box, forgotten)

    await MailboxCleaner(lambda: [box], _US).clean_next()
    assert (contents(box, "INBOX"), contents(box, "Junk")) == before


async def test_mailboxes_are_swept_in_turn_and_one_that_cannot_be_read_keeps_no_other_from_it(
    mail_server: MailServer,
) -> None:
    dead, one = mail_server.mailbox("kumpulan-dua"), mail_server.mailbox("kumpulan-tiga")
    # Whoever uses it by POP3 would be refused meanwhile.
    locked = mail_server.mailbox("kumpulan-empat", pop3=Door.POP3S)
    put(one, [_sent(one, timedelta(days=2)), _sent(one, timedelta(0))])
    broken = replace(dead, imap=replace(imap_of(dead), port=mail_server.server(Door.CLOSED).port))
    sweeper = MailboxCleaner(lambda: [broken, locked, one], _US)
    await sweeper.clean_next()
    assert contents(one, "INBOX").total() == 2
    await sweeper.clean_next()
    assert contents(one, "INBOX").total() == 1


async def test_without_a_pool_there_is_nothing_to_sweep() -> None:
    await MailboxCleaner(list, _US).clean_next()
