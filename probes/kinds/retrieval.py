"""Check that mailboxes can be read over IMAP or POP3: sign in, open, and fetch the newest header.

Every round trip shows the same; this opt-in check tests reading alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from probes.model.check import CheckKind, CheckScope, Verdict
from probes.model.mailbox import NEARLY_FULL, Mailbox, MailboxQuota
from probes.model.probe import Trace
from probes.model.result import Party, Phase
from probes.protocol import imap, pop3
from probes.protocol.cause import stage
from probes.protocol.imap_response import folder_name
from probes.run.mailbox_check import SESSION, MailboxCheck

_ASPECT = "retrieval"


def _build(check_scope: CheckScope, now: Callable[[], datetime]) -> MailboxCheck:  # noqa: ARG001 - the contract of a check
    readers = [mailbox for mailbox in check_scope.mailboxes if mailbox.is_read]
    return MailboxCheck(aspect=_ASPECT, party=Party.RECIPIENT, mailboxes=readers, attempt=_read)


async def _read(mailbox: Mailbox, trace: Trace) -> tuple[Verdict, str]:
    count, quota = (
        await _over_imap(mailbox, trace) if mailbox.imap is not None else (await _over_pop3(mailbox, trace), None)
    )
    detail = f"opened {mailbox.inbox}; messages in it: {count}"
    if quota is None:
        return Verdict.PASS, detail
    verdict = Verdict.WARN if quota.share >= NEARLY_FULL else Verdict.PASS
    return Verdict.FAIL if quota.is_full else verdict, f"{detail}; {quota.words} are used"


async def _over_imap(mailbox: Mailbox, trace: Trace) -> tuple[int, MailboxQuota | None]:
    session = await imap.open_session(mailbox, trace, Party.RECIPIENT, leg=SESSION, within=SESSION)
    try:
        with stage(trace, Phase.RETRIEVE, Party.RECIPIENT):
            position = await session.select(folder_name(mailbox.inbox))
            if newest := await session.last_uids(1, position.exists):
                await session.headers(newest)
            quota = await session.quota(folder_name(mailbox.inbox))
    finally:
        session.close()
    return position.exists, quota


async def _over_pop3(mailbox: Mailbox, trace: Trace) -> int:
    session = await pop3.open_session(mailbox, trace, Party.RECIPIENT, leg=SESSION, within=SESSION)
    try:
        with stage(trace, Phase.RETRIEVE, Party.RECIPIENT):
            listed = await session.uids()
            if listed:
                await session.header(listed[-1][0])
            await session.quit()
    finally:
        session.close()
    return len(listed)


KIND = CheckKind(
    name="retrieval",
    aspects=(_ASPECT,),
    interval=timedelta(minutes=5),
    within=timedelta(minutes=5),
    build=_build,
    # Each is one more sign-in at a server that limits them, and the round trip shows the same.
    opt_in=True,
)
