"""Incident type of an agency whose mail is down in some direction. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from alerts.model.notification import Cause, IncidentType
from monitor.evaluation.evidence import ON_THE_WAY
from monitor.evaluation.health import combine
from monitor.evaluation.health_tracker import HealthTracker
from monitor.model.health import Grade, Health
from monitor.model.route import Direction
from probes.model.result import Party


def matter_of(directions: Mapping[Direction, Health], internal: Iterable[HealthTracker]) -> IncidentType | None:
    """Return what is wrong with an agency's mail; `None` if nothing is known. *internal*: see `what_is_down`."""
    if Health.DOWN in directions.values():
        return what_is_down(directions, internal)
    return IncidentType.DEGRADED if Health.DEGRADED in directions.values() else None


def with_sign_in(matter: IncidentType | None, *, is_refused: bool) -> IncidentType | None:
    """Return the type with refused sign-ins, perhaps everybody's, beside *matter*: an outage takes precedence."""
    return IncidentType.SIGN_IN if is_refused and matter in {None, IncidentType.DEGRADED} else matter


def what_is_down(directions: Mapping[Direction, Health], internal: Iterable[HealthTracker]) -> IncidentType:
    """Return which part of an agency's mail is down; *internal* are its routes to itself, which show where they fail."""
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
        # Nothing else is probed, so nothing proves that any mail works.
        return IncidentType.BOTH
    # Only mail within the agency fails in transit: staff must act, but nobody outside is affected.
    return IncidentType.DEGRADED


#: Directions that a type is about.
WAYS: Mapping[IncidentType, Collection[Direction]] = {
    IncidentType.BOTH: (Direction.OUTBOUND, Direction.INBOUND),
    IncidentType.SENDING: (Direction.OUTBOUND,),
    IncidentType.RECEIVING: (Direction.INBOUND,),
    IncidentType.DEGRADED: (),
    IncidentType.SIGN_IN: (),
}
#: Health of a direction in which mail passes, perhaps slowly or not always.
WORKS = frozenset({Health.UP, Health.DEGRADED})


def began_at(
    matter: IncidentType, by_direction: Mapping[Direction, Sequence[HealthTracker]], within: timedelta
) -> datetime | None:
    """Return when an outage began; `None` for slowness, or if no route has a start.

    Only the direction that is down counts: an outage of sending begins with failed sending, not with the first junk.
    For both directions the later start counts. *within*: routes run one after the other, and failures no further apart
    are one.
    """
    inside = _down_since(by_direction.get(Direction.INTERNAL, ()))
    starts: list[datetime] = []
    for way in WAYS.get(matter, ()):
        subjects = by_direction.get(way, ())
        # If the direction itself is not down, mail within the agency fails at that end.
        own = _down_since(subjects) if combine(s.current_health for s in subjects) is Health.DOWN else inside
        if own:
            starts.append(_first_of_one((*own, *inside), max(own), within))
    return _first_of_one(starts, max(starts), within) if starts else None


def _first_of_one(starts: Iterable[datetime], last: datetime, within: timedelta) -> datetime:
    """Return the first start that belongs to the *last* outage."""
    return min(at for at in starts if last - at <= within)


def _down_since(subjects: Iterable[HealthTracker]) -> list[datetime]:
    return [at for s in subjects if s.current_health is Health.DOWN and (at := s.trouble_since())]


def is_proven_less(matter: IncidentType, told: IncidentType, directions: Mapping[Direction, Health]) -> bool:
    """Return whether less is wrong than was *told*, and the rest is proven to work.

    A direction that is not probed any more, or unknown, is not proven.
    """
    if matter not in WAYS or told not in WAYS:
        return False
    gone = set(WAYS[told]) - set(WAYS[matter])
    return bool(gone) and all(directions.get(way) in WORKS for way in gone)


def prevailing(causes: Iterable[Cause]) -> Cause | None:
    """Return the most frequent cause. `None` on a tie: half the truth sends people to the wrong server."""
    match Counter(causes).most_common(2):
        case [(only, _)]:
            return only
        case [(first, often), (_, seldom)] if often > seldom:
            return first
        case _:
            return None


def can_end(matter: IncidentType, directions: Collection[Direction]) -> bool:
    """Return whether runs in *directions*, all that are probed now, can prove the end of *matter*.

    The failing direction may have been removed from the configuration; the others prove nothing about it.
    """
    sends = bool({Direction.OUTBOUND, Direction.INTERNAL}.intersection(directions))
    receives = bool({Direction.INBOUND, Direction.INTERNAL}.intersection(directions))
    match matter:
        case IncidentType.SENDING:
            return sends
        case IncidentType.RECEIVING:
            return receives
        case IncidentType.BOTH:
            return sends and receives
        case _:
            return True


def _failing_parties(internal: Iterable[HealthTracker]) -> set[Party]:
    """Return the failing parties, if known."""
    return {
        run.result.failure.party
        for subject in internal
        for run in subject.recent
        if run.grade is Grade.BAD and run.result and run.result.failure and run.outcome not in ON_THE_WAY
    }
