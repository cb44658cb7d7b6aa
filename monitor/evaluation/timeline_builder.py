"""Timeline of an agency's mail from proven states. No clock, no I/O.

A minute counts when runs prove it, not because nothing contradicts it: two runs prove the time between them, and the
time after the last run is unproven until the next. Minutes without visible runs, because of our own fault or no
process, have no data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.model.notification import IncidentType
from monitor.evaluation.health import combine
from monitor.evaluation.health_tracker import HealthTracker, with_a_say
from monitor.evaluation.incident_type import WAYS, matter_of
from monitor.model.day import MinuteState, TimelineSpan
from monitor.model.health import IN_TROUBLE, Health
from monitor.model.route import Direction

#: Minute state of a direction that is down; both directions are marked separately.
_WAYS = {Direction.OUTBOUND: MinuteState.NO_SENDING, Direction.INBOUND: MinuteState.NO_RECEIVING}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedHealth:
    """Last confirmed health of an agency's mail."""

    #: Start by state: one state, or sending and receiving separately.
    since: Mapping[MinuteState, datetime]
    #: Start of the run that confirms it.
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Current observation of an agency's mail."""

    #: `None`: the health of some direction is unknown.
    proven: ConfirmedHealth | None
    #: Some direction is invisible because of our own fault.
    is_blind: bool


class TimelineBuilder:
    """Derives the proven minutes of one agency from successive observations."""

    def __init__(self) -> None:
        self._last: ConfirmedHealth | None = None
        #: Start of uninterrupted observation: earlier changes were not seen by this process.
        self._began: datetime | None = None

    def resume(self, state: MinuteState, until: datetime) -> None:
        """Continue from what another process of the same name had proven just before."""
        states = (*_WAYS.values(),) if state is MinuteState.NO_MAIL else (state,)
        if state in _PROVABLE:
            self._last, self._began = ConfirmedHealth(since=dict.fromkeys(states, until), until=until), until

    def interrupt(self) -> None:
        """Record a gap in observation: the health before it proves nothing for the gap."""
        self._last = None

    def follow(self, sight: Observation, within: timedelta) -> Sequence[TimelineSpan]:
        """Return the minutes that are settled now.

        Two runs more than *within* apart prove nothing about the time between.
        """
        last, proven = self._last, sight.proven
        if proven is None:
            if sight.is_blind:
                self.interrupt()
            return ()
        if last == proven:
            return ()
        self._last = proven
        if last is None or self._began is None or proven.until < last.until - within:
            # Start here, also after the clock was set back.
            self._began = proven.until
            return list(_marks(proven.since, proven.until, proven.until))
        if last.since.keys() == proven.since.keys():
            if proven.until - last.until > within:
                self._began = proven.until
                return list(_marks(proven.since, proven.until, proven.until))
            return list(_marks(proven.since, last.until, proven.until))
        # The current health began with an earlier run: an outage begins at the first failure.
        turned = max(min(proven.since.values()), self._began)
        marks = [
            TimelineSpan(state=state, starts_at=max(at, self._began), until=proven.until)
            for state, at in proven.since.items()
        ]
        if last.until < turned <= last.until + within:
            # The minute of a change has the new state, as in a reported duration: 14.15 to 17.40 are 3 h 25 min.
            marks += _marks(last.since, last.until, max(last.until, turned - timedelta(minutes=1)))
        return marks


#: States that a run can prove. Others come from people or the time of day.
_PROVABLE = frozenset({MinuteState.UP, MinuteState.DEGRADED, MinuteState.NO_MAIL, *_WAYS.values()})


def _marks(states: Collection[MinuteState], begins: datetime, until: datetime) -> Iterator[TimelineSpan]:
    return (TimelineSpan(state=state, starts_at=begins, until=until) for state in states)


def ways_of(matter: IncidentType) -> Sequence[MinuteState]:
    """Return what the minutes of an outage are; nothing for what is none."""
    return [_WAYS[way] for way in WAYS.get(matter, ())]


def sight_of(by_direction: Mapping[Direction, Sequence[HealthTracker]], up_since: datetime | None) -> Observation:
    """Return the observation of an agency from the trackers of its routes; *up_since*: since when all of it works."""
    saying = {direction: with_a_say(subjects) for direction, subjects in by_direction.items()}
    seen = {direction: at for direction, subjects in saying.items() if (at := _seen_at(subjects))}
    healths = {d: combine(s.health for s in saying[d]) if d in seen else Health.UNKNOWN for d in saying}
    proven = _proven(by_direction, saying, seen, healths, up_since)
    return Observation(proven=proven, is_blind=any(all(s.silent for s in subjects) for subjects in saying.values()))


def _proven(
    by_direction: Mapping[Direction, Sequence[HealthTracker]],
    saying: Mapping[Direction, Sequence[HealthTracker]],
    seen: Mapping[Direction, datetime],
    healths: Mapping[Direction, Health],
    up_since: datetime | None,
) -> ConfirmedHealth | None:
    matter = matter_of(healths, by_direction.get(Direction.INTERNAL, ()))
    if matter is None:
        # No later than the direction that was observed the longest ago.
        is_well = bool(healths) and all(health is Health.UP for health in healths.values())
        until = min(seen.values()) if is_well else None
        return ConfirmedHealth(since={MinuteState.UP: up_since or until}, until=until) if until else None
    if not (ways := WAYS[matter]):
        ill = [d for d, health in healths.items() if health in IN_TROUBLE]
        since = min(
            (at for d in ill for s in saying[d] if s.health in IN_TROUBLE and (at := s.trouble_since())), default=None
        )
        until = max(seen[d] for d in ill)
        return ConfirmedHealth(since={MinuteState.DEGRADED: since or until}, until=until)
    # A direction is down since its last route is; mail within the agency decides where nothing else is known.
    told = {way: way if healths.get(way) is Health.DOWN else Direction.INTERNAL for way in ways}
    until = max(seen[d] for d in told.values())
    return ConfirmedHealth(
        since={
            _WAYS[way]: max((at for s in saying[d] if (at := s.turned_at())), default=until) for way, d in told.items()
        },
        until=until,
    )


def _seen_at(subjects: Sequence[HealthTracker]) -> datetime | None:
    """Return the start of the last run that agrees with a direction's health, if any of its routes is visible."""
    return max((at for s in subjects if not s.silent and (at := s.said_at())), default=None)
