"""Timeline of an agency's mail: the state of each minute, as far as runs prove it. No clock, no I/O.

Two consecutive runs prove the state between them. The state after the last run is unproven until the next run. Minutes
without conclusive runs have no data: our own side had a fault (a monitoring fault), or no process probed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.model.notification import IncidentType
from monitor.evaluation.health import combine
from monitor.evaluation.health_tracker import HealthTracker, deciding_trackers
from monitor.evaluation.incident_type import TYPE_DIRECTIONS, incident_type_of
from monitor.model.day import MinuteState, TimelineSpan
from monitor.model.health import UNHEALTHY, Health
from monitor.model.route import Direction

#: Minute state while a direction is down. If both directions are down, each has its own span, and `DayTimeline`
#: combines the spans.
_DIRECTION_STATES = {Direction.OUTBOUND: MinuteState.NO_SENDING, Direction.INBOUND: MinuteState.NO_RECEIVING}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedHealth:
    """State of an agency's mail as of its last confirming run."""

    #: Start of each state. There are two states if both sending and receiving are down.
    since: Mapping[MinuteState, datetime]
    #: Start of the last run that confirms the state.
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Input of the timeline after each run."""

    #: `None`: the health of some direction is unknown, so that no state is proven.
    proven: ConfirmedHealth | None
    #: Whether some direction has only routes with inconclusive runs, because of a monitoring fault.
    is_obstructed: bool


class TimelineBuilder:
    """Derives the timeline of one agency from successive observations."""

    def __init__(self) -> None:
        self._last: ConfirmedHealth | None = None
        #: Start of continuous observation by this process. Earlier changes are unknown.
        self._observed_since: datetime | None = None

    def resume(self, state: MinuteState, until: datetime) -> None:
        """Continue from the last *state* of an earlier process with the same name, which is proven until *until*."""
        states = (*_DIRECTION_STATES.values(),) if state is MinuteState.NO_MAIL else (state,)
        if state in _PROVABLE:
            self._last, self._observed_since = ConfirmedHealth(since=dict.fromkeys(states, until), until=until), until

    def interrupt(self) -> None:
        """Start anew after a gap in the observation. The state before the gap does not prove the state in it."""
        self._last = None

    def advance(self, observation: Observation, max_gap: timedelta) -> Sequence[TimelineSpan]:
        """Process the next observation, and return the newly proven spans.

        Two runs that are further than *max_gap* apart do not prove the state between them.
        """
        last, proven = self._last, observation.proven
        if proven is None:
            if observation.is_obstructed:
                self.interrupt()
            return ()
        if last == proven:
            return ()
        self._last = proven
        if last is None or self._observed_since is None or proven.until < last.until - max_gap:
            # This is the first observation, or the clock was set back.
            self._observed_since = proven.until
            return list(_spans(proven.since, proven.until, proven.until))
        if last.since.keys() == proven.since.keys():
            if proven.until - last.until > max_gap:
                self._observed_since = proven.until
                return list(_spans(proven.since, proven.until, proven.until))
            return list(_spans(proven.since, last.until, proven.until))
        # The new state may have begun with an earlier run: an outage begins with the first failure of its streak.
        changed_at = max(min(proven.since.values()), self._observed_since)
        spans = [
            TimelineSpan(state=state, starts_at=max(at, self._observed_since), until=proven.until)
            for state, at in proven.since.items()
        ]
        if last.until < changed_at <= last.until + max_gap:
            # The minute of a change has the new state. So the durations agree with reported ones: 14.15 to 17.40 are
            # 3 h 25 min.
            spans += _spans(last.since, last.until, max(last.until, changed_at - timedelta(minutes=1)))
        return spans


#: States that runs can prove. Other states come from maintenance windows, active hours or people.
_PROVABLE = frozenset({MinuteState.UP, MinuteState.DEGRADED, MinuteState.NO_MAIL, *_DIRECTION_STATES.values()})


def _spans(states: Collection[MinuteState], start: datetime, until: datetime) -> Iterator[TimelineSpan]:
    """Yield a span for each state."""
    return (TimelineSpan(state=state, starts_at=start, until=until) for state in states)


def outage_states(incident_type: IncidentType) -> Sequence[MinuteState]:
    """Return the minute states of an outage, one for each direction that is down; empty for other incident types."""
    return [_DIRECTION_STATES[direction] for direction in TYPE_DIRECTIONS.get(incident_type, ())]


def observe_agency(by_direction: Mapping[Direction, Sequence[HealthTracker]], up_since: datetime | None) -> Observation:
    """Return the observation of an agency by the trackers of its routes.

    *up_since*: since when every direction works; `None`: not all work.
    """
    deciding = {direction: deciding_trackers(trackers) for direction, trackers in by_direction.items()}
    confirmed = {direction: at for direction, trackers in deciding.items() if (at := _last_confirmation(trackers))}
    healths = {
        direction: combine(tracker.health for tracker in trackers) if direction in confirmed else Health.UNKNOWN
        for direction, trackers in deciding.items()
    }
    proven = _confirmed_health(by_direction, deciding, confirmed, healths, up_since)
    return Observation(
        proven=proven,
        is_obstructed=any(all(tracker.inconclusive_runs for tracker in trackers) for trackers in deciding.values()),
    )


def _confirmed_health(
    by_direction: Mapping[Direction, Sequence[HealthTracker]],
    deciding: Mapping[Direction, Sequence[HealthTracker]],
    confirmed: Mapping[Direction, datetime],
    healths: Mapping[Direction, Health],
    up_since: datetime | None,
) -> ConfirmedHealth | None:
    incident_type = incident_type_of(healths, by_direction.get(Direction.INTERNAL, ()))
    if incident_type is None:
        # The state is confirmed until the oldest of the directions' confirmations.
        is_up = bool(healths) and all(health is Health.UP for health in healths.values())
        until = min(confirmed.values()) if is_up else None
        return ConfirmedHealth(since={MinuteState.UP: up_since or until}, until=until) if until else None
    if not (directions := TYPE_DIRECTIONS[incident_type]):
        # Mail is only degraded.
        unhealthy = [d for d, health in healths.items() if health in UNHEALTHY]
        since = min(
            (
                at
                for d in unhealthy
                for tracker in deciding[d]
                if tracker.health in UNHEALTHY and (at := tracker.trouble_since())
            ),
            default=None,
        )
        until = max(confirmed[d] for d in unhealthy)
        return ConfirmedHealth(since={MinuteState.DEGRADED: since or until}, until=until)
    # A direction is down since the last of its routes went down. If its own routes are not down, its failure was
    # derived from the internal routes (`outage_type`).
    sources = {
        direction: direction if healths.get(direction) is Health.DOWN else Direction.INTERNAL
        for direction in directions
    }
    until = max(confirmed[d] for d in sources.values())
    return ConfirmedHealth(
        since={
            _DIRECTION_STATES[direction]: max(
                (at for tracker in deciding[d] if (at := tracker.state_since())), default=until
            )
            for direction, d in sources.items()
        },
        until=until,
    )


def _last_confirmation(trackers: Sequence[HealthTracker]) -> datetime | None:
    """Return the start of the last run that agrees with its route's health; ignore routes with inconclusive runs."""
    return max(
        (at for tracker in trackers if not tracker.inconclusive_runs and (at := tracker.confirmed_at())), default=None
    )
