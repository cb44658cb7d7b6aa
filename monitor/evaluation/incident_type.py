"""Decide what is told to be wrong with an agency whose mail is down in some direction. Pure."""

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
    """Return what is wrong with an agency's mail; `None` if nothing is that is known. *internal* as for `what_is_down`."""
    if Health.DOWN in directions.values():
        return what_is_down(directions, internal)
    return IncidentType.DEGRADED if Health.DEGRADED in directions.values() else None


def with_sign_in(matter: IncidentType | None, *, is_refused: bool) -> IncidentType | None:
    """Return what is wrong where sign-ins are refused, perhaps everybody's, besides *matter*: an outage says more than that."""
    return IncidentType.SIGN_IN if is_refused and matter in {None, IncidentType.DEGRADED} else matter


def what_is_down(directions: Mapping[Direction, Health], internal: Iterable[HealthTracker]) -> IncidentType:
    """Return which part of an agency's mail is down; *internal* are its routes to itself, which tell by where they fail."""
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
        # Nothing else is probed, so nothing says that mail works in any way.
        return IncidentType.BOTH
    # Only mail within the agency fails, somewhere on the way: staff must look, but nobody outside is affected.
    return IncidentType.DEGRADED


#: Which ways mail goes that a matter is about.
WAYS: Mapping[IncidentType, Collection[Direction]] = {
    IncidentType.BOTH: (Direction.OUTBOUND, Direction.INBOUND),
    IncidentType.SENDING: (Direction.OUTBOUND,),
    IncidentType.RECEIVING: (Direction.INBOUND,),
    IncidentType.DEGRADED: (),
    IncidentType.SIGN_IN: (),
}
#: How a direction is judged in which mail goes, slowly or not always perhaps.
WORKS = frozenset({Health.UP, Health.DEGRADED})


def began_at(
    matter: IncidentType, by_direction: Mapping[Direction, Sequence[HealthTracker]], within: timedelta
) -> datetime | None:
    """Return when an outage began; `None` for slowness, or where no route says since when it is down.

    Only what is down counts: that nothing can be sent began when sending failed, and not when mail was first in junk. Of
    both the later is the start. *within*: routes are tried one after the other, and failures no further apart are one.
    """
    inside = _down_since(by_direction.get(Direction.INTERNAL, ()))
    starts: list[datetime] = []
    for way in WAYS.get(matter, ()):
        subjects = by_direction.get(way, ())
        # Where the way itself is not down, it is mail within the agency that fails at that end.
        own = _down_since(subjects) if combine(s.current_health for s in subjects) is Health.DOWN else inside
        if own:
            starts.append(_first_of_one((*own, *inside), max(own), within))
    return _first_of_one(starts, max(starts), within) if starts else None


def _first_of_one(starts: Iterable[datetime], last: datetime, within: timedelta) -> datetime:
    """Return the first of those that belong to the *last* of an outage."""
    return min(at for at in starts if last - at <= within)


def _down_since(subjects: Iterable[HealthTracker]) -> list[datetime]:
    return [at for s in subjects if s.current_health is Health.DOWN and (at := s.trouble_since())]


def is_proven_less(matter: IncidentType, told: IncidentType, directions: Mapping[Direction, Health]) -> bool:
    """Return whether less is wrong than was *told*, and what works again is proven to.

    A direction that is probed no more, or of which nothing is known now, has not been seen to work.
    """
    if matter not in WAYS or told not in WAYS:
        return False
    gone = set(WAYS[told]) - set(WAYS[matter])
    return bool(gone) and all(directions.get(way) in WORKS for way in gone)


def prevailing(causes: Iterable[Cause]) -> Cause | None:
    """Return the most frequent. `None` where two are as frequent: half a truth sends people to the wrong server."""
    match Counter(causes).most_common(2):
        case [(only, _)]:
            return only
        case [(first, often), (_, seldom)] if often > seldom:
            return first
        case _:
            return None


def can_end(matter: IncidentType, directions: Collection[Direction]) -> bool:
    """Return whether runs in *directions*, all that are probed now, can prove that *matter* is over.

    A direction that fails may be taken out of the configuration. That the others work does not say that it does.
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
    """Return which ends fail, where that is known."""
    return {
        run.result.failure.party
        for subject in internal
        for run in subject.recent
        if run.grade is Grade.BAD and run.result and run.result.failure and run.outcome not in ON_THE_WAY
    }
