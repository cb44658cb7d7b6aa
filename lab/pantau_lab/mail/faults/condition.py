"""Combined effects of the faults of one mail system. This module does no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from pantau_lab.mail.faults.effect import Cut, Effect
from pantau_lab.mail.faults.fault import Fault
from pantau_lab.mail.faults.greylist import Gate
from pantau_lab.mail.faults.response_script import ResponseBehavior, chain
from pantau_lab.mail.resources.port import Port
from pantau_lab.mail.resources.tls import Tls
from pantau_lab.mail.transport.queued_message import QueuedMessage, SmtpReply


class Condition:
    """Present faults of one mail system, and what they change at each point of its services.

    *table*: the effect of every fault. Where several faults answer, the first member of `Fault` wins.
    """

    def __init__(self, table: Mapping[Fault, Effect]) -> None:
        self._table = table
        self._faults: frozenset[Fault] = frozenset()
        self._gates: dict[Fault, Gate] = {}

    @property
    def faults(self) -> frozenset[Fault]:
        """Present faults."""
        return self._faults

    def add_fault(self, fault: Fault) -> None:
        """Add a fault. A fault that is present already changes nothing."""
        if fault in self._faults:
            return
        self._faults |= {fault}
        if (gate := self._table[fault].gate) is not None:
            self._gates[fault] = gate()

    def remove_fault(self, fault: Fault | None = None) -> None:
        """Remove *fault*, or all faults if it is `None`."""
        self._faults = self._faults - {fault} if fault else frozenset()

    def cut_by(self, fault: Fault) -> frozenset[Port]:
        """Return the ports whose sessions are aborted when *fault* begins, and when it is repaired."""
        return self._table[fault].cut

    @property
    def shut(self) -> frozenset[Port]:
        """Closed ports."""
        return frozenset[Port]().union(*(effect.shut for effect in self._effects))

    @property
    def transaction_refusal(self) -> SmtpReply | None:
        """Reply to every SMTP transaction (MAIL); `None` if none is refused."""
        return next((effect.transaction_refusal for effect in self._effects if effect.transaction_refusal), None)

    @property
    def local_recipient_refusal(self) -> SmtpReply | None:
        """Reply to every recipient (RCPT) of the own domain; `None` if the accounts decide."""
        return next(
            (effect.local_recipient_refusal for effect in self._effects if effect.local_recipient_refusal), None
        )

    def gate(self, sender: str, recipient: str, now: datetime) -> SmtpReply | None:
        """Return the reply to a recipient (RCPT) at this time; `None` if it is not refused."""
        answers = (self._gates[fault](sender, recipient, now) for fault in self._in_order if fault in self._gates)
        return next((answer for answer in answers if answer), None)

    def sign_in_refusal(self, port: Port) -> SmtpReply | None:
        """Return the reply to every sign-in at a port; `None` if the credentials decide."""
        return next((effect.sign_in_refusal for effect in self._at(port) if effect.sign_in_refusal), None)

    def transform(self, queued_message: QueuedMessage) -> tuple[QueuedMessage, ...]:
        """Return the messages to queue instead of an accepted one, after all faults have changed it."""
        messages: tuple[QueuedMessage, ...] = (queued_message,)
        for effect in self._effects:
            if effect.transform is not None:
                messages = tuple(result for each in messages for result in effect.transform(each))
        return messages

    @property
    def after_data(self) -> Cut | None:
        """Whether the connection is cut after a message (DATA), and the message taken or lost; `None`: it is answered."""
        return next((effect.after_data for effect in self._effects if effect.after_data), None)

    def tls(self, port: Port) -> Tls:
        """Return the TLS state of a port."""
        return next((effect.tls for effect in self._at(port) if effect.tls), Tls.SOUND)

    def behavior(self, port: Port) -> ResponseBehavior | None:
        """Return the response behavior of a new connection at a port; `None` if it is normal."""
        return chain(effect.behavior() for effect in self._at(port) if effect.behavior)

    @property
    def idle_limit(self) -> timedelta | None:
        """Time limit of IDLE without an update; `None`: there is no limit."""
        return min((effect.idle_limit for effect in self._effects if effect.idle_limit is not None), default=None)

    @property
    def notifies_in_idle(self) -> bool:
        """Whether the server sends updates in IDLE."""
        return all(effect.notifies_in_idle for effect in self._effects)

    @property
    def uidplus(self) -> bool:
        """Whether the IMAP server has UIDPLUS."""
        return all(effect.uidplus for effect in self._effects)

    @property
    def _in_order(self) -> Iterator[Fault]:
        # In the order of the enum, so that the same faults have the same effect whatever the order in which they were
        # added. The check for an empty set is for speed: this runs with each command, and most systems have no fault.
        return (fault for fault in Fault if fault in self._faults) if self._faults else iter(())

    @property
    def _effects(self) -> tuple[Effect, ...]:
        return tuple(self._table[fault] for fault in self._in_order)

    def _at(self, port: Port) -> Iterator[Effect]:
        return (effect for effect in self._effects if port in effect.at)
