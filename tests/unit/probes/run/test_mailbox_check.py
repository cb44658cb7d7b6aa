"""Submission and retrieval checks of a mailbox: their findings, and nothing left behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from probes.credentials.oauth import AccessTokenError
from probes.kinds import retrieval, submission
from probes.model.check import CheckScope, Finding, Verdict
from probes.model.mailbox import Mailbox
from tests.unit.probes.fake_tokens import FakeTokens, login
from tests.unit.probes.pop3_standin import Pop3StandIn
from tests.unit.probes.standin import ImapStandIn, SmtpStandIn, Trick, listening, mailbox, server, server_context

MAIL = b"Subject: mesyuarat\r\n\r\nPukul 9.\r\n"


async def findings_of(kind: object, *mailboxes: Mailbox) -> tuple[Finding, ...]:
    assert kind in {submission.KIND, retrieval.KIND}
    build = submission.KIND.build if kind is submission.KIND else retrieval.KIND.build
    check_scope = CheckScope(agency="JCONTOH", mailboxes=mailboxes, domains=("jabatan-contoh.gov.my",))
    return await build(check_scope, lambda: datetime.now(UTC)).run()


async def test_submission_check_goes_to_recipient_and_sends_nothing() -> None:
    standin = SmtpStandIn()
    async with listening(standin, server_context()) as port:
        [finding] = await findings_of(submission.KIND, mailbox(smtp=server(port)))
    assert finding == Finding(
        aspect="submission",
        subject="jabatan-contoh",
        verdict=Verdict.PASS,
        detail="signed in; semakan@jabatan-contoh.gov.my is accepted as sender and as recipient",
    )
    assert [line.split()[0] for line in standin.asked] == ["EHLO", "AUTH", "MAIL", "RCPT", "RSET", "QUIT"]
    assert standin.taken == []


@pytest.mark.parametrize(
    ("word", "trick", "verdict", "detail"),
    [
        ("AUTH", "535 5.7.8 salah\r\n", Verdict.FAIL, "auth: credentials refused (535 5.7.8 salah)"),
        ("MAIL", "550 5.7.1 bukan awak\r\n", Verdict.FAIL, "submit: sender refused (550 5.7.1 bukan awak)"),
        ("RCPT", "450 4.2.0 kelabu\r\n", Verdict.WARN, "submit: temporarily refused (450 4.2.0 kelabu)"),
        ("RSET", "421 4.3.2 tutup\r\n", Verdict.WARN, "submit: temporarily refused (421 4.3.2 tutup)"),
    ],
)
async def test_submission_check_refused_reports_step(word: str, trick: Trick, verdict: Verdict, detail: str) -> None:
    async with listening(SmtpStandIn(tricks={word: trick}), server_context()) as port:
        [finding] = await findings_of(submission.KIND, mailbox(smtp=server(port)))
    assert (finding.verdict, finding.detail) == (verdict, detail)


@pytest.mark.parametrize("mails", [0, 3])
async def test_retrieval_check_leaves_mailbox_unchanged(mails: int) -> None:
    imap, pop3 = ImapStandIn(), Pop3StandIn()
    for _ in range(mails):
        imap.put(MAIL)
        pop3.put(MAIL)
    async with listening(imap, server_context()) as first, listening(pop3, server_context()) as second:
        one = replace(mailbox(imap=server(first)), name="satu", inbox="Kongsi")
        other = replace(mailbox(), name="dua", imap=None, pop3=server(second))
        found = await findings_of(retrieval.KIND, one, other)
    assert [(finding.subject, finding.verdict, finding.detail) for finding in found] == [
        ("satu", Verdict.PASS, f"opened Kongsi; messages in it: {mails}"),
        ("dua", Verdict.PASS, f"opened INBOX; messages in it: {mails}"),
    ]
    assert pop3.asked[-1] == "QUIT"
    assert pop3.inside == 0
    assert (len(imap.mails), len(pop3.mails)) == (mails, mails)
    assert not any("STORE" in line or "DELE" in line for line in (*imap.asked, *pop3.asked))


@pytest.mark.parametrize(
    ("word", "trick", "verdict", "detail"),
    [
        ("PASS", "-ERR [AUTH] salah\r\n", Verdict.FAIL, "auth: credentials refused ([AUTH] salah)"),
        ("PASS", "-ERR [IN-USE] ada orang\r\n", Verdict.UNKNOWN, "auth: mailbox in use ([IN-USE] ada orang)"),
        ("UIDL", "-ERR rosak\r\n", Verdict.FAIL, "retrieve: mailbox refused (-ERR rosak)"),
    ],
)
async def test_retrieval_check_failed_reports_step(word: str, trick: Trick, verdict: Verdict, detail: str) -> None:
    async with listening(Pop3StandIn(tricks={word: trick}), server_context()) as port:
        [finding] = await findings_of(retrieval.KIND, replace(mailbox(), imap=None, pop3=server(port)))
    assert (finding.verdict, finding.detail) == (verdict, detail)


async def test_retrieval_check_missing_token_is_unknown_and_other_findings_stay() -> None:
    without = replace(
        mailbox(), name="tanpa", login=login(FakeTokens([AccessTokenError("log-masuk.example was not reached")]))
    )
    async with listening(ImapStandIn(), server_context()) as port:
        found = await findings_of(retrieval.KIND, without, mailbox(imap=server(port)))
    assert [finding.verdict for finding in found] == [Verdict.UNKNOWN, Verdict.PASS]
    assert found[0].detail == "auth: no access token (log-masuk.example was not reached)"


async def test_mailbox_check_skips_mailbox_without_needed_server() -> None:
    reader, sender = replace(mailbox(), smtp=None), replace(mailbox(), imap=None)
    assert await findings_of(submission.KIND, reader) == ()
    assert await findings_of(retrieval.KIND, sender) == ()
