"""What is told to be wrong with an agency's mail, and what can be seen to end."""

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
from tests.unit.monitor.trial import MINUTE, T0, agency_routes, failed


@pytest.mark.parametrize(
    ("matter", "directions", "can"),
    [
        (IncidentType.SENDING, {Direction.OUTBOUND}, True),
        (IncidentType.SENDING, {Direction.INBOUND}, False),
        (IncidentType.RECEIVING, {Direction.INBOUND}, True),
        (IncidentType.RECEIVING, {Direction.OUTBOUND}, False),
        (IncidentType.BOTH, {Direction.OUTBOUND, Direction.INBOUND}, True),
        (IncidentType.BOTH, {Direction.OUTBOUND}, False),
        (IncidentType.BOTH, {Direction.INBOUND}, False),
        # Within the agency it is sent and received.
        *(
            (matter, {Direction.INTERNAL}, True)
            for matter in (IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH)
        ),
        # What is slow in one way is not what another way would have to show.
        *((IncidentType.DEGRADED, {way}, True) for way in (Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL)),
    ],
)
def test_that_it_is_over_is_seen_by_runs_in_the_ways_that_it_is_about(
    matter: IncidentType, directions: Collection[Direction], *, can: bool
) -> None:
    assert can_prove_end(matter, directions) is can


UP, DEGRADED, DOWN, UNKNOWN = Health.UP, Health.DEGRADED, Health.DOWN, Health.UNKNOWN
OUT, IN = Direction.OUTBOUND, Direction.INBOUND


@pytest.mark.parametrize(
    ("matter", "told", "directions", "is_less"),
    [
        (IncidentType.SENDING, IncidentType.BOTH, {OUT: DOWN, IN: UP}, True),
        (IncidentType.SENDING, IncidentType.BOTH, {OUT: DOWN, IN: DEGRADED}, True),
        (IncidentType.DEGRADED, IncidentType.BOTH, {OUT: UP, IN: DEGRADED}, True),
        (IncidentType.DEGRADED, IncidentType.BOTH, {OUT: UP, IN: UNKNOWN}, False),
        (IncidentType.SENDING, IncidentType.BOTH, {OUT: DOWN}, False),
        (IncidentType.BOTH, IncidentType.BOTH, {OUT: UP, IN: UP}, False),
        (IncidentType.BOTH, IncidentType.SENDING, {OUT: UP, IN: UP}, False),
        # That of what was told nothing is so any more, but something else is.
        (IncidentType.RECEIVING, IncidentType.SENDING, {OUT: UP, IN: DOWN}, True),
        # What is our own has no ways.
        (IncidentType.MONITORING_FAULT, IncidentType.MONITORING_FAULT, {}, False),
        (IncidentType.MONITORING_FAULT, IncidentType.BOTH, {OUT: UP, IN: UP}, False),
        (IncidentType.BOTH, IncidentType.MONITORING_FAULT, {OUT: UP, IN: UP}, False),
    ],
)
def test_less_is_wrong_where_what_was_told_to_fail_is_seen_to_work(
    matter: IncidentType, told: IncidentType, directions: Mapping[Direction, Health], *, is_less: bool
) -> None:
    assert is_partial_recovery(matter, told, directions) is is_less


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
def test_the_cause_is_the_one_that_is_more_frequent_than_any_other(
    causes: Sequence[Cause], found: Cause | None
) -> None:
    assert most_frequent_cause(causes) is found


@pytest.mark.parametrize(
    ("runs", "outbound", "matter"),
    [
        ([(Party.RECIPIENT, Grade.BAD)], UP, IncidentType.RECEIVING),
        ([(Party.SENDER, Grade.BAD)], UP, IncidentType.SENDING),
        ([(Party.RECIPIENT, Grade.BAD)], DOWN, IncidentType.BOTH),
        # What waits for a proof may be our network.
        ([(Party.RECIPIENT, Grade.BAD), (Party.SENDER, Grade.PENDING)], UP, IncidentType.RECEIVING),
        # Of a run from before a restart it is not known where it failed, and there may be none yet.
        ([(None, Grade.BAD)], UP, IncidentType.DEGRADED),
        ([], UP, IncidentType.DEGRADED),
    ],
)
def test_mail_within_the_agency_tells_which_way_is_down_by_where_it_fails(
    runs: Sequence[tuple[Party | None, Grade]], outbound: Health, matter: IncidentType
) -> None:
    route = agency_routes("JCM", directions=[Direction.INTERNAL])[0]
    internal = HealthTracker(policy=HealthPolicy(), health=DOWN)
    for party, grade in runs:
        run = GradedRun.from_result(failed(route, T0, Outcome.CONNECT, Phase.CONNECT, party or Party.SENDER), grade)
        internal.recent.append(run if party else replace(run, result=None))
    assert outage_type({Direction.INTERNAL: DOWN, OUT: outbound, IN: UP}, [internal]) is matter


INSIDE = Direction.INTERNAL


@pytest.mark.parametrize(
    ("matter", "routes", "minutes"),
    [
        (IncidentType.SENDING, {OUT: [(DOWN, 9)], IN: [(UP, 0)]}, 9),
        # Slow or in junk before, in the other direction or in one of two routes.
        (IncidentType.SENDING, {OUT: [(DOWN, 9)], IN: [(DEGRADED, 1)]}, 9),
        (IncidentType.RECEIVING, {INSIDE: [(DOWN, 9)], IN: [(DEGRADED, 1)]}, 9),
        # Routes that are tried one after the other find one outage; what failed long before is another.
        (IncidentType.SENDING, {OUT: [(DOWN, 9), (DOWN, 8)]}, 8),
        (IncidentType.SENDING, {OUT: [(DOWN, 99), (DOWN, 8)]}, 99),
        (IncidentType.SENDING, {INSIDE: [(DOWN, 8)], OUT: [(DOWN, 9)]}, 8),
        (IncidentType.SENDING, {INSIDE: [(DOWN, 99)], OUT: [(DOWN, 8)]}, 8),
        (IncidentType.SENDING, {INSIDE: [(DOWN, 8)], OUT: [(DOWN, 99)]}, 99),
        # Of both the later.
        (IncidentType.BOTH, {OUT: [(DOWN, 9)], IN: [(DOWN, 11)]}, 9),
        (IncidentType.BOTH, {OUT: [(DOWN, 9)], IN: [(DOWN, 60)]}, 60),
        (IncidentType.BOTH, {INSIDE: [(DOWN, 9)]}, 9),
        (IncidentType.DEGRADED, {OUT: [(DEGRADED, 9)]}, None),
    ],
)
def test_began_at_counts_what_is_down_in_the_ways_that_are_told(
    matter: IncidentType, routes: Mapping[Direction, Sequence[tuple[Health, int]]], minutes: int | None
) -> None:
    subjects = {
        way: [HealthTracker(policy=HealthPolicy(), health=health, changed_at=T0 + at * MINUTE) for health, at in each]
        for way, each in routes.items()
    }
    expected = None if minutes is None else T0 + minutes * MINUTE
    assert outage_start(matter, subjects, timedelta(minutes=12)) == expected
