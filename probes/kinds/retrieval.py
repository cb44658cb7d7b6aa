"""Check that mailboxes can be read over IMAP or POP3: sign in, open, and fetch the header of the newest message.

A round trip (message sent and received) proves the same. This opt-in check tests reading alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from probes.model.check import CheckKind, CheckScope, Verdict
from probes.model.mailbox import NEARLY_FULL, Mailbox, MailboxQuota
from probes.model.probe import Trace
from probes.model.result import Party, Phase
from probes.protocol import imap, pop3
from probes.protocol.cause import timed_phase
from probes.protocol.imap_response import encode_folder_name
from probes.run.mailbox_check import SESSION_TIMEOUT, MailboxCheck

_ASPECT = "retrieval"


def _build_check(check_scope: CheckScope, now: Callable[[], datetime]) -> MailboxCheck:  # noqa: ARG001 - the contract of a check
    readable = [mailbox for mailbox in check_scope.mailboxes if mailbox.is_readable]
    return MailboxCheck(aspect=_ASPECT, party=Party.RECIPIENT, mailboxes=readable, attempt=_try_reading)


async def _try_reading(mailbox: Mailbox, trace: Trace) -> tuple[Verdict, str]:
    count, quota = (
        await _read_over_imap(mailbox, trace)
        if mailbox.imap is not None
        else (await _read_over_pop3(mailbox, trace), None)
    )
    detail = f"opened {mailbox.inbox}; messages in it: {count}"
    if quota is None:
        return Verdict.PASS, detail
    verdict = Verdict.WARN if quota.share >= NEARLY_FULL else Verdict.PASS
    return Verdict.FAIL if quota.is_full else verdict, f"{detail}; {quota.summary} are used"


async def _read_over_imap(mailbox: Mailbox, trace: Trace) -> tuple[int, MailboxQuota | None]:
    session = await imap.open_session(
        mailbox, trace, Party.RECIPIENT, response_timeout=SESSION_TIMEOUT, within=SESSION_TIMEOUT
    )
    try:
        with timed_phase(trace, Phase.RETRIEVE, Party.RECIPIENT):
            status = await session.select(encode_folder_name(mailbox.inbox))
            if newest_uids := await session.last_uids(1, status.exists):
                await session.fetch_headers(newest_uids)
            quota = await session.fetch_quota(encode_folder_name(mailbox.inbox))
    finally:
        session.close()
    return status.exists, quota


async def _read_over_pop3(mailbox: Mailbox, trace: Trace) -> int:
    session = await pop3.open_session(
        mailbox, trace, Party.RECIPIENT, response_timeout=SESSION_TIMEOUT, within=SESSION_TIMEOUT
    )
    try:
        with timed_phase(trace, Phase.RETRIEVE, Party.RECIPIENT):
            numbers_and_uids = await session.list_uids()
            if numbers_and_uids:
                await session.fetch_header(numbers_and_uids[-1][0])
            await session.quit()
    finally:
        session.close()
    return len(numbers_and_uids)


KIND = CheckKind(
    name="retrieval",
    aspects=(_ASPECT,),
    interval=timedelta(minutes=5),
    within=timedelta(minutes=5),
    build=_build_check,
    # Opt-in, because each run adds a sign-in at a server that may limit sign-ins, and the round trip proves the same.
    opt_in=True,
)
