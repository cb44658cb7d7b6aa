"""Decision on each message found in a mailbox, by its token: deliver it to its run, count it, or delete it. Pure.

A token is a signed mark in a probe message that identifies its run. A prober is a process that runs probes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from probes.mail.bounce import DsnAction
from probes.mail.observed_message import MailKind, ObservedMessage
from probes.mail.token import Origin, Token
from probes.model.result import Arrival, Party

#: Limit of token ids that are kept for a mailbox. At one run a second, they cover half a day, far longer than messages
#: are late.
_MAX_TOKENS = 50_000
#: Time after the end of another prober's run. A message that is still in the mailbox then is deleted, because that
#: prober has evidently abandoned it.
_FOREIGN_RETENTION = timedelta(hours=24)


class TokenState(StrEnum):
    """State of a token in one mailbox."""

    #: The message has arrived.
    ARRIVED = "arrived"
    #: The run has ended, and the message has not arrived.
    ENDED = "ended"
    #: The message was sent from this mailbox, where only a bounce was awaited.
    SENT = "sent"
    #: The final search of all folders has delivered the message to its run, but the watcher, which polls the mailbox,
    #: has not processed it yet.
    FOUND_BY_SEARCH = "found by search"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposition:
    """Actions on one message, in this order."""

    #: Deliver it to the runs that wait for it.
    deliver: bool = False
    #: Count it as this kind; `None`: do not count it.
    count: Arrival | None = None
    #: Delete it from the mailbox.
    delete: bool = False


class TokenRegistry:
    """States of recent tokens in one mailbox, by token id."""

    def __init__(self, *, ended: Iterable[str] = (), arrived: Iterable[str] = ()) -> None:
        self._token_states: dict[str, TokenState] = dict.fromkeys(ended, TokenState.ENDED) | dict.fromkeys(
            arrived, TokenState.ARRIVED
        )

    def token_state(self, token_id: str) -> TokenState | None:
        return self._token_states.get(token_id)

    def mark_arrived(self, token_id: str) -> None:
        """Record that the message of *token_id* has arrived."""
        self._set_state(token_id, TokenState.ARRIVED)

    def mark_found_by_search(self, token_id: str) -> None:
        """Record that the final search has delivered the message of *token_id*, before the watcher processes it."""
        self._set_state(token_id, TokenState.FOUND_BY_SEARCH)

    def end_wait(self, token_id: str, party: Party) -> None:
        """Record that *party*, the sender or recipient of the run, no longer waits for mail."""
        if self._token_states.get(token_id) not in {TokenState.ARRIVED, TokenState.FOUND_BY_SEARCH}:
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
    is_marked_deleted: bool = False,
) -> Disposition:
    """Return the actions on the message *observed*.

    *origin*: issuer of the token, if the message has one. *awaited*: parties of the run (sender, recipient) that still
    wait for mail in this mailbox. *is_marked_deleted*: a client has already marked the message as deleted.
    """
    token = observed.token
    if token is None:
        return Disposition(count=Arrival.FORGED if observed.is_forged else None)
    if observed.kind is MailKind.REWRITTEN:
        # Only its text shows that it is the message, so a person may have copied it.
        is_awaited = Party.RECIPIENT in awaited and token_state is not TokenState.ARRIVED
        return Disposition(deliver=is_awaited, delete=is_awaited)
    if observed.kind not in {MailKind.MESSAGE, MailKind.REPORT}:
        # A person may have written it, so it is kept.
        return Disposition()
    # A message of a former prober (INHERITED) has a token state here only if its route has moved to this prober.
    if origin is Origin.OTHER_PROBER or (origin is Origin.INHERITED and token_state is None):
        # If the message is marked as deleted, its own prober has processed it, so it may be deleted.
        return Disposition(delete=is_marked_deleted or _is_abandoned(token, now))
    # PROBER_CONFLICT: another process uses this prober's name.
    if origin is Origin.PROBER_CONFLICT and token_state is None and not awaited:
        return Disposition(count=Arrival.PROBER_CONFLICT, delete=_is_abandoned(token, now))
    if observed.kind is MailKind.MESSAGE:
        return _decide_message(awaited, token_state)
    is_bounce = observed.report is not None and observed.report.action is DsnAction.FAILED
    return Disposition(deliver=is_bounce and bool(awaited), delete=True)


def _is_abandoned(token: Token, now: datetime) -> bool:
    return now > token.ends_at + _FOREIGN_RETENTION


def _decide_message(awaited: Collection[Party], token_state: TokenState | None) -> Disposition:
    if token_state is TokenState.ARRIVED:
        return Disposition(count=Arrival.DUPLICATE, delete=True)
    if token_state is TokenState.FOUND_BY_SEARCH:
        return Disposition(delete=True)
    if Party.RECIPIENT in awaited:
        return Disposition(deliver=True, delete=True)
    if Party.SENDER in awaited or token_state is TokenState.SENT:
        # Some providers put a copy of sent mail into the sender's inbox. The copy is no evidence of delivery.
        return Disposition(delete=True)
    # A token of this prober without a state was sent before a restart, so its run has ended, too.
    return Disposition(count=Arrival.LATE, delete=True)
