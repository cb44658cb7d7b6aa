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
        self._fates: dict[str, TokenState] = dict.fromkeys(ended, TokenState.ENDED) | dict.fromkeys(
            arrived, TokenState.ARRIVED
        )

    def fate(self, token_id: str) -> TokenState | None:
        return self._fates.get(token_id)

    def arrived(self, token_id: str) -> None:
        """Note that the message of *token_id* has been here."""
        self._note(token_id, TokenState.ARRIVED)

    def taken(self, token_id: str) -> None:
        """Note that the message of *token_id* was handed over by a second look, and will be come by once more."""
        self._note(token_id, TokenState.TAKEN)

    def over(self, token_id: str, party: Party) -> None:
        """Note that nothing is waited for any more, from the point of view of *party*."""
        if self._fates.get(token_id) not in {TokenState.ARRIVED, TokenState.TAKEN}:
            self._note(token_id, TokenState.ENDED if party is Party.RECIPIENT else TokenState.SENT)

    def _note(self, token_id: str, fate: TokenState) -> None:
        self._fates.pop(token_id, None)
        self._fates[token_id] = fate
        if len(self._fates) > _REMEMBERED:
            del self._fates[next(iter(self._fates))]


def decide(
    sighting: ObservedMessage,
    *,
    origin: Origin | None,
    awaited: Collection[Party],
    fate: TokenState | None,
    now: datetime,
    marked: bool = False,
) -> Disposition:
    """Say what to do with *sighting* in a mailbox where *awaited* sides of its run still wait.

    *origin* is its token's, if it has one. *marked*: it is marked as deleted already.
    """
    token = sighting.token
    if token is None:
        return Disposition(count=Arrival.FORGED if sighting.forged else None)
    if sighting.kind is MailKind.REWRITTEN:
        is_awaited = Party.RECIPIENT in awaited and fate is not TokenState.ARRIVED
        return Disposition(hand_over=is_awaited, delete=is_awaited)
    if sighting.kind not in {MailKind.MESSAGE, MailKind.REPORT}:
        # A person may have written it.
        return Disposition()
    # Of what others have sent who are there no more, only what went over routes that are ours now is known here.
    if origin is Origin.ANOTHER or (origin is Origin.INHERITED and fate is None):
        # What is marked has been dealt with by whoever sent it, and is in nobody's way any more.
        return Disposition(delete=marked or _is_forgotten(token, now))
    if origin is Origin.PROBER_CONFLICT and fate is None and not awaited:
        return Disposition(count=Arrival.PROBER_CONFLICT, delete=_is_forgotten(token, now))
    if sighting.kind is MailKind.MESSAGE:
        return _message(awaited, fate)
    failed = sighting.report is not None and sighting.report.action is DsnAction.FAILED
    return Disposition(hand_over=failed and bool(awaited), delete=True)


def _is_forgotten(token: Token, now: datetime) -> bool:
    return now > token.over_at + _OTHERS_KEPT


def _message(awaited: Collection[Party], fate: TokenState | None) -> Disposition:
    if fate is TokenState.ARRIVED:
        return Disposition(count=Arrival.DUPLICATE, delete=True)
    if fate is TokenState.TAKEN:
        return Disposition(delete=True)
    if Party.RECIPIENT in awaited:
        return Disposition(hand_over=True, delete=True)
    if Party.SENDER in awaited or fate is TokenState.SENT:
        # Some providers drop a copy of what is sent into the sender's inbox: it proves nothing.
        return Disposition(delete=True)
    # A token of ours that nobody here knows was sent before a restart: its run is over, too.
    return Disposition(count=Arrival.LATE, delete=True)
