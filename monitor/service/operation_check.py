"""Check of a person's operation on an incident against the newest probe runs, before the operation notifies anybody.

The release of an announcement that mail fails contradicts runs whose messages arrive. A false alarm, and a closure that
states that mail works, contradict runs that fail.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from alerts.decide.contradiction import LatestArrivals, Operation, OperationEffect, operation_effect
from alerts.documents import phrase
from alerts.model.contradiction import Contradiction
from alerts.model.delivery import NotificationDraft
from alerts.model.event import MarkFalseAlarm, Release
from alerts.model.incident import SUPPRESSION_PERIOD, Incident, apply
from alerts.model.notification import IncidentType
from alerts.persistence.clock import Clock
from monitor.service.errors import Bilingual, OperationRejectedError
from monitor.store.engine.unit_of_work import SqlStore

#: Maximum number of recipients that an error names. The error gives the number of the others.
_MAX_NAMED: Final = 8
_DIRECTIONS: Final = {
    IncidentType.SENDING: Bilingual("from the agency", malay="daripada agensi"),
    IncidentType.RECEIVING: Bilingual("to the agency", malay="kepada agensi"),
}


class OperationCheck:
    """Check that rejects operations that contradict the newest runs, unless their author overrides it."""

    def __init__(
        self, *, store: SqlStore, clock: Clock, measure_mail: Callable[[str], Awaitable[LatestArrivals]]
    ) -> None:
        """*measure_mail* returns an agency's `LatestArrivals`; it first runs the routes whose newest run is old."""
        self._store = store
        self._clock = clock
        self._measure_mail = measure_mail

    async def check(self, incident: Incident, operation: Operation) -> None:
        """Raise `OperationRejectedError` if the newest runs contradict the operation.

        The error contains the value of `despite` that overrides the contradiction. The check measures mail, which takes
        some seconds, only if a measurement could contradict.
        """
        expected_contradiction = (
            Contradiction.WORKS_AGAIN if isinstance(operation, Release) else Contradiction.STILL_FAILS
        )
        if (
            operation.despite is expected_contradiction
            or incident.detected is None
            # The operation has no effect.
            or apply(incident, operation) is incident
        ):
            return
        # A closure or false alarm that does not contradict even if no message arrives needs no measurement.
        if not isinstance(operation, Release) and (await self.effect(incident, operation, {})).contradiction is None:
            return
        effect = await self.effect(incident, operation, await self._measure_mail(incident.policy.agency))
        if effect.contradiction is not None:
            raise _contradiction_error(incident, operation, effect, effect.contradiction)

    async def effect(
        self, incident: Incident, operation: Operation, latest_arrivals: LatestArrivals
    ) -> OperationEffect:
        """Return the effect that an operation would have on an incident."""
        async with self._store.reading() as uow:
            notifications = await uow.notifications(incident.id)
        return operation_effect(incident, operation, notifications, latest_arrivals, self._clock.now())


def _contradiction_error(
    incident: Incident, operation: Operation, effect: OperationEffect, contradiction: Contradiction
) -> OperationRejectedError:
    number, recipients = incident.number, format_recipients(incident, effect.drafts)
    if contradiction is Contradiction.WORKS_AGAIN:
        directions = _joined([_DIRECTIONS[direction] for direction in effect.conflicting_types])
        error = OperationRejectedError.from_text("works_again", number=number, readers=recipients, ways=directions)
    else:
        [incident_type] = effect.conflicting_types
        detected = Bilingual(str(incident_type), malay=phrase.INCIDENT_TYPES[incident_type])
        hours = SUPPRESSION_PERIOD // timedelta(hours=1)
        if isinstance(operation, MarkFalseAlarm):
            error = OperationRejectedError.from_text(
                "still_fails_false_alarm", number=number, readers=recipients, measured=detected, hours=hours
            )
        else:
            error = OperationRejectedError.from_text(
                "still_fails_recovered", number=number, readers=recipients, measured=detected, hours=hours
            )
    error.despite = contradiction
    return error


def format_recipients(incident: Incident, drafts: Sequence[NotificationDraft]) -> Bilingual:
    """Return the recipients of notifications: "Siti Contoh (sms), Kementerian Contoh (fax) and 3 more"."""
    named = [
        (str(draft.addressee or incident.contact_name(draft.person)), draft.addresses[0].channel)
        for draft in drafts[:_MAX_NAMED]
    ]
    if not named:
        return Bilingual("nobody", malay="tiada sesiapa")
    more = len(drafts) - len(named)
    return Bilingual(
        ", ".join(f"{name} ({channel})" for name, channel in named) + (f" and {more} more" if more else ""),
        malay=", ".join(f"{name} ({phrase.CHANNELS[channel]})" for name, channel in named)
        + (f" dan {more} lagi" if more else ""),
    )


def _joined(texts: Sequence[Bilingual]) -> Bilingual:
    return Bilingual(" and ".join(map(str, texts)), malay=" dan ".join(text.malay for text in texts))
