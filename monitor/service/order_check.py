"""Check of an operation on an incident against the newest measurements, before notifications are sent because of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from alerts.decide.contradiction import Delivered, Order, OrderEffect, effect
from alerts.documents import phrase
from alerts.model.contradiction import Contradiction
from alerts.model.delivery import NotificationDraft
from alerts.model.event import MarkFalseAlarm, Release
from alerts.model.incident import SUPPRESSED_FOR, Incident, apply
from alerts.model.notification import IncidentType
from alerts.persistence.clock import Clock
from monitor.service.errors import Bilingual, OperationRejectedError
from monitor.store.engine.ledger import SqlStore

#: Maximum of readers that are named; the others are counted.
_NAMED: Final = 8
_WAYS: Final = {
    IncidentType.SENDING: Bilingual("from the agency", malay="daripada agensi"),
    IncidentType.RECEIVING: Bilingual("to the agency", malay="kepada agensi"),
}


class OrderCheck:
    """Refuses operations that contradict the newest runs, unless the contradiction is overridden."""

    def __init__(self, *, store: SqlStore, clock: Clock, measure: Callable[[str], Awaitable[Delivered]]) -> None:
        """*measure* measures an agency's mail now."""
        self._store = store
        self._clock = clock
        self._measure = measure

    async def check(self, incident: Incident, order: Order) -> None:
        """Raise `OperationRejectedError` with the value for `despite`.

        A measurement takes some seconds and is omitted if no run could contradict.
        """
        possible = Contradiction.WORKS_AGAIN if isinstance(order, Release) else Contradiction.STILL_FAILS
        if order.despite is possible or incident.detected is None or apply(incident, order) is incident:
            return
        if not isinstance(order, Release) and (await self.effect(incident, order, {})).contradiction is None:
            return
        found = await self.effect(incident, order, await self._measure(incident.policy.agency))
        if found.contradiction is not None:
            raise _contradicted(incident, order, found, found.contradiction)

    async def effect(self, incident: Incident, order: Order, delivered: Delivered) -> OrderEffect:
        """Return the effect that an operation would have."""
        async with self._store.reading() as ledger:
            notices = await ledger.notices(incident.id)
        return effect(incident, order, notices, delivered, self._clock.now())


def _contradicted(
    incident: Incident, order: Order, found: OrderEffect, contradiction: Contradiction
) -> OperationRejectedError:
    number, reading = incident.number, readers(incident, found.drafts)
    if contradiction is Contradiction.WORKS_AGAIN:
        ways = _together([_WAYS[way] for way in found.found])
        wrong = OperationRejectedError.said("works_again", number=number, readers=reading, ways=ways)
    else:
        [matter] = found.found
        measured = Bilingual(str(matter), malay=phrase.MATTERS[matter])
        hours = SUPPRESSED_FOR // timedelta(hours=1)
        if isinstance(order, MarkFalseAlarm):
            wrong = OperationRejectedError.said(
                "still_fails_false_alarm", number=number, readers=reading, measured=measured, hours=hours
            )
        else:
            wrong = OperationRejectedError.said(
                "still_fails_recovered", number=number, readers=reading, measured=measured, hours=hours
            )
    wrong.despite = contradiction
    return wrong


def readers(incident: Incident, drafts: Sequence[NotificationDraft]) -> Bilingual:
    """Return the readers of notifications: "Siti Contoh (sms), Kementerian Contoh (fax) and 3 more"."""
    named = [
        (str(draft.addressee or incident.name_of(draft.person)), draft.addresses[0].channel)
        for draft in drafts[:_NAMED]
    ]
    if not named:
        return Bilingual("nobody", malay="tiada sesiapa")
    more = len(drafts) - len(named)
    return Bilingual(
        ", ".join(f"{who} ({channel})" for who, channel in named) + (f" and {more} more" if more else ""),
        malay=", ".join(f"{who} ({phrase.CHANNELS[channel]})" for who, channel in named)
        + (f" dan {more} lagi" if more else ""),
    )


def _together(words: Sequence[Bilingual]) -> Bilingual:
    return Bilingual(" and ".join(map(str, words)), malay=" dan ".join(each.malay for each in words))
