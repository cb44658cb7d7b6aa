"""What each fault does, and what the faults of one system add up to.

A mail system asks its `Condition` at the few places where it can go wrong. To add a fault, add a member to `Fault` and
a row to `effects`; a fault that strikes at a new place also needs a field of `Effect` and one question in `Condition`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from monitor.lab.mail.corruption import corrupted
from monitor.lab.mail.fault import Fault
from monitor.lab.mail.parcel import Parcel, Refusal, Reply
from monitor.lab.mail.port import Port


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one fault changes. A field that is left out leaves its place as it is."""

    #: The answer to every SMTP transaction (MAIL), at submission and from other systems alike.
    transaction: Reply | None = None
    #: The answer to every sign-in, right or wrong, at SMTP and IMAP alike.
    sign_in: Reply | None = None
    #: What becomes of a parcel that was just accepted: none is lost, two is a duplicate.
    handling: Callable[[Parcel], tuple[Parcel, ...]] | None = None
    #: Ports that do not answer.
    shut: frozenset[Port] = frozenset()
    #: Ports whose open sessions are cut when the fault strikes.
    cut: frozenset[Port] = frozenset()


def effects(*, slow_by: timedelta) -> Mapping[Fault, Effect]:
    """Return the row of every fault."""
    return {
        Fault.REFUSE: Effect(
            transaction=Reply(code=554, status="5.3.2", text="System is not accepting messages"),
        ),
        Fault.AUTH: Effect(
            sign_in=Reply(code=454, status="4.7.0", text="Temporary authentication failure"),
            # Whoever has signed in before would go on reading for hours, and see nothing of the fault.
            cut=frozenset({Port.IMAP}),
        ),
        Fault.LOSE: Effect(handling=_lose),
        Fault.SLOW: Effect(handling=lambda parcel: (replace(parcel, hold=parcel.hold + slow_by),)),
        Fault.BOUNCE: Effect(handling=_bounce),
        Fault.CORRUPT: Effect(handling=lambda parcel: (replace(parcel, content=corrupted(parcel.content)),)),
        Fault.IMAP: Effect(shut=frozenset({Port.IMAP})),
    }


def _lose(_parcel: Parcel) -> tuple[Parcel, ...]:
    return ()


def _bounce(parcel: Parcel) -> tuple[Parcel, ...]:
    # A report is never answered with a report (RFC 5321 section 4.5.5), or two broken systems would never stop.
    if not parcel.sender:
        return (parcel,)
    reply = Reply(code=550, status="5.7.1", text="Delivery not authorized, message refused")
    return (replace(parcel, doom=Refusal(reply=reply)),)


class Condition:
    """Which faults one mail system has, and what they add up to at each place. Does no I/O."""

    def __init__(self, table: Mapping[Fault, Effect]) -> None:
        self._table = table
        self._faults: frozenset[Fault] = frozenset()

    @property
    def faults(self) -> frozenset[Fault]:
        """The faults it has now."""
        return self._faults

    def suffer(self, fault: Fault) -> None:
        """Add a fault; again is the same as once."""
        self._faults |= {fault}

    def recover(self, fault: Fault | None = None) -> None:
        """Take one fault away, or all of them."""
        self._faults = self._faults - {fault} if fault else frozenset()

    @property
    def transaction(self) -> Reply | None:
        """What every SMTP transaction is answered; `None` when it may go on."""
        return next((effect.transaction for effect in self._effects if effect.transaction), None)

    @property
    def sign_in(self) -> Reply | None:
        """What every sign-in is answered; `None` when credentials decide."""
        return next((effect.sign_in for effect in self._effects if effect.sign_in), None)

    def handling(self, parcel: Parcel) -> tuple[Parcel, ...]:
        """Return what is left of an accepted parcel, every fault having had its turn."""
        parcels: tuple[Parcel, ...] = (parcel,)
        for effect in self._effects:
            if effect.handling is not None:
                parcels = tuple(result for each in parcels for result in effect.handling(each))
        return parcels

    @property
    def shut(self) -> frozenset[Port]:
        """The ports that do not answer."""
        return frozenset[Port]().union(*(effect.shut for effect in self._effects))

    def cut_by(self, fault: Fault) -> frozenset[Port]:
        """Return the ports whose sessions end when *fault* strikes."""
        return self._table[fault].cut

    @property
    def _effects(self) -> tuple[Effect, ...]:
        # In the order of the enum, so that the same faults always do the same.
        return tuple(self._table[fault] for fault in Fault if fault in self._faults)
