"""Check that mailboxes can submit a message (RFC 6409): sign-in, sender and recipient. No message is sent.

A round trip (message sent and received) proves the same. This opt-in check is for mailboxes without a round trip. It
shows whether a server refuses submission, not whether the server loses accepted mail.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from probes.model.check import CheckKind, CheckScope, Verdict
from probes.model.mailbox import Mailbox
from probes.model.probe import Trace
from probes.model.result import Party
from probes.protocol.smtp import try_submission
from probes.run.mailbox_check import SESSION_TIMEOUT, MailboxCheck

_ASPECT = "submission"


def _build_check(check_scope: CheckScope, now: Callable[[], datetime]) -> MailboxCheck:  # noqa: ARG001 - the contract of a check
    senders = [mailbox for mailbox in check_scope.mailboxes if mailbox.can_send]
    return MailboxCheck(aspect=_ASPECT, party=Party.SENDER, mailboxes=senders, attempt=_try_submission)


async def _try_submission(mailbox: Mailbox, trace: Trace) -> tuple[Verdict, str]:
    await try_submission(mailbox, trace, SESSION_TIMEOUT)
    return Verdict.PASS, f"signed in; {mailbox.address} is accepted as sender and as recipient"


KIND = CheckKind(
    name="submission",
    aspects=(_ASPECT,),
    interval=timedelta(minutes=5),
    within=timedelta(minutes=5),
    build=_build_check,
    # Opt-in, because each run adds a sign-in at a server that may limit sign-ins, and the round trip proves the same.
    opt_in=True,
)
