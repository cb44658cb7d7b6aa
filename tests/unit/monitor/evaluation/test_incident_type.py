"""Type, cause and start of an agency's incident, and evidence of its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.model.notification import Cause, IncidentType
from monitor.evaluation.health_tracker import GradedRun, HealthTracker
from monitor.evaluation.incident_type import (
    can_prove_end,
    is_partial_recovery,
    most_frequent_cause,
    outage_start,
    outage_type,
)
from monitor.model.health import Grade, Health, HealthPolicy
from monitor.model.route import Direction
from probes.model.result import Outcome, Party, Phase
from tests.unit.monitor.world import MINUTE, T0, agency_routes, failed


@pytest.mark.parametrize(
    ("type_", "directions", "can"),
    [
        (IncidentType.SENDING, {Direction.OUTBOUND}, True),
        (IncidentType.SENDING, {Direction.INBOUND}, False),
        (IncidentType.RECEIVING, {Direction.INBOUND}, True),
        (IncidentType.RECEIVING, {Direction.OUTBOUND}, False),
        (IncidentType.BOTH, {Direction.OUTBOUND, Direction.INBOUND}, True),
        (IncidentType.BOTH, {Direction.OUTBOUND}, False),
        (IncidentType.BOTH, {Direction.INBOUND}, False),
        # Internal mail is both sent and received.
        *(
            (type_, {Direction.INTERNAL}, True)
            for type_ in (IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH)
        ),
        # Slowness in one direction ends only by runs in that direction.
        *((IncidentType.DEGRADED, {way}, True) for way in (Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL)),
    ],
)
def test_can_prove_end_needs_directions_of_type(
    type_: IncidentType, directions: Collection[Direction], *, can: bool
) -> None:
    assert can_prove_end(type_, directions) is can


UP, DEGRADED, DOWN, UNKNOWN = Health.UP, Health.DEGRADED, Health.DOWN, Health.UNKNOWN
OUT, IN = Direction.OUTBOUND, Direction.INBOUND


@pytest.mark.parametrize(
    ("type_", "reported", "directions", "is_less"),
    [
        (IncidentType.SENDING, IncidentType.BOTH, {OUT: DOWN, IN: UP}, True),
        (IncidentType.SENDING, IncidentType.BOTH, {OUT: DOWN, IN: DEGRADED}, True),
        (IncidentType.DEGRADED, IncidentType.BOTH, {OUT: UP, IN: DEGRADED}, True),
        (IncidentType.DEGRADED, IncidentType.BOTH, {OUT: UP, IN: UNKNOWN}, False),
        (IncidentType.SENDING, IncidentType.BOTH, {OUT: DOWN}, False),
        (IncidentType.BOTH, IncidentType.BOTH, {OUT: UP, IN: UP}, False),
        (IncidentType.BOTH, IncidentType.SENDING, {OUT: UP, IN: UP}, False),
        # The reported directions work, but another fails.
        (IncidentType.RECEIVING, IncidentType.SENDING, {OUT: UP, IN: DOWN}, True),
        # A monitoring fault has no direction.
        (IncidentType.MONITORING_FAULT, IncidentType.MONITORING_FAULT, {}, False),
        (IncidentType.MONITORING_FAULT, IncidentType.BOTH, {OUT: UP, IN: UP}, False),
        (IncidentType.BOTH, IncidentType.MONITORING_FAULT, {OUT: UP, IN: UP}, False),
    ],
)
def test_is_partial_recovery_needs_failed_direction_seen_working(
    type_: IncidentType, reported: IncidentType, directions: Mapping[Direction, Health], *, is_less: bool
) -> None:
    assert is_partial_recovery(type_, reported, directions) is is_less


@pytest.mark.parametrize(
    ("causes", "found"),
    [
        ([], None),
        ([Cause.DNS], Cause.DNS),
        ([Cause.DNS, Cause.TIMEOUT], None),
        ([Cause.DNS, Cause.TIMEOUT, Cause.CONNECT, Cause.TIMEOUT], Cause.TIMEOUT),
        ([Cause.DNS, Cause.TIMEOUT, Cause.CONNECT, Cause.TIMEOUT, Cause.DNS], None),
    ],
)
def test_most_frequent_cause_tie_is_none(causes: Sequence[Cause], found: Cause | None) -> None:
    assert most_frequent_cause(causes) is found


@pytest.mark.parametrize(
    ("runs", "outbound", "type_"),
    [
        ([(Party.RECIPIENT, Grade.BAD)], UP, IncidentType.RECEIVING),
        ([(Party.SENDER, Grade.BAD)], UP, IncidentType.SENDING),
        ([(Party.RECIPIENT, Grade.BAD)], DOWN, IncidentType.BOTH),
        # A pending run may be caused by our network.
        ([(Party.RECIPIENT, Grade.BAD), (Party.SENDER, Grade.PENDING)], UP, IncidentType.RECEIVING),
        # For a run from before a restart the failing side is unknown, and there may be no run yet.
        ([(None, Grade.BAD)], UP, IncidentType.DEGRADED),
        ([], UP, IncidentType.DEGRADED),
    ],
)
def test_outage_type_internal_failure_side_decides_direction(
    runs: Sequence[tuple[Party | None, Grade]], outbound: Health, type_: IncidentType
) -> None:
    route = agency_routes("JCM", directions=[Direction.INTERNAL])[0]
    internal = HealthTracker(policy=HealthPolicy(), health=DOWN)
    for party, grade in runs:
        run = GradedRun.from_result(failed(route, T0, Outcome.CONNECT, Phase.CONNECT, party or Party.SENDER), grade)
        internal.recent.append(run if party else replace(run, result=None))
    assert outage_type({Direction.INTERNAL: DOWN, OUT: outbound, IN: UP}, [internal]) is type_


INSIDE = Direction.INTERNAL


@pytest.mark.parametrize(
    ("type_", "routes", "minutes"),
    [
        (IncidentType.SENDING, {OUT: [(DOWN, 9)], IN: [(UP, 0)]}, 9),
        # Slow or in junk before, in the other direction or in one of two routes.
        (IncidentType.SENDING, {OUT: [(DOWN, 9)], IN: [(DEGRADED, 1)]}, 9),
        (IncidentType.RECEIVING, {INSIDE: [(DOWN, 9)], IN: [(DEGRADED, 1)]}, 9),
        # Routes that are probed one after the other find one outage; a much earlier failure is another.
        (IncidentType.SENDING, {OUT: [(DOWN, 9), (DOWN, 8)]}, 8),
        (IncidentType.SENDING, {OUT: [(DOWN, 99), (DOWN, 8)]}, 99),
        (IncidentType.SENDING, {INSIDE: [(DOWN, 8)], OUT: [(DOWN, 9)]}, 8),
        (IncidentType.SENDING, {INSIDE: [(DOWN, 99)], OUT: [(DOWN, 8)]}, 8),
        (IncidentType.SENDING, {INSIDE: [(DOWN, 8)], OUT: [(DOWN, 99)]}, 99),
        # The later of the two.
        (IncidentType.BOTH, {OUT: [(DOWN, 9)], IN: [(DOWN, 11)]}, 9),
        (IncidentType.BOTH, {OUT: [(DOWN, 9)], IN: [(DOWN, 60)]}, 60),
        (IncidentType.BOTH, {INSIDE: [(DOWN, 9)]}, 9),
        (IncidentType.DEGRADED, {OUT: [(DEGRADED, 9)]}, None),
    ],
)
def test_outage_start_counts_down_routes_of_affected_directions(
    type_: IncidentType, routes: Mapping[Direction, Sequence[tuple[Health, int]]], minutes: int | None
) -> None:
    trackers = {
        way: [HealthTracker(policy=HealthPolicy(), health=health, changed_at=T0 + at * MINUTE) for health, at in each]
        for way, each in routes.items()
    }
    expected = None if minutes is None else T0 + minutes * MINUTE
    assert outage_start(type_, trackers, timedelta(minutes=12)) == expected
