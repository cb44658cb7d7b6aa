"""What the faults of one mail system add up to. Does no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from pantau_lab.mail.faults.effect import Cut, Effect
from pantau_lab.mail.faults.fault import Fault
from pantau_lab.mail.faults.greylist import Gate
from pantau_lab.mail.faults.response_script import Manner, together
from pantau_lab.mail.resources.port import Port
from pantau_lab.mail.resources.tls import Tls
from pantau_lab.mail.transport.parcel import QueuedMessage, SmtpReply


class Condition:
    """Which faults one mail system has, and what follows at each place."""

    def __init__(self, table: Mapping[Fault, Effect]) -> None:
        self._table = table
        self._faults: frozenset[Fault] = frozenset()
        self._gates: dict[Fault, Gate] = {}

    @property
    def faults(self) -> frozenset[Fault]:
        """The faults it has now."""
        return self._faults

    def suffer(self, fault: Fault) -> None:
        """Add a fault; again is the same as once."""
        if fault in self._faults:
            return
        self._faults |= {fault}
        if (gate := self._table[fault].gate) is not None:
            self._gates[fault] = gate()

    def recover(self, fault: Fault | None = None) -> None:
        """Take one fault away, or all of them."""
        self._faults = self._faults - {fault} if fault else frozenset()

    def cut_by(self, fault: Fault) -> frozenset[Port]:
        """Return the ports whose sessions end when *fault* strikes, and when it is repaired."""
        return self._table[fault].cut

    @property
    def shut(self) -> frozenset[Port]:
        """The ports that do not answer."""
        return frozenset[Port]().union(*(effect.shut for effect in self._effects))

    @property
    def transaction(self) -> SmtpReply | None:
        """What every SMTP transaction is answered; `None` when it may go on."""
        return next((effect.transaction for effect in self._effects if effect.transaction), None)

    @property
    def own_recipient(self) -> SmtpReply | None:
        """What is answered about every own recipient; `None` when accounts decide."""
        return next((effect.own_recipient for effect in self._effects if effect.own_recipient), None)

    def gate(self, sender: str, recipient: str, now: datetime) -> SmtpReply | None:
        """Return what is answered about a recipient at this time; `None` when it may pass."""
        answers = (self._gates[fault](sender, recipient, now) for fault in self._in_order if fault in self._gates)
        return next((answer for answer in answers if answer), None)

    def sign_in(self, port: Port) -> SmtpReply | None:
        """Return what every sign-in at a port is answered; `None` when credentials decide."""
        return next((effect.sign_in for effect in self._at(port) if effect.sign_in), None)

    def handling(self, parcel: QueuedMessage) -> tuple[QueuedMessage, ...]:
        """Return what is left of an accepted parcel, every fault having had its turn."""
        parcels: tuple[QueuedMessage, ...] = (parcel,)
        for effect in self._effects:
            if effect.handling is not None:
                parcels = tuple(result for each in parcels for result in effect.handling(each))
        return parcels

    @property
    def after_data(self) -> Cut | None:
        """Whether the connection is cut after a message; `None` when it is answered."""
        return next((effect.after_data for effect in self._effects if effect.after_data), None)

    def tls(self, port: Port) -> Tls:
        """Return what is met at a port where encryption should begin."""
        return next((effect.tls for effect in self._at(port) if effect.tls), Tls.SOUND)

    def manner(self, port: Port) -> Manner | None:
        """Return how a connection that begins now at a port speaks; `None` when as it should."""
        return together(effect.manner() for effect in self._at(port) if effect.manner)

    @property
    def idle_for(self) -> timedelta | None:
        """How long a client may be in IDLE without news; `None` for as long as it likes."""
        return min((effect.idle_for for effect in self._effects if effect.idle_for is not None), default=None)

    @property
    def tells_in_idle(self) -> bool:
        """Whether IDLE tells what is new."""
        return all(effect.tells_in_idle for effect in self._effects)

    @property
    def uidplus(self) -> bool:
        """Whether the IMAP server has UIDPLUS."""
        return all(effect.uidplus for effect in self._effects)

    @property
    def _in_order(self) -> Iterator[Fault]:
        # Of the enum, so that the same faults always do the same. Most have none, and it is asked for with each command.
        return (fault for fault in Fault if fault in self._faults) if self._faults else iter(())

    @property
    def _effects(self) -> tuple[Effect, ...]:
        return tuple(self._table[fault] for fault in self._in_order)

    def _at(self, port: Port) -> Iterator[Effect]:
        return (effect for effect in self._effects if port in effect.at)
