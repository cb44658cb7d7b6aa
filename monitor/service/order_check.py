"""Check of an operation on an incident against the newest runs, before it notifies anybody.

A release contradicts runs that arrive; a closure or a false alarm contradicts runs that fail.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from alerts.decide.contradiction import LatestArrivals, Operation, OrderEffect, operation_effect
from alerts.documents import phrase
from alerts.model.contradiction import Contradiction
from alerts.model.delivery import NotificationDraft
from alerts.model.event import MarkFalseAlarm, Release
from alerts.model.incident import SUPPRESSION_PERIOD, Incident, apply
from alerts.model.notification import IncidentType
from alerts.persistence.clock import Clock
from monitor.service.errors import Bilingual, OperationRejectedError
from monitor.store.engine.ledger import SqlStore

#: Maximum of readers (recipients of the notifications) that an error names; further ones are counted.
_MAX_NAMED: Final = 8
_DIRECTIONS: Final = {
    IncidentType.SENDING: Bilingual("from the agency", malay="daripada agensi"),
    IncidentType.RECEIVING: Bilingual("to the agency", malay="kepada agensi"),
}


class OrderCheck:
    """Check that rejects operations that contradict the newest runs, unless their author overrides it."""

    def __init__(
        self, *, store: SqlStore, clock: Clock, measure_mail: Callable[[str], Awaitable[LatestArrivals]]
    ) -> None:
        """*measure_mail* returns the latest arrivals of an agency, after new runs if necessary."""
        self._store = store
        self._clock = clock
        self._measure_mail = measure_mail

    async def check(self, incident: Incident, operation: Operation) -> None:
        """Raise `OperationRejectedError` if the newest runs contradict the operation.

        The error names the value of `despite` that overrides the contradiction.

        A measurement takes some seconds, and is omitted if no run could contradict.
        """
        expected_contradiction = (
            Contradiction.WORKS_AGAIN if isinstance(operation, Release) else Contradiction.STILL_FAILS
        )
        if (
            operation.despite is expected_contradiction
            or incident.detected is None
            or apply(incident, operation) is incident
        ):
            return
        if not isinstance(operation, Release) and (await self.effect(incident, operation, {})).contradiction is None:
            return
        outcome = await self.effect(incident, operation, await self._measure_mail(incident.policy.agency))
        if outcome.contradiction is not None:
            raise _contradiction_error(incident, operation, outcome, outcome.contradiction)

    async def effect(self, incident: Incident, operation: Operation, latest_arrivals: LatestArrivals) -> OrderEffect:
        """Return the effect that an operation would have on an incident."""
        async with self._store.reading() as uow:
            notices = await uow.notifications(incident.id)
        return operation_effect(incident, operation, notices, latest_arrivals, self._clock.now())


def _contradiction_error(
    incident: Incident, operation: Operation, effect: OrderEffect, contradiction: Contradiction
) -> OperationRejectedError:
    number, named_readers = incident.number, readers(incident, effect.drafts)
    if contradiction is Contradiction.WORKS_AGAIN:
        directions = _joined([_DIRECTIONS[direction] for direction in effect.conflicting_types])
        error = OperationRejectedError.from_text("works_again", number=number, readers=named_readers, ways=directions)
    else:
        [incident_type] = effect.conflicting_types
        detected = Bilingual(str(incident_type), malay=phrase.INCIDENT_TYPES[incident_type])
        hours = SUPPRESSION_PERIOD // timedelta(hours=1)
        if isinstance(operation, MarkFalseAlarm):
            error = OperationRejectedError.from_text(
                "still_fails_false_alarm", number=number, readers=named_readers, measured=detected, hours=hours
            )
        else:
            error = OperationRejectedError.from_text(
                "still_fails_recovered", number=number, readers=named_readers, measured=detected, hours=hours
            )
    error.despite = contradiction
    return error


def readers(incident: Incident, drafts: Sequence[NotificationDraft]) -> Bilingual:
    """Return the recipients of notifications: "Siti Contoh (sms), Kementerian Contoh (fax) and 3 more"."""
    readers_with_channel = [
        (str(draft.addressee or incident.contact_name(draft.person)), draft.addresses[0].channel)
        for draft in drafts[:_MAX_NAMED]
    ]
    if not readers_with_channel:
        return Bilingual("nobody", malay="tiada sesiapa")
    more = len(drafts) - len(readers_with_channel)
    return Bilingual(
        ", ".join(f"{reader} ({channel})" for reader, channel in readers_with_channel)
        + (f" and {more} more" if more else ""),
        malay=", ".join(f"{reader} ({phrase.CHANNELS[channel]})" for reader, channel in readers_with_channel)
        + (f" dan {more} lagi" if more else ""),
    )


def _joined(texts: Sequence[Bilingual]) -> Bilingual:
    return Bilingual(" and ".join(map(str, texts)), malay=" dan ".join(text.malay for text in texts))
