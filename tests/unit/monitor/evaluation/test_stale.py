"""Stale health after a start or a pause: it proves neither trouble nor recovery."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts.model.notification import IncidentType
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.joint.freshness import continuous_since
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.model.health import Health, HealthPolicy
from monitor.model.route import Direction
from tests.unit.monitor.world import (
    LOSES,
    MINUTE,
    NO_SIGN_IN,
    PROBING,
    REFUSED,
    SECOND,
    T0,
    World,
    agency_routes,
    arrived,
    controls,
    slow,
    world,
)

SILENT = 3 * MINUTE
STALE_AFTER = 30 * SECOND


def after_silence(here: World, *, silent_until: timedelta | None = timedelta(0)) -> World:
    """Restart the evaluator with the stored health; *silent_until*: time since the end of the silence."""
    here.now += SILENT
    after = HealthEvaluator(here.routes, HealthPolicy())
    after.restore(here.evaluator.healths())
    since = None if silent_until is None else here.now - silent_until
    after.restore_continuity([r.name for r in here.routes if r.agency], since, here.now)
    here.evaluator = after
    return here


def status_of(here: World, agency: str = "JCM") -> SiteStatus:
    return here.evaluator.agency_status(agency, here.now, has_open_incident=True)


def outcome(here: World) -> str:
    standing = status_of(here)
    if standing.trouble is not None:
        return str(standing.trouble.type)
    return "unclear" if standing.up_since is None else "well"


@pytest.mark.parametrize(
    ("before", "after", "at_first", "confirmed"),
    [
        (REFUSED, REFUSED, "unclear", "both"),
        (REFUSED, None, "unclear", "unclear"),
        (None, None, "unclear", "well"),
        (None, REFUSED, "unclear", "unclear"),
        (slow(), slow(), "unclear", "degraded"),
        (slow(), None, "unclear", "unclear"),
    ],
    ids=["down still", "repaired", "well still", "broken meanwhile", "slow still", "slow no more"],
)
def test_stale_health_counts_once_confirmed_by_run(
    before: object, after: object, at_first: str, confirmed: str
) -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": before} if before else {}  # type: ignore[dict-item]
    here.rounds(4)
    assert outcome(after_silence(here)) == at_first
    here.faults = {"JCM/utama": after} if after else {}  # type: ignore[dict-item]
    assert outcome(here.rounds(1)) == confirmed


def test_stale_health_keeps_its_directions() -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    assert set(status_of(after_silence(here)).directions.values()) == {Health.DOWN}


def test_outage_ended_during_silence_is_never_reported() -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    after_silence(here).faults = {}
    said = list[str]()
    for at in range(10):
        for route in here.routes:
            here.evaluator.record_run(arrived(route, here.now + at * SECOND), here.now + at * SECOND)
            said.append(outcome(here))
    assert set(said) == {"unclear", "well"}
    assert said[-1] == "well"


@pytest.mark.parametrize("ended", [None, PROBING.interval + 2 * PROBING.timeouts.total + SECOND])
def test_health_without_silence_or_long_after_is_current(ended: timedelta | None) -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    assert outcome(after_silence(here, silent_until=ended)) == "both"


def test_stale_outage_of_both_directions_is_reported_at_once() -> None:
    here = world("JCM").rounds(3)
    # An agency failure that needs no evidence.
    here.faults = {"JCM/utama": NO_SIGN_IN}
    here.rounds(4)
    after_silence(here)
    said = list[str]()
    for at, route in enumerate(here.routes):
        end = here.result(route, here.now + at * SECOND)
        here.evaluator.record_run(end, end.started_at + end.duration)
        said.append(outcome(here))
    assert [each for each in said if each != "unclear"][:1] == ["both"]


def test_stale_outage_of_one_direction_is_reported_without_other() -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    after_silence(here)
    sending = [r for r in here.routes if r.direction is Direction.OUTBOUND]
    for at in (0, 1, 2, 40):
        here.now += at * MINUTE
        for route in [*sending, *controls()]:
            here.evaluator.record_run(here.result(route, here.now), here.now + SECOND)
    assert outcome(here) == str(IncidentType.SENDING)
    assert status_of(here).directions[Direction.INBOUND] is Health.UNKNOWN, (
        "the direction is neither reported down nor up"
    )


def test_run_started_before_pause_confirms_nothing() -> None:
    here = world("JCM").rounds(3)
    began, here.now = here.now, here.now + SILENT
    agency = [r for r in here.routes if r.agency]
    here.evaluator.mark_stale([r.name for r in agency], here.now)
    for route in agency:
        here.evaluator.record_run(arrived(route, began), here.now + SECOND)
    assert outcome(here) == "unclear"
    for route in agency:
        here.evaluator.record_run(arrived(route, here.now), here.now + SECOND)
    assert outcome(here) == "well"


def test_clock_set_back_by_hours_keeps_no_health_stale() -> None:
    here = after_silence(world("JCM").rounds(3))
    here.evaluator.record_run(arrived(here.routes[0], here.now), here.now + SECOND)
    here.now -= timedelta(hours=8)
    assert outcome(here.rounds(2)) == "well"


def test_route_without_reference_does_not_block_recovery() -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    after_silence(here).faults = {"b": REFUSED}
    assert outcome(here.rounds(6)) == "well"


def test_route_without_reference_does_not_block_healthy_agency() -> None:
    here = after_silence(world("JCM").rounds(3))
    here.faults = {"b": REFUSED}
    assert outcome(here.rounds(6)) == "well"


def test_direction_without_any_reference_is_not_up() -> None:
    here = after_silence(world("JCM").rounds(3))
    here.faults = {"a": REFUSED, "b": REFUSED}
    assert outcome(here.rounds(6)) == "unclear"


def test_confirmed_health_is_kept_when_mail_arrives_late() -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": LOSES}
    here.rounds(4)
    assert outcome(after_silence(here).rounds(1)) == "both"
    for route in agency_routes("JCM"):
        here.evaluator.record_late_arrival(route.name, "00c0ffee00c0ffee", MINUTE, here.now)
    assert outcome(here) == "both", "as evaluated"


def test_needs_confirmation_routes_of_agency_in_trouble_only() -> None:
    here = world("JCM", "JKT").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    assert not any(here.evaluator.needs_confirmation(r.name) for r in here.routes)
    after_silence(here)
    wanted = {r.name for r in here.routes if here.evaluator.needs_confirmation(r.name)}
    assert wanted == {r.name for r in agency_routes("JCM")}
    first = here.routes[0]
    for route in (first, *controls()):
        here.evaluator.record_run(here.result(route, here.now), here.now + SECOND)
    assert not here.evaluator.needs_confirmation(first.name)


def test_reset_of_stale_route_confirms_nothing() -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    after_silence(here)
    subject = here.evaluator._trackers[here.routes[0].name]
    subject.reset(subject.policy)
    assert subject.is_stale


def test_monitoring_fault_confirms_nothing() -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    after_silence(here).cut_off = True
    assert outcome(here.rounds(1)) == "unclear"


@pytest.mark.parametrize(
    ("last_heartbeat", "known", "since"),
    [
        (None, None, None),
        (-29, None, None),
        (-29, -500, -500),
        (-31, None, 0),
        (-31, -500, 0),
        (-3600, -500, 0),
        # The clock was set back: the time of that is unknown.
        (3600, None, 0),
        (-5, 3600, 0),
    ],
)
def test_continuous_since_last_silence_of_site(
    last_heartbeat: int | None, known: int | None, since: int | None
) -> None:
    beat, knew, wanted = (None if each is None else T0 + each * SECOND for each in (last_heartbeat, known, since))
    assert continuous_since(T0, beat, knew, STALE_AFTER) == wanted
