"""Health evaluation: no direction is up without evidence, and no monitoring fault is an agency's."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.model.notification import IncidentType
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.joint.site_status import UNTROUBLED
from monitor.model.health import Grade, Health, HealthPolicy
from monitor.model.route import Direction
from probes.model.result import Outcome, Party, Phase, RefusalCause
from tests.unit.monitor.world import (
    GREYLISTS,
    LOSES,
    MINUTE,
    NO_SIGN_IN,
    PROBING,
    REFUSED,
    SECOND,
    T0,
    WRONG_PASSWORD,
    Fault,
    World,
    agency_routes,
    arrived,
    both,
    controls,
    failed,
    forwarded,
    imap,
    on_the_way,
    slow,
    smtp,
    unanswered,
    world,
)

REFERENCE_FAULTS = pytest.mark.parametrize(
    ("fault", "source"),
    [
        (REFUSED, "reference/a"),
        (NO_SIGN_IN, "reference/a"),
        (LOSES, "reference/a"),
        (on_the_way(Outcome.LOST, only=Party.SENDER), "reference/a"),
        (on_the_way(Outcome.LOST, only=Party.RECIPIENT), "reference/a"),
        (on_the_way(Outcome.BOUNCED, only=Party.SENDER), "reference/a"),
        (on_the_way(Outcome.BOUNCED, only=Party.RECIPIENT), "reference/a"),
        (on_the_way(Outcome.CORRUPTED), "reference/a"),
        (imap(Outcome.TIMEOUT, Phase.RETRIEVE), "reference/a"),
        (imap(Outcome.TLS, Phase.TLS), "reference/a"),
        (smtp(Outcome.DEFERRED, Phase.SUBMIT), "reference/a"),
        (smtp(Outcome.REJECTED, Phase.SUBMIT), "reference/a"),
        (smtp(Outcome.TIMEOUT, Phase.SUBMIT), "reference/a"),
        (slow(), "reference/a"),
        (slow(junk=True), "reference/a"),
        (WRONG_PASSWORD, "credentials/a"),
        (smtp(Outcome.AUTH, Phase.AUTH, credentials=True), "credentials/a"),
        (imap(Outcome.AUTH, Phase.AUTH, credentials=True), "credentials/a"),
    ],
)


@REFERENCE_FAULTS
def test_broken_reference_is_reported_to_noc_and_not_agencys(fault: Fault, source: str) -> None:
    here = world("JCM", "JKT").rounds(3)
    here.faults["a"] = fault
    for _ in range(12):
        here.rounds(1)
        assert (here.trouble("JCM"), here.trouble("JKT")) == (None, None)

    assert here.own() == {source}


@REFERENCE_FAULTS
def test_reference_broken_from_start_is_not_agencys(fault: Fault, source: str) -> None:
    here = World(world("JCM", "JKT").routes, {"a": fault}).rounds(12)

    assert (here.trouble("JCM"), here.trouble("JKT")) == (None, None)
    assert here.own() == {source}


@REFERENCE_FAULTS
def test_outage_and_recovery_are_found_while_reference_is_broken(fault: Fault, source: str) -> None:
    here = world("JCM", "JKT").rounds(3)
    here.faults["a"] = fault
    here.rounds(5)
    here.faults["JCM/utama"] = LOSES
    here.rounds(6)

    found = here.trouble("JCM")
    assert found is not None
    assert found.type is IncidentType.BOTH
    assert here.trouble("JKT") is None

    del here.faults["JCM/utama"]
    here.rounds(3)
    assert here.trouble("JCM") is None
    assert here.evaluator.up_since("JCM", here.now) is not None


def test_own_network_down_is_not_agencys() -> None:
    here = world("JCM", "JKT").rounds(3)
    here.cut_off = True
    here.rounds(8)

    assert (here.trouble("JCM"), here.trouble("JKT")) == (None, None)
    assert here.own() == {"network"}

    here.cut_off = False
    here.rounds(3)
    assert here.own() == set()
    assert here.source_up_since("network") is not None


def test_process_unable_to_connect_is_reported_as_network() -> None:
    here = world("JCM")
    for n in range(3):
        for each in here.routes:
            run = failed(each, T0 + n * MINUTE, Outcome.INCONCLUSIVE, Phase.CONNECT)
            here.evaluator.record_run(run, T0 + n * MINUTE)

    assert here.own() == {"network"}
    assert here.trouble("JCM") is None


def test_runs_inconclusive_by_own_error_are_reported_as_ours() -> None:
    here = world("JCM")
    for n in range(3):
        for each in here.routes:
            run = failed(each, T0 + n * MINUTE, Outcome.INCONCLUSIVE, Phase.RETRIEVE)
            here.evaluator.record_run(run, T0 + n * MINUTE)

    assert here.own() == {"ours"}


def test_source_up_since_is_latest_of_reference_routes() -> None:
    here = world("JCM").rounds(3)
    around = [here.evaluator._trackers[r.name] for r in here.routes if r.direction is Direction.CONTROL]
    for subject, minute in zip(around, (1, 4), strict=True):
        subject.working_since = T0 + minute * MINUTE
    assert here.source_up_since("reference/a") == T0 + 4 * MINUTE


@pytest.mark.parametrize("server", [smtp, imap, None])
def test_password_refused_at_agency_is_credentials_only(server: object) -> None:
    here = world("JCM", "JKT").rounds(3)
    refuse = smtp if server is smtp else imap
    here.faults["JCM/utama"] = WRONG_PASSWORD if server is None else refuse(Outcome.AUTH, Phase.AUTH, credentials=True)
    here.rounds(6)

    assert here.trouble("JCM") is None
    assert here.own() == {"credentials/JCM/utama"}


def test_account_is_up_when_both_servers_accept_it() -> None:
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = smtp(Outcome.AUTH, Phase.AUTH, credentials=True)
    here.rounds(6)
    here.faults.clear()
    here.rounds(3)

    assert here.own() == set()
    assert here.source_up_since("credentials/JCM/utama") is not None


@pytest.mark.parametrize(
    ("fault", "incident_type"),
    [
        (REFUSED, IncidentType.BOTH),
        (both(imap(Outcome.TIMEOUT, Phase.CONNECT), smtp(Outcome.TIMEOUT, Phase.CONNECT)), IncidentType.BOTH),
        (both(imap(Outcome.DNS, Phase.DNS), smtp(Outcome.DNS, Phase.DNS)), IncidentType.BOTH),
        (NO_SIGN_IN, IncidentType.BOTH),
        (LOSES, IncidentType.BOTH),
        (on_the_way(Outcome.BOUNCED), IncidentType.BOTH),
        (on_the_way(Outcome.CORRUPTED), IncidentType.BOTH),
        (smtp(Outcome.AUTH, Phase.AUTH), IncidentType.SENDING),
        (smtp(Outcome.CONNECT, Phase.CONNECT), IncidentType.SENDING),
        (smtp(Outcome.REJECTED, Phase.SUBMIT), IncidentType.SENDING),
        (smtp(Outcome.TIMEOUT, Phase.SUBMIT), IncidentType.SENDING),
        (imap(Outcome.CONNECT, Phase.CONNECT), IncidentType.RECEIVING),
        (imap(Outcome.TIMEOUT, Phase.RETRIEVE), IncidentType.RECEIVING),
        (imap(Outcome.TLS, Phase.TLS), IncidentType.RECEIVING),
        (slow(), IncidentType.DEGRADED),
        (unanswered, IncidentType.DEGRADED),
        (slow(junk=True), IncidentType.DEGRADED),
    ],
)
def test_trouble_gives_type_and_start(fault: Fault, incident_type: IncidentType) -> None:
    here = world("JCM", "JKT").rounds(3)
    broke_at = here.now
    here.faults["JCM/utama"] = fault
    here.rounds(4)

    found = here.trouble("JCM")
    assert found is not None
    assert (found.type, found.since) == (incident_type, broke_at)
    assert here.trouble("JKT") is None
    assert here.own() == set()


@pytest.mark.blind
def test_unacknowledged_message_degrades_sending_only() -> None:
    """Defect: The affected direction of an unacknowledged message is not shown.

    Pantau: Sending is degraded, receiving is not.
    """
    here = world("JCM", "JKT").rounds(3)
    here.faults["JCM/utama"] = unanswered
    here.rounds(4)

    degraded = {
        way: health for way, health in here.evaluator.mail("JCM").directions().items() if health is not Health.UP
    }
    assert degraded == dict.fromkeys((Direction.INTERNAL, Direction.OUTBOUND), Health.DEGRADED)
    here.faults.clear()
    assert here.rounds(3).trouble("JCM") is None


@pytest.mark.parametrize("reference", ["a", "b"])
def test_reference_not_acknowledging_is_reported_to_noc_only(reference: str) -> None:
    here = world("JCM", "JKT").rounds(3)
    here.faults[reference] = unanswered
    here.rounds(4)

    assert here.own() == {f"reference/{reference}"}
    assert here.trouble("JCM") is here.trouble("JKT") is None


def test_trouble_only_agency_is_found() -> None:
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = LOSES
    here.rounds(4)

    found = here.trouble("JCM")
    assert found is not None
    assert found.type is IncidentType.BOTH


def test_agency_failing_from_start_becomes_down() -> None:
    here = World(world("JCM").routes, {"JCM/utama": REFUSED}).rounds(4)

    assert here.evaluator.mail("JCM").directions() == dict.fromkeys(
        (Direction.INTERNAL, Direction.OUTBOUND, Direction.INBOUND), Health.DOWN
    )


@pytest.mark.parametrize(
    ("direction", "fault", "incident_type"),
    [
        (Direction.OUTBOUND, LOSES, IncidentType.SENDING),
        (Direction.INBOUND, LOSES, IncidentType.RECEIVING),
        (Direction.INTERNAL, LOSES, IncidentType.BOTH),
        (Direction.INTERNAL, smtp(Outcome.CONNECT, Phase.CONNECT), IncidentType.SENDING),
        (Direction.INTERNAL, imap(Outcome.CONNECT, Phase.CONNECT), IncidentType.RECEIVING),
    ],
)
def test_trouble_agency_probed_in_one_direction_gives_type(
    direction: Direction, fault: Fault, incident_type: IncidentType
) -> None:
    here = World([*agency_routes("JCM", directions=[direction]), *controls()]).rounds(2)
    here.faults["JCM/utama"] = fault
    here.rounds(4)

    found = here.trouble("JCM")
    assert found is not None
    assert found.type is incident_type


def test_mail_lost_within_agency_only_is_degraded() -> None:
    here = world("JCM").rounds(2)
    internal, *others = agency_routes("JCM")
    for n in range(3):
        here.evaluator.record_run(failed(internal, here.now, Outcome.LOST, Phase.TRANSIT), here.now)
        for other in others:
            here.evaluator.record_run(arrived(other, here.now), here.now)
        here.now += n * MINUTE

    found = here.trouble("JCM")
    assert found is not None
    assert found.type is IncidentType.DEGRADED


def test_one_inbound_route_failing_is_degraded() -> None:
    here = world("JCM", "JKT").rounds(3)

    def blocked(of: object, at: object, party: Party) -> None: ...

    by_a = next(r for r in here.routes if r.name == "JCM/inbound/a/JCM/utama")
    began = here.now
    for _ in range(4):
        here.evaluator.record_run(failed(by_a, here.now, Outcome.BOUNCED, Phase.TRANSIT), here.now)
        here.routes.remove(by_a)
        here.rounds(1)
        here.routes.append(by_a)

    found = here.trouble("JCM")
    assert found is not None
    assert (found.type, found.since) == (IncidentType.DEGRADED, began)
    assert here.own() == set()


def test_degradation_is_no_outage_when_reference_fails() -> None:
    here = world("JCM", "JKT").rounds(3)
    by_a = next(r for r in here.routes if r.name == "JCM/inbound/a/JCM/utama")
    for n in range(12):
        if n == 5:
            here.faults["b"] = REFUSED
        here.evaluator.record_run(failed(by_a, here.now, Outcome.BOUNCED, Phase.TRANSIT), here.now)
        here.routes.remove(by_a)
        here.rounds(1)
        here.routes.append(by_a)

    found = here.trouble("JCM")
    assert found is not None
    assert found.type is IncidentType.DEGRADED


def test_control_failure_without_agency_evidence_suspects_reference_later() -> None:
    evaluator = World(controls()).evaluator
    for n in range(3):
        evaluator.record_run(failed(controls()[0], T0 + n * MINUTE, Outcome.LOST, Phase.TRANSIT), T0 + n * MINUTE)
    would_have_told = 2 * PROBING.interval + PROBING.timeouts.total

    assert {str(suspect) for suspect in evaluator.source_troubles(T0 + would_have_told)} == set()
    assert {str(suspect) for suspect in evaluator.source_troubles(T0 + would_have_told + SECOND)} == {"reference/b"}


# -- proof -----------------------------------------------------------------------------------------------------------


def test_pending_failure_counts_from_its_start_once_proven() -> None:
    here = world("JCM")
    outbound = next(r for r in here.routes if r.name == "JCM/outbound/JCM/utama/b")
    into_b = next(r for r in here.routes if r.name == "control/control/a/b")
    for n in range(3):
        here.evaluator.record_run(failed(outbound, T0 + n * MINUTE, Outcome.BOUNCED, Phase.TRANSIT), T0 + n * MINUTE)
    assert here.evaluator.route_health(outbound.name) is Health.UNKNOWN
    assert into_b.name in here.evaluator.control_routes_to_run()

    here.evaluator.record_run(arrived(into_b, T0 + 3 * MINUTE), T0 + 3 * MINUTE)

    assert here.evaluator.route_health(outbound.name) is Health.DOWN
    found = here.evaluator.trouble("JCM", T0 + 3 * MINUTE)
    assert found is not None
    assert found.since == T0
    assert here.evaluator.control_routes_to_run() == []


def test_pending_failure_is_dropped_when_reference_fails() -> None:
    here = world("JCM")
    outbound = next(r for r in here.routes if r.name == "JCM/outbound/JCM/utama/b")
    into_b = next(r for r in here.routes if r.name == "control/control/a/b")
    for n in range(3):
        here.evaluator.record_run(failed(outbound, T0 + n * MINUTE, Outcome.BOUNCED, Phase.TRANSIT), T0 + n * MINUTE)

    here.evaluator.record_run(failed(into_b, T0 + 3 * MINUTE, Outcome.BOUNCED, Phase.TRANSIT), T0 + 3 * MINUTE)
    here.evaluator.record_run(arrived(into_b, T0 + 4 * MINUTE), T0 + 4 * MINUTE)
    here.evaluator.record_run(arrived(into_b, T0 + 5 * MINUTE), T0 + 5 * MINUTE)

    assert here.evaluator.route_health(outbound.name) is Health.UNKNOWN


def test_evidence_older_than_run_does_not_count() -> None:
    here = world("JCM")
    outbound = next(r for r in here.routes if r.name == "JCM/outbound/JCM/utama/b")
    into_b = next(r for r in here.routes if r.name == "control/control/a/b")
    here.evaluator.record_run(arrived(into_b, T0 - SECOND), T0)
    for n in range(3):
        here.evaluator.record_run(failed(outbound, T0 + n * MINUTE, Outcome.BOUNCED, Phase.TRANSIT), T0 + n * MINUTE)

    assert here.evaluator.route_health(outbound.name) is Health.UNKNOWN


def test_reference_hanging_after_evidence_is_not_agencys() -> None:
    here = world("JCM")
    outbound = next(r for r in here.routes if r.name == "JCM/outbound/JCM/utama/b")
    into_b = next(r for r in here.routes if r.name == "control/control/a/b")
    for n in range(3):
        at = T0 + n * 5 * MINUTE
        here.evaluator.record_run(arrived(into_b, at + SECOND), at + 2 * SECOND)
        here.evaluator.record_run(failed(outbound, at, Outcome.TIMEOUT, Phase.RETRIEVE), at + 4 * MINUTE)

    assert here.evaluator.route_health(outbound.name) is Health.UNKNOWN


def test_mailbox_unreadable_by_own_network_is_not_agencys() -> None:
    here = world("JCM")
    internal = here.routes[0]
    for n in range(3):
        here.evaluator.record_run(failed(internal, T0 + n * MINUTE, Outcome.TIMEOUT, Phase.RETRIEVE), T0 + n * MINUTE)
    for control in controls():
        here.evaluator.record_run(failed(control, T0 + 3 * MINUTE, Outcome.CONNECT, Phase.CONNECT), T0 + 3 * MINUTE)

    assert here.evaluator.route_health(internal.name) is Health.UNKNOWN


def test_reference_losing_every_other_message_is_no_evidence() -> None:
    here = world("JCM", "JKT").rounds(3)
    for n in range(40):
        here.faults = {"a": LOSES} if n % 2 else {}
        here.rounds(1)
        assert (here.trouble("JCM"), here.trouble("JKT")) == (None, None)


def test_control_route_without_possible_evidence_is_not_requested() -> None:
    here = world("JCM").rounds(2)
    here.faults = {"a": REFUSED, "JCM/utama": on_the_way(Outcome.BOUNCED)}
    here.rounds(1)

    assert here.evaluator.control_routes_to_run() == []


@pytest.mark.parametrize(("transit", "is_asked"), [(SECOND, True), (2 * MINUTE, False)])
def test_late_mail_requests_evidence_of_prompt_reference_only(transit: timedelta, *, is_asked: bool) -> None:
    here = world("JCM")
    outbound = next(r for r in here.routes if r.name == "JCM/outbound/JCM/utama/b")
    into_b = next(r for r in here.routes if r.name == "control/control/a/b")
    here.evaluator.record_run(arrived(into_b, T0, transit), T0 + transit)
    here.evaluator.record_run(arrived(outbound, T0 + 5 * MINUTE, 2 * MINUTE), T0 + 7 * MINUTE)
    assert (into_b.name in here.evaluator.control_routes_to_run()) is is_asked


def test_failed_reference_is_requested_until_it_worked_twice() -> None:
    here = world("JCM")
    outbound = next(r for r in here.routes if r.name == "JCM/outbound/JCM/utama/b")
    into_b = next(r for r in here.routes if r.name == "control/control/a/b")
    here.evaluator.record_run(failed(into_b, T0, Outcome.BOUNCED, Phase.TRANSIT), T0)
    here.evaluator.record_run(failed(outbound, T0 + MINUTE, Outcome.BOUNCED, Phase.TRANSIT), T0 + MINUTE)

    wanted = []
    for n in (2, 3):
        here.evaluator.record_run(arrived(into_b, T0 + n * MINUTE), T0 + n * MINUTE)
        wanted.append(into_b.name in here.evaluator.control_routes_to_run())
    assert wanted == [True, False]


def test_pending_run_expires() -> None:
    here = world("JCM")
    outbound = next(r for r in here.routes if r.name == "JCM/outbound/JCM/utama/b")
    here.evaluator.record_run(failed(outbound, T0, Outcome.BOUNCED, Phase.TRANSIT), T0)
    here.evaluator.record_run(arrived(here.routes[0], T0 + 20 * MINUTE), T0 + 20 * MINUTE)
    into_b = next(r for r in here.routes if r.name == "control/control/a/b")
    here.evaluator.record_run(arrived(into_b, T0 + 21 * MINUTE), T0 + 21 * MINUTE)
    for n in (22, 23):
        here.evaluator.record_run(failed(outbound, T0 + n * MINUTE, Outcome.BOUNCED, Phase.TRANSIT), T0 + n * MINUTE)
        here.evaluator.record_run(arrived(into_b, T0 + n * MINUTE), T0 + n * MINUTE)

    assert here.evaluator.route_health(outbound.name) is Health.UNKNOWN


# -- the rest --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cause", "minutes", "down"),
    [
        (RefusalCause.GREYLISTING, 29, False),
        (RefusalCause.GREYLISTING, 60, True),
        # A failed policy service, a full disk or an unreadable configuration.
        (None, 5, False),
        (None, 15, True),
    ],
)
@pytest.mark.falsegreen
def test_deferral_only_greylisting_has_a_budget(cause: RefusalCause | None, minutes: int, *, down: bool) -> None:
    """Defect: Every 4xx counts as greylisting, so a full disk is green for half an hour.

    Pantau: Only greylisting has a budget.
    """
    here = world("JCM").rounds(3)
    began = here.now
    here.faults["JCM/utama"] = smtp(Outcome.DEFERRED, Phase.SUBMIT, cause=cause)
    here.rounds(minutes // 5)

    found = here.trouble("JCM")
    assert (found is not None) is down
    if found is not None:
        assert (found.type, found.since) == (IncidentType.SENDING, began)


def test_deferral_inconclusive_run_starts_no_new_budget() -> None:
    here = world("JCM").rounds(3)
    internal = here.routes[0]
    for n in range(12):
        end = GREYLISTS(internal, here.now, Party.SENDER) if n % 2 else None
        here.evaluator.record_run(end or failed(internal, here.now, Outcome.INCONCLUSIVE, Phase.RETRIEVE), here.now)
        here.now += 10 * MINUTE

    assert here.evaluator.route_health(internal.name) is Health.DOWN


@pytest.mark.parametrize("junk", [False, True])
def test_deferral_arrival_starts_new_budget(*, junk: bool) -> None:
    here = world("JCM").rounds(3)
    internal = here.routes[0]
    for minutes in range(0, 70, 5):
        at = here.now + minutes * MINUTE
        end = arrived(internal, at, junk=junk) if minutes == 25 else GREYLISTS(internal, at, Party.SENDER)
        assert end is not None
        verdict = here.evaluator.record_run(end, at)
        assert verdict is not None
        # The budget is half an hour from the first deferral after the arrival.
        assert (verdict.grade is Grade.BAD) is (minutes >= 60)


def test_trouble_is_delayed_while_routes_are_undecided() -> None:
    here = world("JCM")
    here.rounds(3)
    internal, outbound = here.routes[0], here.routes[1]
    for _ in range(3):
        here.evaluator.record_run(failed(internal, here.now, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER), here.now)
    here.evaluator.record_run(failed(outbound, here.now, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER), here.now)

    assert here.evaluator.trouble("JCM", here.now + MINUTE) is None
    assert here.evaluator.trouble("JCM", here.now + 2 * (PROBING.retry_interval + PROBING.timeouts.total)) is not None


@pytest.mark.blind
def test_trouble_clock_set_back_while_undecided_is_returned_at_once() -> None:
    """Defect: After a clock is set back by eight hours, an outage is evaluated eight hours later.

    Pantau: A time ahead of the clock is not waited for.
    """
    here = world("JCM").rounds(3)
    internal, outbound = here.routes[0], here.routes[1]
    for _ in range(3):
        here.evaluator.record_run(failed(internal, here.now, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER), here.now)
    here.evaluator.record_run(failed(outbound, here.now, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER), here.now)
    assert here.evaluator.trouble("JCM", here.now + MINUTE) is None

    # Before the fix it waited eight hours and eleven minutes.
    assert here.evaluator.trouble("JCM", here.now - timedelta(hours=8)) is not None


def test_trouble_waits_for_inconclusive_route() -> None:
    here = world("JCM").rounds(3)
    outbound = [route for route in here.routes if route.direction is Direction.OUTBOUND]
    for _ in range(3):
        here.evaluator.record_run(failed(outbound[0], here.now, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER), here.now)
    assert here.evaluator.trouble("JCM", here.now) is not None

    here = world("JCM").rounds(3)
    # The reference did not answer.
    here.evaluator.record_run(failed(outbound[1], here.now, Outcome.REJECTED, Phase.CONNECT), here.now)
    for _ in range(3):
        here.evaluator.record_run(failed(outbound[0], here.now, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER), here.now)
    assert here.evaluator.trouble("JCM", here.now) is None
    assert here.evaluator.trouble("JCM", here.now + 2 * (PROBING.retry_interval + PROBING.timeouts.total)) is not None


def test_evidence_in_future_after_clock_set_back_does_not_count() -> None:
    here = world("JCM").rounds(3)
    here.now -= timedelta(hours=2)
    verdict = here.evaluator.record_run(REFUSED(here.routes[0], here.now, Party.RECIPIENT), here.now + SECOND)  # type: ignore[arg-type]
    assert verdict is not None
    assert verdict.grade is Grade.PENDING


def test_own_network_down_hides_reference_fault() -> None:
    here = world("JCM").rounds(3)
    here.faults["a"] = REFUSED
    here.rounds(6)
    assert here.own() == {"reference/a"}
    here.cut_off = True
    here.rounds(6)
    assert here.own() == {"network"}


def test_recovered_reference_does_not_blame_other() -> None:
    here = world("JCM").rounds(3)
    here.faults["a"] = LOSES
    here.rounds(6)
    assert here.own() == {"reference/a"}
    here.faults.clear()
    seen = set()
    for route in [*here.routes, *here.routes]:
        here.now += SECOND
        here.evaluator.record_run(arrived(route, here.now), here.now + SECOND)
        seen |= here.own()
    assert seen == {"reference/a"}
    assert here.own() == set()


def test_source_up_since_is_set_unless_reference_itself_failed() -> None:
    here = world("JCM", references=("a", "b", "c")).rounds(3)
    for sick, other in (("a", "c"), ("b", "a")):
        here.faults = {sick: LOSES}
        assert here.rounds(6).own() == {f"reference/{sick}"}
        assert here.source_up_since(f"reference/{other}") is not None
        assert here.source_up_since(f"reference/{sick}") is None
        here.faults.clear()
        assert here.rounds(4).own() == set()


def test_run_without_sign_in_does_not_affect_account() -> None:
    here = world("JCM").rounds(3)
    outbound = next(r for r in here.routes if r.direction is Direction.OUTBOUND)
    refused = {"outcome": Outcome.AUTH, "phase": Phase.AUTH, "party": Party.SENDER, "credentials": True}
    unread = {"outcome": Outcome.CONNECT, "phase": Phase.CONNECT}
    for end in (refused, refused, unread, refused):
        here.now += MINUTE
        here.evaluator.record_run(failed(outbound, here.now, **end), here.now)
    assert {str(s) for s in here.evaluator.faulty_sources(here.now)} == {"credentials/JCM/utama"}


def test_up_since_needs_every_direction() -> None:
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = REFUSED
    here.rounds(4)
    here.faults["JCM/utama"] = imap(Outcome.CONNECT, Phase.CONNECT)
    here.rounds(3)
    assert here.evaluator.up_since("JCM", here.now) is None

    here.faults.clear()
    well_at = here.now
    here.rounds(2)
    well = here.evaluator.up_since("JCM", here.now)
    assert well is not None
    assert well_at <= well < well_at + MINUTE


def test_up_since_one_good_run_is_not_enough() -> None:
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = REFUSED
    here.rounds(4)
    here.faults.clear()

    assert here.rounds(1).evaluator.up_since("JCM", here.now) is None


def test_restore_gives_same_health() -> None:
    here = world("JCM", "JKT").rounds(3)
    here.faults = {"JCM/utama": REFUSED, "JKT/utama": WRONG_PASSWORD}
    here.rounds(4)

    again = HealthEvaluator(here.routes, HealthPolicy())
    again.restore(here.evaluator.healths())

    assert again.healths() == here.evaluator.healths()
    assert again.mail("JCM").directions() == here.evaluator.mail("JCM").directions()
    assert {str(s) for s in again.faulty_sources(here.now)} == {"credentials/JKT/utama"}
    assert again.trouble("JCM", here.now) is not None
    assert again.up_since("JKT", T0) is None  # its account is refused


def test_restore_ignores_removed_sources() -> None:
    evaluator = HealthEvaluator(controls(), HealthPolicy())
    evaluator.restore(
        {
            "JCM/internal": (Health.DOWN, T0),
            "ours/credentials/JCM/utama#sender": (Health.DOWN, T0),
            "ours/reference/z": (Health.DOWN, T0),
            "ours/nonsense": (Health.DOWN, T0),
        }
    )

    assert evaluator.healths() == {}


def test_late_arrival_changes_lost_to_slow() -> None:
    here = world("JCM").rounds(3)
    internal = here.routes[0]
    for n in range(3):
        lost = failed(internal, here.now, Outcome.LOST, Phase.TRANSIT, token=f"{n:016x}")
        here.evaluator.record_run(lost, here.now)
        here.now += 5 * MINUTE
    assert here.evaluator.route_health(internal.name) is Health.DOWN

    for n in range(3):
        here.evaluator.record_late_arrival(internal.name, f"{n:016x}", 5 * MINUTE, here.now)

    assert here.evaluator.route_health(internal.name) is Health.DEGRADED
    here.evaluator.record_run(failed(internal, here.now, Outcome.LOST, Phase.TRANSIT, token=f"{3:016x}"), here.now)
    here.evaluator.record_late_arrival(internal.name, "ffffffffffffffff", 5 * MINUTE, here.now)
    assert here.evaluator._trackers[internal.name].grades()[-2:] == [Grade.SLOW, Grade.BAD]
    here.evaluator.record_late_arrival("no such route", "ffffffffffffffff", 5 * MINUTE, here.now)


def test_unknown_route_and_agency_have_no_health() -> None:
    evaluator = world("JCM").rounds(3).evaluator
    assert evaluator.route_health("no such route") is Health.UNKNOWN
    assert (evaluator.has_agency("JCM"), evaluator.has_agency("MDC")) == (True, False)
    assert evaluator.run_verdict("no such route", "ffffffffffffffff") is None


@pytest.mark.blind
def test_late_arrival_of_unacknowledged_message_changes_refused_to_slow() -> None:
    """Defect: Late mail after a hang-up leaves its run failed.

    Pantau: The run was slow.
    """
    here = world("JCM").rounds(3)
    outbound = here.routes[1]
    for n in range(3):
        cut = failed(outbound, here.now, Outcome.CONNECT, Phase.DATA, Party.SENDER, token=f"{n:016x}")
        here.evaluator.record_run(replace(cut, uncertain=True), here.now)
        here.evaluator.record_run(arrived(here.routes[-1], here.now + SECOND), here.now + SECOND)
        here.now += 5 * MINUTE
    assert here.evaluator.route_health(outbound.name) is Health.DOWN

    for n in range(3):
        here.evaluator.record_late_arrival(outbound.name, f"{n:016x}", 5 * MINUTE, here.now)

    assert here.evaluator.route_health(outbound.name) is Health.DEGRADED


def test_inconclusive_route_needs_another_run_while_other_is_down() -> None:
    here = world("JCM", "JKT").rounds(3)
    here.faults = {"a": REFUSED, "JCM/utama": smtp(Outcome.REJECTED, Phase.SUBMIT)}
    inbound = next(r.name for r in here.routes if r.name.startswith("JCM/inbound/a"))
    here.rounds(1)
    assert not here.evaluator.needs_another_run(inbound)

    # From the first inconclusive run until the route counts as blind.
    other = next(r.name for r in here.routes if r.name.startswith("JCM/inbound/b"))
    blind, seeing = here.evaluator._trackers[inbound], here.evaluator._trackers[other]
    blind.recent.clear()
    for silent, says, wanted in (
        (0, Health.DOWN, False),
        (1, Health.DOWN, True),
        (2, Health.DOWN, True),
        (3, Health.DOWN, False),
        (1, Health.DEGRADED, False),
    ):
        blind.inconclusive_runs, seeing.health = silent, says
        assert here.evaluator.needs_another_run(inbound) is wanted


def test_first_failure_repeats_agency_routes_and_next_only_its_own() -> None:
    here = world("JCM", "JKT").rounds(3)
    of_jcm = {route.name for route in here.routes if route.agency == "JCM"}
    internal = here.routes[0]
    for looked_at in (of_jcm, {internal.name}):
        refused = failed(internal, here.now, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER)
        here.evaluator.record_run(refused, here.now)
        assert set(here.evaluator.routes_to_repeat(internal.name)) == looked_at
        here.now += MINUTE
    control = next(route for route in here.routes if route.direction is Direction.CONTROL)
    here.evaluator.record_run(failed(control, here.now, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER), here.now)
    assert here.evaluator.routes_to_repeat(control.name) == (control.name,)


def test_run_of_unknown_route_is_ignored() -> None:
    unknown_route = agency_routes("ZZZ")[0]

    assert world("JCM").evaluator.record_run(arrived(unknown_route, T0), T0) is None
    assert world("JCM").evaluator.trouble("ZZZ", T0) is None
    assert world("JCM").evaluator.up_since("ZZZ", T0) is None


# -- a public mailbox that is forwarded to a reference -----------------------------------------------------------------


def forwarding() -> World:
    """Return a world with an agency without probed mailboxes: its public address is forwarded from a to b and back."""
    return World([forwarded("JCM"), forwarded("JCM", "b", "a"), *agency_routes("JKT"), *controls()])


def test_public_mailbox_losing_mail_is_receiving() -> None:
    here = forwarding().rounds(3)
    broke_at = here.now
    here.faults["JCM/utama"] = LOSES
    here.rounds(4)

    found = here.trouble("JCM")
    assert found is not None
    assert (found.type, found.since) == (IncidentType.RECEIVING, broke_at)
    assert (here.trouble("JKT"), here.own()) == (None, set())


@REFERENCE_FAULTS
def test_broken_reference_behind_forward_is_not_agencys(fault: Fault, source: str) -> None:
    here = forwarding().rounds(3)
    here.faults["a"] = fault
    for _ in range(12):
        here.rounds(1)
        assert here.trouble("JCM") is None

    assert here.own() == {source}


# -- more than two references ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sick", "source"), [("a", "reference/a"), ("b", "reference/b"), ("c", "reference/c")])
@pytest.mark.parametrize(
    "fault",
    [
        REFUSED,
        LOSES,
        slow(),
        on_the_way(Outcome.LOST, only=Party.SENDER),
        on_the_way(Outcome.LOST, only=Party.RECIPIENT),
        smtp(Outcome.REJECTED, Phase.SUBMIT),
    ],
)
def test_broken_one_of_three_references_is_named(sick: str, source: str, fault: Fault) -> None:
    here = world("JCM", "JKT", references=("a", "b", "c")).rounds(3)
    here.faults[sick] = fault
    for _ in range(10):
        here.rounds(1)
        assert (here.trouble("JCM"), here.trouble("JKT")) == (None, None)

    assert here.own() == {source}


@pytest.mark.parametrize(
    ("fault", "incident_type"),
    [
        (smtp(Outcome.REJECTED, Phase.SUBMIT), IncidentType.SENDING),
        (imap(Outcome.CONNECT, Phase.CONNECT), IncidentType.RECEIVING),
        (REFUSED, IncidentType.BOTH),
    ],
)
def test_agency_broken_direction_is_named_while_reference_is_slow(fault: Fault, incident_type: IncidentType) -> None:
    here = world("JCM", "JKT", references=("a", "b", "c")).rounds(3)
    here.faults["b"] = slow()
    here.rounds(6)
    here.faults["JCM/utama"] = fault
    here.rounds(6)

    found = here.trouble("JCM")
    assert found is not None
    assert found.type is incident_type
    assert (here.trouble("JKT"), here.own()) == (None, {"reference/b"})


def test_evidence_from_before_clock_set_back_does_not_count() -> None:
    here = world("JCM")
    outbound = next(r for r in here.routes if r.name == "JCM/outbound/JCM/utama/b")
    into_b = next(r for r in here.routes if r.name == "control/control/a/b")
    here.evaluator.record_run(arrived(here.routes[0], T0), T0)
    # It began at minute four; then the clock was set back by three minutes.
    here.evaluator.record_run(arrived(into_b, T0 + 4 * MINUTE), T0 + MINUTE)
    for n in (2, 2.2, 2.4):
        here.evaluator.record_run(failed(outbound, T0 + n * MINUTE, Outcome.BOUNCED, Phase.TRANSIT), T0 + n * MINUTE)

    assert here.evaluator.route_health(outbound.name) is Health.UNKNOWN


def test_agency_status_unobserved_direction_is_not_up() -> None:
    """A status from before the network failed would outvote sites that observe the agency."""
    of = world("JCM")
    of.rounds(3)
    assert of.evaluator.agency_status("JCM", of.now, has_open_incident=False) == UNTROUBLED
    source = of.evaluator.agency_status("JCM", of.now, has_open_incident=True)
    assert (set(source.directions.values()), source.up_since is None) == ({Health.UP}, False)
    of.cut_off = True
    of.rounds(6)
    for has_open_incident in (True, False):
        said = of.evaluator.agency_status("JCM", of.now, has_open_incident=has_open_incident)
        assert set(said.directions.values()) == {Health.UNKNOWN}
        assert has_open_incident or said.up_since is None
