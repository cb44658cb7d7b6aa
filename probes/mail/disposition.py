"""Decides what to do with a mail that was seen in a mailbox. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from probes.mail.bounce import DsnAction
from probes.mail.observed_message import MailKind, ObservedMessage
from probes.mail.token import Origin, Token
from probes.model.result import Arrival, Party

#: Ids remembered per mailbox. At one run a second that is half a day, far longer than mail is late.
_REMEMBERED = 50_000
#: Another prober's message is its own to delete; only what it has plainly forgotten is taken away for it.
_OTHERS_KEPT = timedelta(hours=24)


class TokenState(StrEnum):
    """What became of a token, as far as one mailbox knows."""

    #: Its message has been here.
    ARRIVED = "arrived"
    #: Its run is over and the message has not been here.
    ENDED = "ended"
    #: It was sent from here; only a report about it was waited for.
    SENT = "sent"
    #: Its message was handed over, and lies where the watch still has to come by.
    TAKEN = "taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposition:
    """What to do with one mail. The order is: hand over, count, delete."""

    hand_over: bool = False
    count: Arrival | None = None
    delete: bool = False


class TokenRegistry:
    """Remembers the fate of tokens."""

    def __init__(self, *, ended: Iterable[str] = (), arrived: Iterable[str] = ()) -> None:
        self._token_states: dict[str, TokenState] = dict.fromkeys(ended, TokenState.ENDED) | dict.fromkeys(
            arrived, TokenState.ARRIVED
        )

    def token_state(self, token_id: str) -> TokenState | None:
        return self._token_states.get(token_id)

    def arrived(self, token_id: str) -> None:
        """Note that the message of *token_id* has been here."""
        self._note(token_id, TokenState.ARRIVED)

    def taken(self, token_id: str) -> None:
        """Note that the message of *token_id* was handed over by a second look, and will be come by once more."""
        self._note(token_id, TokenState.TAKEN)

    def over(self, token_id: str, party: Party) -> None:
        """Note that nothing is waited for any more, from the point of view of *party*."""
        if self._token_states.get(token_id) not in {TokenState.ARRIVED, TokenState.TAKEN}:
            self._note(token_id, TokenState.ENDED if party is Party.RECIPIENT else TokenState.SENT)

    def _note(self, token_id: str, token_state: TokenState) -> None:
        self._token_states.pop(token_id, None)
        self._token_states[token_id] = token_state
        if len(self._token_states) > _REMEMBERED:
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
    """Say what to do with *observed* in a mailbox where *awaited* sides of its run still wait.

    *origin* is its token's, if it has one. *marked*: it is marked as deleted already.
    """
    token = observed.token
    if token is None:
        return Disposition(count=Arrival.FORGED if observed.forged else None)
    if observed.kind is MailKind.REWRITTEN:
        is_awaited = Party.RECIPIENT in awaited and token_state is not TokenState.ARRIVED
        return Disposition(hand_over=is_awaited, delete=is_awaited)
    if observed.kind not in {MailKind.MESSAGE, MailKind.REPORT}:
        # A person may have written it.
        return Disposition()
    # Of what others have sent who are there no more, only what went over routes that are ours now is known here.
    if origin is Origin.ANOTHER or (origin is Origin.INHERITED and token_state is None):
        # What is marked has been dealt with by whoever sent it, and is in nobody's way any more.
        return Disposition(delete=marked or _is_forgotten(token, now))
    if origin is Origin.PROBER_CONFLICT and token_state is None and not awaited:
        return Disposition(count=Arrival.PROBER_CONFLICT, delete=_is_forgotten(token, now))
    if observed.kind is MailKind.MESSAGE:
        return _message(awaited, token_state)
    failed = observed.report is not None and observed.report.action is DsnAction.FAILED
    return Disposition(hand_over=failed and bool(awaited), delete=True)


def _is_forgotten(token: Token, now: datetime) -> bool:
    return now > token.over_at + _OTHERS_KEPT


def _message(awaited: Collection[Party], token_state: TokenState | None) -> Disposition:
    if token_state is TokenState.ARRIVED:
        return Disposition(count=Arrival.DUPLICATE, delete=True)
    if token_state is TokenState.TAKEN:
        return Disposition(delete=True)
    if Party.RECIPIENT in awaited:
        return Disposition(hand_over=True, delete=True)
    if Party.SENDER in awaited or token_state is TokenState.SENT:
        # Some providers drop a copy of what is sent into the sender's inbox: it proves nothing.
        return Disposition(delete=True)
    # A token of ours that nobody here knows was sent before a restart: its run is over, too.
    return Disposition(count=Arrival.LATE, delete=True)
