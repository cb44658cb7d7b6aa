"""Whether mailboxes can hand in a message now (RFC 6409). It goes all the way up to the message, and sends none.

The round trip proves the same each time it runs; this tells a server that refuses to be submitted to from one that loses
what it took, where no round trip runs. It runs only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from probes.model.check import CheckKind, CheckScope, Verdict
from probes.model.mailbox import Mailbox
from probes.model.probe import Trace
from probes.model.result import Party
from probes.protocol.smtp import rehearse
from probes.run.mailbox_check import SESSION, MailboxCheck

_ASPECT = "submission"


def _build(check_scope: CheckScope, now: Callable[[], datetime]) -> MailboxCheck:  # noqa: ARG001 - the contract of a check
    senders = [mailbox for mailbox in check_scope.mailboxes if mailbox.sends]
    return MailboxCheck(aspect=_ASPECT, party=Party.SENDER, mailboxes=senders, attempt=_rehearse)


async def _rehearse(mailbox: Mailbox, trace: Trace) -> tuple[Verdict, str]:
    await rehearse(mailbox, trace, SESSION)
    return Verdict.PASS, f"signed in; {mailbox.address} is taken as sender and as recipient"


KIND = CheckKind(
    name="submission",
    aspects=(_ASPECT,),
    interval=timedelta(minutes=5),
    within=timedelta(minutes=5),
    build=_build,
    # Each is a sign-in more at a server that counts them, and the round trip proves as much.
    opt_in=True,
)
