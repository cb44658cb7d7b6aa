"""What an explanation is, and the rows of the tables that they come from. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from monitor.advice.case import Case

#: A step that many have in common.
LOG = (
    "On a Postfix server: `grep {to} /var/log/mail.log` at this time; on Exchange: "
    "`Get-MessageTrace -RecipientAddress {to}`."
)


class Who(StrEnum):
    """Who can mend it. The words in braces are filled in (`Case.words`)."""

    #: Whoever runs the mail system at whose end it failed.
    OWNER = "{owner}"
    #: Of a message on its way either side may have it.
    BOTH = "{sending}; then, if the message left there, {owner}"
    #: Whoever runs the mail of the agency whose address it is.
    AGENCY = "{agency}'s mail administrator"
    NETWORK = "our network team"
    PROVIDER = "{owner}, with an administrator's rights at {provider}"
    #: Whoever writes our configuration.
    US = "us: it is a setting of ours"
    #: Whoever runs the machine that Pantau runs on.
    MACHINE = "us: whoever runs this machine"
    NOBODY = "nobody needs to do anything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What an end of a run means, and what to do about it."""

    #: One sentence.
    what: str
    #: One sentence.
    do: str
    who: str
    #: What to look at, in this order, with the exact setting or command where there is one.
    steps: tuple[str, ...] = ()


def _always(_: Case) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One usual failure. Of a reason's rows the first whose `when` holds is taken."""

    reason: str
    when: Callable[[Case], bool] = _always
    what: str
    do: str
    who: Who = Who.OWNER
    steps: tuple[str, ...] = ()

    def advice(self, case: Case) -> Advice:
        """Return the advice for *case*."""
        words = case.words
        return Advice(
            what=self.what.format_map(words),
            do=self.do.format_map(words),
            who=self.who.format_map(words),
            steps=tuple(step.format_map(words) for step in self.steps),
        )
