"""Decision on each message found in a mailbox, by its token: deliver it to its run, count it, or delete it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from probes.mail.bounce import DsnAction
from probes.mail.observed_message import MailKind, ObservedMessage
from probes.mail.token import Origin, Token
from probes.model.result import Arrival, Party

#: Number of token ids that are kept for a mailbox. At one run a second they reach back half a day, far longer than a
#: message is late.
_MAX_TOKENS = 50_000
#: Time after the end of a run by which another prober has evidently abandoned its message. The message is then deleted.
_FOREIGN_RETENTION = timedelta(hours=24)


class TokenState(StrEnum):
    """State of a token in one mailbox."""

    #: Its message has arrived.
    ARRIVED = "arrived"
    #: Its run is over and the message has not arrived.
    ENDED = "ended"
    #: It was sent from this mailbox; only a bounce was awaited.
    SENT = "sent"
    #: The final search has delivered its message, which the watcher has yet to process.
    TAKEN = "taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposition:
    """Actions on one mail, in this order: deliver, count, delete."""

    deliver: bool = False
    count: Arrival | None = None
    delete: bool = False


class TokenRegistry:
    """States of recent tokens."""

    def __init__(self, *, ended: Iterable[str] = (), arrived: Iterable[str] = ()) -> None:
        self._token_states: dict[str, TokenState] = dict.fromkeys(ended, TokenState.ENDED) | dict.fromkeys(
            arrived, TokenState.ARRIVED
        )

    def token_state(self, token_id: str) -> TokenState | None:
        return self._token_states.get(token_id)

    def mark_arrived(self, token_id: str) -> None:
        """Record that the message of *token_id* has arrived."""
        self._set_state(token_id, TokenState.ARRIVED)

    def mark_taken(self, token_id: str) -> None:
        """Record that the final search has delivered the message of *token_id*, before the watcher processes it."""
        self._set_state(token_id, TokenState.TAKEN)

    def end_wait(self, token_id: str, party: Party) -> None:
        """Record that *party* no longer waits."""
        if self._token_states.get(token_id) not in {TokenState.ARRIVED, TokenState.TAKEN}:
            self._set_state(token_id, TokenState.ENDED if party is Party.RECIPIENT else TokenState.SENT)

    def _set_state(self, token_id: str, token_state: TokenState) -> None:
        self._token_states.pop(token_id, None)
        self._token_states[token_id] = token_state
        if len(self._token_states) > _MAX_TOKENS:
            del self._token_states[next(iter(self._token_states))]


def decide(
    observed: ObservedMessage,
    *,
    origin: Origin | None,
    awaited: Collection[Party],
    token_state: TokenState | None,
    now: datetime,
    marked: bool = False,
) -> Disposition:
    """Return the actions on the message *observed*.

    *awaited*: ends of its run (sender, recipient) that still wait for mail in this mailbox. *origin*: issuer of its
    token, if it has one. *marked*: the message is already marked as deleted.
    """
    token = observed.token
    if token is None:
        return Disposition(count=Arrival.FORGED if observed.forged else None)
    if observed.kind is MailKind.REWRITTEN:
        is_awaited = Party.RECIPIENT in awaited and token_state is not TokenState.ARRIVED
        return Disposition(deliver=is_awaited, delete=is_awaited)
    if observed.kind not in {MailKind.MESSAGE, MailKind.REPORT}:
        # A person may have written it.
        return Disposition()
    # INHERITED: a former prober's messages are registered here only if their routes have moved to this prober.
    if origin is Origin.ANOTHER or (origin is Origin.INHERITED and token_state is None):
        # A message that is marked as deleted was processed by the prober that sent it, so nobody needs it any longer.
        return Disposition(delete=marked or _is_abandoned(token, now))
    if origin is Origin.PROBER_CONFLICT and token_state is None and not awaited:
        return Disposition(count=Arrival.PROBER_CONFLICT, delete=_is_abandoned(token, now))
    if observed.kind is MailKind.MESSAGE:
        return _decide_message(awaited, token_state)
    failed = observed.report is not None and observed.report.action is DsnAction.FAILED
    return Disposition(deliver=failed and bool(awaited), delete=True)


def _is_abandoned(token: Token, now: datetime) -> bool:
    return now > token.ends_at + _FOREIGN_RETENTION


def _decide_message(awaited: Collection[Party], token_state: TokenState | None) -> Disposition:
    if token_state is TokenState.ARRIVED:
        return Disposition(count=Arrival.DUPLICATE, delete=True)
    if token_state is TokenState.TAKEN:
        return Disposition(delete=True)
    if Party.RECIPIENT in awaited:
        return Disposition(deliver=True, delete=True)
    if Party.SENDER in awaited or token_state is TokenState.SENT:
        # Some providers put a copy of sent mail into the sender's inbox. The copy does not prove a delivery.
        return Disposition(delete=True)
    # A token of ours that is not registered was sent before a restart, so its run is over, too.
    return Disposition(count=Arrival.LATE, delete=True)
