"""What was judged before a start or a pause is stale: it says neither that something is wrong nor that all is well."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts.model.notification import IncidentType
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.joint.freshness import continuous_since
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.model.health import Health, HealthPolicy
from monitor.model.route import Direction
from tests.unit.monitor.trial import (
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


def back(here: World, *, silent_until: timedelta | None = timedelta(0)) -> World:
    """Let the site come back with a judge that knows what the store says; *silent_until*: so long ago the silence ended."""
    here.now += SILENT
    after = HealthEvaluator(here.routes, HealthPolicy())
    after.restore(here.evaluator.healths())
    since = None if silent_until is None else here.now - silent_until
    after.restore_continuity([r.name for r in here.routes if r.agency], since, here.now)
    here.evaluator = after
    return here


def says(here: World, agency: str = "JCM") -> SiteStatus:
    return here.evaluator.agency_status(agency, here.now, has_open_incident=True)


def outcome(here: World) -> str:
    standing = says(here)
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
def test_stale_judgement_counts_once_a_run_confirms_it(
    before: object, after: object, at_first: str, confirmed: str
) -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": before} if before else {}  # type: ignore[dict-item]
    here.rounds(4)
    assert outcome(back(here)) == at_first
    here.faults = {"JCM/utama": after} if after else {}  # type: ignore[dict-item]
    assert outcome(here.rounds(1)) == confirmed


def test_stale_judgement_sees_its_directions_and_is_not_blind() -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    assert set(says(back(here)).directions.values()) == {Health.DOWN}


def test_outage_that_ended_in_the_silence_is_never_told() -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    back(here).faults = {}
    said = list[str]()
    for at in range(10):
        for route in here.routes:
            here.evaluator.record_run(arrived(route, here.now + at * SECOND), here.now + at * SECOND)
            said.append(outcome(here))
    assert set(said) == {"unclear", "well"}
    assert said[-1] == "well"


@pytest.mark.parametrize("ended", [None, PROBING.interval + 2 * PROBING.timeouts.total + SECOND])
def test_judgement_without_a_silence_or_long_after_one_is_current(ended: timedelta | None) -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    assert outcome(back(here, silent_until=ended)) == "both"


def test_both_ways_are_told_at_once_and_not_one_after_the_other() -> None:
    here = world("JCM").rounds(3)
    # Held against the agency at once, whatever is proven of us.
    here.faults = {"JCM/utama": NO_SIGN_IN}
    here.rounds(4)
    back(here)
    said = list[str]()
    for at, route in enumerate(here.routes):
        end = here.result(route, here.now + at * SECOND)
        here.evaluator.record_run(end, end.started_at + end.duration)
        said.append(outcome(here))
    assert [each for each in said if each != "unclear"][:1] == ["both"]


def test_one_way_that_is_down_is_told_although_the_other_is_never_confirmed() -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    back(here)
    sending = [r for r in here.routes if r.direction is Direction.OUTBOUND]
    for at in (0, 1, 2, 40):
        here.now += at * MINUTE
        for route in [*sending, *controls()]:
            here.evaluator.record_run(here.result(route, here.now), here.now + SECOND)
    assert outcome(here) == str(IncidentType.SENDING)
    assert says(here).directions[Direction.INBOUND] is Health.UNKNOWN, "nobody says that it is down, or works"


def test_run_that_began_before_the_pause_confirms_nothing() -> None:
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


def test_clock_set_back_by_hours_keeps_no_judgement_stale() -> None:
    here = back(world("JCM").rounds(3))
    here.evaluator.record_run(arrived(here.routes[0], here.now), here.now + SECOND)
    here.now -= timedelta(hours=8)
    assert outcome(here.rounds(2)) == "well"


def test_route_without_a_reference_holds_up_no_recovery_beside_another() -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    back(here).faults = {"b": REFUSED}
    assert outcome(here.rounds(6)) == "well"


def test_route_without_a_reference_holds_up_nothing_that_was_well_before() -> None:
    here = back(world("JCM").rounds(3))
    here.faults = {"b": REFUSED}
    assert outcome(here.rounds(6)) == "well"


def test_direction_without_any_reference_is_not_well_by_what_it_was_before() -> None:
    here = back(world("JCM").rounds(3))
    here.faults = {"a": REFUSED, "b": REFUSED}
    assert outcome(here.rounds(6)) == "unclear"


def test_confirmed_judgement_stays_so_though_the_mail_comes_late_after_all() -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": LOSES}
    here.rounds(4)
    assert outcome(back(here).rounds(1)) == "both"
    for route in agency_routes("JCM"):
        here.evaluator.record_late_arrival(route.name, "00c0ffee00c0ffee", MINUTE, here.now)
    assert outcome(here) == "both", "as it was judged"


def test_routes_of_an_agency_in_trouble_are_to_be_confirmed_and_no_others() -> None:
    here = world("JCM", "JKT").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    assert not any(here.evaluator.needs_confirmation(r.name) for r in here.routes)
    back(here)
    wanted = {r.name for r in here.routes if here.evaluator.needs_confirmation(r.name)}
    assert wanted == {r.name for r in agency_routes("JCM")}
    first = here.routes[0]
    for route in (first, *controls()):
        here.evaluator.record_run(here.result(route, here.now), here.now + SECOND)
    assert not here.evaluator.needs_confirmation(first.name)


def test_reload_of_a_stale_route_confirms_nothing() -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    back(here)
    subject = here.evaluator._trackers[here.routes[0].name]
    subject.reset(subject.policy)
    assert subject.is_stale


def test_fault_of_ours_confirms_nothing() -> None:
    here = world("JCM").rounds(3)
    here.faults = {"JCM/utama": REFUSED}
    here.rounds(4)
    back(here).cut_off = True
    assert outcome(here.rounds(1)) == "unclear"


@pytest.mark.parametrize(
    ("last_beat", "known", "since"),
    [
        (None, None, None),
        (-29, None, None),
        (-29, -500, -500),
        (-31, None, 0),
        (-31, -500, 0),
        (-3600, -500, 0),
        # The clock was set back: how long ago that was nobody knows.
        (3600, None, 0),
        (-5, 3600, 0),
    ],
)
def test_site_is_continuous_since_its_last_silence(last_beat: int | None, known: int | None, since: int | None) -> None:
    beat, knew, wanted = (None if each is None else T0 + each * SECOND for each in (last_beat, known, since))
    assert continuous_since(T0, beat, knew, STALE_AFTER) == wanted
