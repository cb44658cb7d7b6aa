"""Incident type of an agency's mail, by the health of its directions, and when the outage began. Pure.

The directions of mail are outbound, inbound and internal (from the agency to itself).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from alerts.model.notification import Cause, IncidentType
from monitor.evaluation.evidence import FAILED_IN_TRANSIT
from monitor.evaluation.health import combine
from monitor.evaluation.health_tracker import HealthTracker
from monitor.model.health import Grade, Health
from monitor.model.route import Direction
from probes.model.result import Party


def incident_type_of(directions: Mapping[Direction, Health], internal: Iterable[HealthTracker]) -> IncidentType | None:
    """Return the incident type by the health of an agency's *directions*; `None` if none is down or degraded.

    *internal*: trackers of the internal routes (`outage_type`).
    """
    if Health.DOWN in directions.values():
        return outage_type(directions, internal)
    return IncidentType.DEGRADED if Health.DEGRADED in directions.values() else None


def with_refused_sign_in(incident_type: IncidentType | None, *, is_refused: bool) -> IncidentType | None:
    """Return the incident type, given whether the agency's server may refuse all sign-ins (*is_refused*).

    Refused sign-ins take precedence over degraded mail, but not over an outage.
    """
    return IncidentType.SIGN_IN if is_refused and incident_type in {None, IncidentType.DEGRADED} else incident_type


def outage_type(directions: Mapping[Direction, Health], internal: Iterable[HealthTracker]) -> IncidentType:
    """Return the type of an outage.

    *internal*: trackers of the internal routes. A failed run on such a route shows whether sending or receiving fails.
    """
    sending = directions.get(Direction.OUTBOUND) is Health.DOWN
    receiving = directions.get(Direction.INBOUND) is Health.DOWN
    if directions.get(Direction.INTERNAL) is Health.DOWN:
        parties = _failing_parties(internal)
        sending = sending or Party.SENDER in parties
        receiving = receiving or Party.RECIPIENT in parties
    if sending and receiving:
        return IncidentType.BOTH
    if sending or receiving:
        return IncidentType.SENDING if sending else IncidentType.RECEIVING
    if directions.keys() <= {Direction.INTERNAL}:
        # No other direction is probed, so nothing proves that sending or receiving works.
        return IncidentType.BOTH
    # Internal mail is lost in transit; mail to and from outside works.
    return IncidentType.DEGRADED


#: Directions in which mail fails, by incident type.
TYPE_DIRECTIONS: Mapping[IncidentType, Collection[Direction]] = {
    IncidentType.BOTH: (Direction.OUTBOUND, Direction.INBOUND),
    IncidentType.SENDING: (Direction.OUTBOUND,),
    IncidentType.RECEIVING: (Direction.INBOUND,),
    IncidentType.DEGRADED: (),
    IncidentType.SIGN_IN: (),
}
#: Health of a direction in which mail arrives, even if slowly or not always.
PASSING = frozenset({Health.UP, Health.DEGRADED})


def outage_start(
    incident_type: IncidentType, by_direction: Mapping[Direction, Sequence[HealthTracker]], max_gap: timedelta
) -> datetime | None:
    """Return when an outage began; `None` for other incident types, or if the start is unknown.

    Only routes that are down count, not slow routes. If both directions are down, the outage began when the second
    direction failed. Routes do not run at the same time, so failures up to *max_gap* apart belong to one outage, which
    began with the first failure.
    """
    internal_starts = _outage_starts(by_direction.get(Direction.INTERNAL, ()))
    starts: list[datetime] = []
    for direction in TYPE_DIRECTIONS.get(incident_type, ()):
        trackers = by_direction.get(direction, ())
        # If the direction itself is not down, the incident type was derived from the internal routes.
        direction_starts = (
            _outage_starts(trackers)
            if combine(tracker.current_health for tracker in trackers) is Health.DOWN
            else internal_starts
        )
        if direction_starts:
            starts.append(_start_of_outage((*direction_starts, *internal_starts), max(direction_starts), max_gap))
    return _start_of_outage(starts, max(starts), max_gap) if starts else None


def _start_of_outage(starts: Iterable[datetime], last: datetime, max_gap: timedelta) -> datetime:
    """Return the first of *starts* that is at most *max_gap* before *last*."""
    return min(at for at in starts if last - at <= max_gap)


def _outage_starts(trackers: Iterable[HealthTracker]) -> list[datetime]:
    """Return the start of the outage of each route that is down."""
    return [at for tracker in trackers if tracker.current_health is Health.DOWN and (at := tracker.trouble_since())]


def is_partial_recovery(
    incident_type: IncidentType, notified_type: IncidentType, directions: Mapping[Direction, Health]
) -> bool:
    """Return whether fewer directions fail than people were notified of, and the other directions are proven to work.

    *notified_type*: type in the last notification. A direction with unknown health, or that is not probed any more, is
    not proven to work.
    """
    if incident_type not in TYPE_DIRECTIONS or notified_type not in TYPE_DIRECTIONS:
        return False
    recovered = set(TYPE_DIRECTIONS[notified_type]) - set(TYPE_DIRECTIONS[incident_type])
    return bool(recovered) and all(directions.get(direction) in PASSING for direction in recovered)


def most_frequent_cause(causes: Iterable[Cause]) -> Cause | None:
    """Return the most frequent cause. `None` on a tie, because a wrong cause would send people to the wrong server."""
    match Counter(causes).most_common(2):
        case [(only, _)]:
            return only
        case [(first, most), (_, fewer)] if most > fewer:
            return first
        case _:
            return None


def can_prove_end(incident_type: IncidentType, directions: Collection[Direction]) -> bool:
    """Return whether runs in *directions* can prove the end of an incident of *incident_type*.

    *directions*: all directions that are probed now. The failing direction may have been removed from the
    configuration.
    """
    sends = bool({Direction.OUTBOUND, Direction.INTERNAL}.intersection(directions))
    receives = bool({Direction.INBOUND, Direction.INTERNAL}.intersection(directions))
    match incident_type:
        case IncidentType.SENDING:
            return sends
        case IncidentType.RECEIVING:
            return receives
        case IncidentType.BOTH:
            return sends and receives
        case _:
            return True


def _failing_parties(internal: Iterable[HealthTracker]) -> set[Party]:
    """Return the ends at which runs on *internal* routes fail, except runs whose message failed in transit."""
    return {
        run.result.failure.party
        for tracker in internal
        for run in tracker.recent
        if run.grade is Grade.BAD and run.result and run.result.failure and run.outcome not in FAILED_IN_TRANSIT
    }
