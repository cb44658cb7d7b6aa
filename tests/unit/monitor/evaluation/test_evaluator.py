"""Never green without proof, never red for our own fault: as stories."""

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
from tests.unit.monitor.trial import (
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

OURS = pytest.mark.parametrize(
    ("fault", "told"),
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


@OURS
def test_a_broken_reference_is_told_to_the_noc_and_held_against_no_agency(fault: Fault, told: str) -> None:
    here = world("JCM", "JKT").rounds(3)
    here.faults["a"] = fault
    for _ in range(12):
        here.rounds(1)
        assert (here.trouble("JCM"), here.trouble("JKT")) == (None, None)

    assert here.own() == {told}


@OURS
def test_a_reference_that_is_broken_from_the_start_is_held_against_no_agency(fault: Fault, told: str) -> None:
    here = World(world("JCM", "JKT").routes, {"a": fault}).rounds(12)

    assert (here.trouble("JCM"), here.trouble("JKT")) == (None, None)
    assert here.own() == {told}


@OURS
def test_an_outage_is_found_and_its_end_is_found_while_a_reference_is_broken(fault: Fault, told: str) -> None:
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


def test_a_network_of_ours_that_is_dead_is_no_agencys_fault() -> None:
    here = world("JCM", "JKT").rounds(3)
    here.cut_off = True
    here.rounds(8)

    assert (here.trouble("JCM"), here.trouble("JKT")) == (None, None)
    assert here.own() == {"network"}

    here.cut_off = False
    here.rounds(3)
    assert here.own() == set()
    assert here.own_up_since("network") is not None


def test_a_machine_that_cannot_open_connections_is_told_to_the_noc() -> None:
    here = world("JCM")
    for n in range(3):
        for each in here.routes:
            run = failed(each, T0 + n * MINUTE, Outcome.INCONCLUSIVE, Phase.CONNECT)
            here.evaluator.record_run(run, T0 + n * MINUTE)

    assert here.own() == {"network"}
    assert here.trouble("JCM") is None


def test_runs_that_break_for_a_bug_of_ours_are_told_to_the_noc() -> None:
    here = world("JCM")
    for n in range(3):
        for each in here.routes:
            run = failed(each, T0 + n * MINUTE, Outcome.INCONCLUSIVE, Phase.RETRIEVE)
            here.evaluator.record_run(run, T0 + n * MINUTE)

    assert here.own() == {"ours"}


def test_a_reference_is_well_since_the_last_of_its_routes_is() -> None:
    here = world("JCM").rounds(3)
    around = [here.evaluator._trackers[r.name] for r in here.routes if r.direction is Direction.CONTROL]
    for subject, minute in zip(around, (1, 4), strict=True):
        subject.working_since = T0 + minute * MINUTE
    assert here.own_up_since("reference/a") == T0 + 4 * MINUTE


@pytest.mark.parametrize("server", [smtp, imap, None])
def test_a_password_that_is_refused_at_an_agency_is_only_a_matter_of_credentials(server: object) -> None:
    here = world("JCM", "JKT").rounds(3)
    refuse = smtp if server is smtp else imap
    here.faults["JCM/utama"] = WRONG_PASSWORD if server is None else refuse(Outcome.AUTH, Phase.AUTH, credentials=True)
    here.rounds(6)

    assert here.trouble("JCM") is None
    assert here.own() == {"credentials/JCM/utama"}


def test_an_account_is_well_again_when_both_of_its_servers_let_it_in() -> None:
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = smtp(Outcome.AUTH, Phase.AUTH, credentials=True)
    here.rounds(6)
    here.faults.clear()
    here.rounds(3)

    assert here.own() == set()
    assert here.own_up_since("credentials/JCM/utama") is not None


@pytest.mark.parametrize(
    ("fault", "matter"),
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
def test_an_agency_that_is_broken_is_found_with_what_is_the_matter_and_since_when(
    fault: Fault, matter: IncidentType
) -> None:
    here = world("JCM", "JKT").rounds(3)
    broke_at = here.now
    here.faults["JCM/utama"] = fault
    here.rounds(4)

    found = here.trouble("JCM")
    assert found is not None
    assert (found.type, found.since) == (matter, broke_at)
    assert here.trouble("JKT") is None
    assert here.own() == set()


@pytest.mark.blind
def test_only_sending_is_degraded_where_the_server_hangs_up_instead_of_saying_that_it_took_the_message() -> None:
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
def test_a_reference_that_hangs_up_so_is_our_own_matter_and_no_agency_s(reference: str) -> None:
    here = world("JCM", "JKT").rounds(3)
    here.faults[reference] = unanswered
    here.rounds(4)

    assert here.own() == {f"reference/{reference}"}
    assert here.trouble("JCM") is here.trouble("JKT") is None


def test_an_agency_alone_is_found_too() -> None:
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = LOSES
    here.rounds(4)

    found = here.trouble("JCM")
    assert found is not None
    assert found.type is IncidentType.BOTH


def test_an_agency_that_fails_from_the_start_goes_down() -> None:
    here = World(world("JCM").routes, {"JCM/utama": REFUSED}).rounds(4)

    assert here.evaluator.mail("JCM").directions() == dict.fromkeys(
        (Direction.INTERNAL, Direction.OUTBOUND, Direction.INBOUND), Health.DOWN
    )


@pytest.mark.parametrize(
    ("direction", "fault", "matter"),
    [
        (Direction.OUTBOUND, LOSES, IncidentType.SENDING),
        (Direction.INBOUND, LOSES, IncidentType.RECEIVING),
        (Direction.INTERNAL, LOSES, IncidentType.BOTH),
        (Direction.INTERNAL, smtp(Outcome.CONNECT, Phase.CONNECT), IncidentType.SENDING),
        (Direction.INTERNAL, imap(Outcome.CONNECT, Phase.CONNECT), IncidentType.RECEIVING),
    ],
)
def test_an_agency_that_is_probed_in_one_direction_only(
    direction: Direction, fault: Fault, matter: IncidentType
) -> None:
    here = World([*agency_routes("JCM", directions=[direction]), *controls()]).rounds(2)
    here.faults["JCM/utama"] = fault
    here.rounds(4)

    found = here.trouble("JCM")
    assert found is not None
    assert found.type is matter


def test_mail_that_is_lost_only_within_the_agency_is_for_staff_alone() -> None:
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


def test_one_way_to_the_world_that_fails_for_one_agency_is_a_degradation() -> None:
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


def test_a_reference_that_dies_does_not_turn_a_degradation_into_an_outage() -> None:
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


def test_two_references_between_which_mail_is_lost_are_both_looked_at_when_no_agency_has_told_which_it_is() -> None:
    evaluator = World(controls()).evaluator
    for n in range(3):
        evaluator.record_run(failed(controls()[0], T0 + n * MINUTE, Outcome.LOST, Phase.TRANSIT), T0 + n * MINUTE)
    would_have_told = 2 * PROBING.interval + PROBING.timeouts.total

    assert {str(suspect) for suspect in evaluator.own_troubles(T0 + would_have_told)} == set()
    assert {str(suspect) for suspect in evaluator.own_troubles(T0 + would_have_told + SECOND)} == {"reference/b"}


# -- proof -----------------------------------------------------------------------------------------------------------


def test_a_failure_waits_for_proof_and_counts_from_its_own_beginning_when_it_comes() -> None:
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


def test_a_failure_comes_to_nothing_when_the_reference_turns_out_to_be_dead() -> None:
    here = world("JCM")
    outbound = next(r for r in here.routes if r.name == "JCM/outbound/JCM/utama/b")
    into_b = next(r for r in here.routes if r.name == "control/control/a/b")
    for n in range(3):
        here.evaluator.record_run(failed(outbound, T0 + n * MINUTE, Outcome.BOUNCED, Phase.TRANSIT), T0 + n * MINUTE)

    here.evaluator.record_run(failed(into_b, T0 + 3 * MINUTE, Outcome.BOUNCED, Phase.TRANSIT), T0 + 3 * MINUTE)
    here.evaluator.record_run(arrived(into_b, T0 + 4 * MINUTE), T0 + 4 * MINUTE)
    here.evaluator.record_run(arrived(into_b, T0 + 5 * MINUTE), T0 + 5 * MINUTE)

    assert here.evaluator.route_health(outbound.name) is Health.UNKNOWN


def test_a_proof_that_is_older_than_the_run_proves_nothing() -> None:
    here = world("JCM")
    outbound = next(r for r in here.routes if r.name == "JCM/outbound/JCM/utama/b")
    into_b = next(r for r in here.routes if r.name == "control/control/a/b")
    here.evaluator.record_run(arrived(into_b, T0 - SECOND), T0)
    for n in range(3):
        here.evaluator.record_run(failed(outbound, T0 + n * MINUTE, Outcome.BOUNCED, Phase.TRANSIT), T0 + n * MINUTE)

    assert here.evaluator.route_health(outbound.name) is Health.UNKNOWN


def test_a_mailbox_of_ours_that_hangs_after_it_was_proven_is_not_held_against_the_sender() -> None:
    here = world("JCM")
    outbound = next(r for r in here.routes if r.name == "JCM/outbound/JCM/utama/b")
    into_b = next(r for r in here.routes if r.name == "control/control/a/b")
    for n in range(3):
        at = T0 + n * 5 * MINUTE
        here.evaluator.record_run(arrived(into_b, at + SECOND), at + 2 * SECOND)
        here.evaluator.record_run(failed(outbound, at, Outcome.TIMEOUT, Phase.RETRIEVE), at + 4 * MINUTE)

    assert here.evaluator.route_health(outbound.name) is Health.UNKNOWN


def test_a_mailbox_that_we_cannot_read_because_our_network_died_is_not_held_against_the_agency() -> None:
    here = world("JCM")
    internal = here.routes[0]
    for n in range(3):
        here.evaluator.record_run(failed(internal, T0 + n * MINUTE, Outcome.TIMEOUT, Phase.RETRIEVE), T0 + n * MINUTE)
    for control in controls():
        here.evaluator.record_run(failed(control, T0 + 3 * MINUTE, Outcome.CONNECT, Phase.CONNECT), T0 + 3 * MINUTE)

    assert here.evaluator.route_health(internal.name) is Health.UNKNOWN


def test_a_reference_that_loses_every_other_message_cannot_vouch_for_itself() -> None:
    here = world("JCM", "JKT").rounds(3)
    for n in range(40):
        here.faults = {"a": LOSES} if n % 2 else {}
        here.rounds(1)
        assert (here.trouble("JCM"), here.trouble("JKT")) == (None, None)


def test_what_cannot_be_proven_is_not_asked_for_without_end() -> None:
    here = world("JCM").rounds(2)
    here.faults = {"a": REFUSED, "JCM/utama": on_the_way(Outcome.BOUNCED)}
    here.rounds(1)

    assert here.evaluator.control_routes_to_run() == []


@pytest.mark.parametrize(("transit", "is_asked"), [(SECOND, True), (2 * MINUTE, False)])
def test_of_mail_that_came_late_a_proof_is_asked_of_a_reference_that_was_in_time_itself(
    transit: timedelta, *, is_asked: bool
) -> None:
    here = world("JCM")
    outbound = next(r for r in here.routes if r.name == "JCM/outbound/JCM/utama/b")
    into_b = next(r for r in here.routes if r.name == "control/control/a/b")
    here.evaluator.record_run(arrived(into_b, T0, transit), T0 + transit)
    here.evaluator.record_run(arrived(outbound, T0 + 5 * MINUTE, 2 * MINUTE), T0 + 7 * MINUTE)
    assert (into_b.name in here.evaluator.control_routes_to_run()) is is_asked


def test_a_reference_that_has_failed_is_asked_again_until_it_has_worked_twice() -> None:
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


def test_what_waits_for_proof_does_not_wait_for_ever() -> None:
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
        # A dead policy service, a full disk, a configuration that cannot be read.
        (None, 5, False),
        (None, 15, True),
    ],
)
@pytest.mark.falsegreen
def test_judge_deferral_only_greylisting_has_a_budget(cause: RefusalCause | None, minutes: int, *, down: bool) -> None:
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


def test_an_inconclusive_run_does_not_give_the_deferral_a_new_budget() -> None:
    here = world("JCM").rounds(3)
    internal = here.routes[0]
    for n in range(12):
        end = GREYLISTS(internal, here.now, Party.SENDER) if n % 2 else None
        here.evaluator.record_run(end or failed(internal, here.now, Outcome.INCONCLUSIVE, Phase.RETRIEVE), here.now)
        here.now += 10 * MINUTE

    assert here.evaluator.route_health(internal.name) is Health.DOWN


@pytest.mark.parametrize("junk", [False, True])
def test_judge_arrival_after_deferral_begins_a_new_budget(*, junk: bool) -> None:
    here = world("JCM").rounds(3)
    internal = here.routes[0]
    for minutes in range(0, 70, 5):
        at = here.now + minutes * MINUTE
        end = arrived(internal, at, junk=junk) if minutes == 25 else GREYLISTS(internal, at, Party.SENDER)
        assert end is not None
        verdict = here.evaluator.record_run(end, at)
        assert verdict is not None
        # Half an hour from the first after the arrival.
        assert (verdict.grade is Grade.BAD) is (minutes >= 60)


def test_while_it_spreads_nothing_is_said_yet_and_in_the_end_it_is() -> None:
    here = world("JCM")
    here.rounds(3)
    internal, outbound = here.routes[0], here.routes[1]
    for _ in range(3):
        here.evaluator.record_run(failed(internal, here.now, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER), here.now)
    here.evaluator.record_run(failed(outbound, here.now, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER), here.now)

    assert here.evaluator.trouble("JCM", here.now + MINUTE) is None
    assert here.evaluator.trouble("JCM", here.now + 2 * (PROBING.retry_interval + PROBING.timeouts.total)) is not None


@pytest.mark.blind
def test_judge_clock_set_back_while_trouble_spreads_tells_it_at_once() -> None:
    """Defect: After a clock is set back by eight hours, an outage is evaluated eight hours later.

    Pantau: A time ahead of the clock is not waited for.
    """
    here = world("JCM").rounds(3)
    internal, outbound = here.routes[0], here.routes[1]
    for _ in range(3):
        here.evaluator.record_run(failed(internal, here.now, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER), here.now)
    here.evaluator.record_run(failed(outbound, here.now, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER), here.now)
    assert here.evaluator.trouble("JCM", here.now + MINUTE) is None

    # It waited for eight hours and eleven minutes.
    assert here.evaluator.trouble("JCM", here.now - timedelta(hours=8)) is not None


def test_a_route_that_could_not_look_is_waited_for_before_it_is_said_how_much_is_down() -> None:
    here = world("JCM").rounds(3)
    outbound = [route for route in here.routes if route.direction is Direction.OUTBOUND]
    for _ in range(3):
        here.evaluator.record_run(failed(outbound[0], here.now, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER), here.now)
    assert here.evaluator.trouble("JCM", here.now) is not None

    here = world("JCM").rounds(3)
    # The reference at its end did not answer.
    here.evaluator.record_run(failed(outbound[1], here.now, Outcome.REJECTED, Phase.CONNECT), here.now)
    for _ in range(3):
        here.evaluator.record_run(failed(outbound[0], here.now, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER), here.now)
    assert here.evaluator.trouble("JCM", here.now) is None
    assert here.evaluator.trouble("JCM", here.now + 2 * (PROBING.retry_interval + PROBING.timeouts.total)) is not None


def test_a_proof_that_a_clock_set_back_has_left_in_the_future_proves_nothing() -> None:
    here = world("JCM").rounds(3)
    here.now -= timedelta(hours=2)
    verdict = here.evaluator.record_run(REFUSED(here.routes[0], here.now, Party.RECIPIENT), here.now + SECOND)  # type: ignore[arg-type]
    assert verdict is not None
    assert verdict.grade is Grade.PENDING


def test_while_our_network_is_down_no_reference_is_accused_any_more() -> None:
    here = world("JCM").rounds(3)
    here.faults["a"] = REFUSED
    here.rounds(6)
    assert here.own() == {"reference/a"}
    here.cut_off = True
    here.rounds(6)
    assert here.own() == {"network"}


def test_a_reference_that_works_again_does_not_put_the_blame_on_the_other() -> None:
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


def test_a_reference_is_well_while_the_other_is_to_blame_and_to_blame_once_it_fails_itself() -> None:
    here = world("JCM", references=("a", "b", "c")).rounds(3)
    for sick, other in (("a", "c"), ("b", "a")):
        here.faults = {sick: LOSES}
        assert here.rounds(6).own() == {f"reference/{sick}"}
        assert here.own_up_since(f"reference/{other}") is not None
        assert here.own_up_since(f"reference/{sick}") is None
        here.faults.clear()
        assert here.rounds(4).own() == set()


def test_a_run_that_never_came_to_sign_in_says_nothing_of_the_account() -> None:
    here = world("JCM").rounds(3)
    outbound = next(r for r in here.routes if r.direction is Direction.OUTBOUND)
    refused = {"outcome": Outcome.AUTH, "phase": Phase.AUTH, "party": Party.SENDER, "credentials": True}
    unread = {"outcome": Outcome.CONNECT, "phase": Phase.CONNECT}
    for end in (refused, refused, unread, refused):
        here.now += MINUTE
        here.evaluator.record_run(failed(outbound, here.now, **end), here.now)
    assert {str(s) for s in here.evaluator.own_faults(here.now)} == {"credentials/JCM/utama"}


def test_recovery_needs_every_direction() -> None:
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


def test_one_good_run_is_no_recovery() -> None:
    here = world("JCM").rounds(3)
    here.faults["JCM/utama"] = REFUSED
    here.rounds(4)
    here.faults.clear()

    assert here.rounds(1).evaluator.up_since("JCM", here.now) is None


def test_after_a_restart_things_stand_as_they_stood() -> None:
    here = world("JCM", "JKT").rounds(3)
    here.faults = {"JCM/utama": REFUSED, "JKT/utama": WRONG_PASSWORD}
    here.rounds(4)

    again = HealthEvaluator(here.routes, HealthPolicy())
    again.restore(here.evaluator.healths())

    assert again.healths() == here.evaluator.healths()
    assert again.mail("JCM").directions() == here.evaluator.mail("JCM").directions()
    assert {str(s) for s in again.own_faults(here.now)} == {"credentials/JKT/utama"}
    assert again.trouble("JCM", here.now) is not None
    assert again.up_since("JKT", T0) is None  # its account is refused


def test_what_left_the_configuration_is_not_taken_up_after_a_restart() -> None:
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


def test_a_message_that_comes_after_all_was_slow_and_not_lost() -> None:
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


def test_of_what_is_not_judged_here_nothing_is_known() -> None:
    evaluator = world("JCM").rounds(3).evaluator
    assert evaluator.route_health("no such route") is Health.UNKNOWN
    assert (evaluator.has_agency("JCM"), evaluator.has_agency("MDC")) == (True, False)
    assert evaluator.run_verdict("no such route", "ffffffffffffffff") is None


@pytest.mark.blind
def test_a_message_that_was_never_answered_for_and_comes_after_its_run_was_slow_and_not_refused() -> None:
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


def test_a_route_that_cannot_see_is_looked_at_again_while_the_other_says_down() -> None:
    here = world("JCM", "JKT").rounds(3)
    here.faults = {"a": REFUSED, "JCM/utama": smtp(Outcome.REJECTED, Phase.SUBMIT)}
    inbound = next(r.name for r in here.routes if r.name.startswith("JCM/inbound/a"))
    here.rounds(1)
    assert not here.evaluator.needs_another_run(inbound)

    # From its first run that said nothing, until it is known to be blind.
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


def test_after_a_first_failure_all_routes_of_the_agency_are_looked_at_and_after_the_next_its_own() -> None:
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


def test_a_result_of_an_unknown_route_is_no_result() -> None:
    stranger = agency_routes("ZZZ")[0]

    assert world("JCM").evaluator.record_run(arrived(stranger, T0), T0) is None
    assert world("JCM").evaluator.trouble("ZZZ", T0) is None
    assert world("JCM").evaluator.up_since("ZZZ", T0) is None


# -- a public mailbox that is forwarded to a reference -----------------------------------------------------------------


def forwarding() -> World:
    """Return a world with an agency that gives us no mailbox: its public address is forwarded from a to b and back."""
    return World([forwarded("JCM"), forwarded("JCM", "b", "a"), *agency_routes("JKT"), *controls()])


def test_a_public_mailbox_that_loses_its_mail_is_the_agencys_receiving_side() -> None:
    here = forwarding().rounds(3)
    broke_at = here.now
    here.faults["JCM/utama"] = LOSES
    here.rounds(4)

    found = here.trouble("JCM")
    assert found is not None
    assert (found.type, found.since) == (IncidentType.RECEIVING, broke_at)
    assert (here.trouble("JKT"), here.own()) == (None, set())


@OURS
def test_a_reference_that_breaks_behind_a_forward_is_not_held_against_the_agency(fault: Fault, told: str) -> None:
    here = forwarding().rounds(3)
    here.faults["a"] = fault
    for _ in range(12):
        here.rounds(1)
        assert here.trouble("JCM") is None

    assert here.own() == {told}


# -- more than two references ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sick", "told"), [("a", "reference/a"), ("b", "reference/b"), ("c", "reference/c")])
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
def test_of_three_references_the_one_that_is_broken_is_named(sick: str, told: str, fault: Fault) -> None:
    here = world("JCM", "JKT", references=("a", "b", "c")).rounds(3)
    here.faults[sick] = fault
    for _ in range(10):
        here.rounds(1)
        assert (here.trouble("JCM"), here.trouble("JKT")) == (None, None)

    assert here.own() == {told}


@pytest.mark.parametrize(
    ("fault", "matter"),
    [
        (smtp(Outcome.REJECTED, Phase.SUBMIT), IncidentType.SENDING),
        (imap(Outcome.CONNECT, Phase.CONNECT), IncidentType.RECEIVING),
        (REFUSED, IncidentType.BOTH),
    ],
)
def test_of_an_agency_the_broken_side_is_named_while_one_of_three_references_is_slow(
    fault: Fault, matter: IncidentType
) -> None:
    here = world("JCM", "JKT", references=("a", "b", "c")).rounds(3)
    here.faults["b"] = slow()
    here.rounds(6)
    here.faults["JCM/utama"] = fault
    here.rounds(6)

    found = here.trouble("JCM")
    assert found is not None
    assert found.type is matter
    assert (here.trouble("JKT"), here.own()) == (None, {"reference/b"})


def test_a_proof_from_before_the_clock_was_set_back_stands_for_nothing_that_comes_after() -> None:
    here = world("JCM")
    outbound = next(r for r in here.routes if r.name == "JCM/outbound/JCM/utama/b")
    into_b = next(r for r in here.routes if r.name == "control/control/a/b")
    here.evaluator.record_run(arrived(here.routes[0], T0), T0)
    # It began at four minutes past; then the clock was set back by three.
    here.evaluator.record_run(arrived(into_b, T0 + 4 * MINUTE), T0 + MINUTE)
    for n in (2, 2.2, 2.4):
        here.evaluator.record_run(failed(outbound, T0 + n * MINUTE, Outcome.BOUNCED, Phase.TRANSIT), T0 + n * MINUTE)

    assert here.evaluator.route_health(outbound.name) is Health.UNKNOWN


def test_what_a_site_cannot_see_it_does_not_say_to_be_well() -> None:
    """How it was judged before its network died would outvote, among other sites, those that see."""
    of = world("JCM")
    of.rounds(3)
    assert of.evaluator.agency_status("JCM", of.now, has_open_incident=False) == UNTROUBLED
    told = of.evaluator.agency_status("JCM", of.now, has_open_incident=True)
    assert (set(told.directions.values()), told.up_since is None) == ({Health.UP}, False)
    of.cut_off = True
    of.rounds(6)
    for has_open_incident in (True, False):
        said = of.evaluator.agency_status("JCM", of.now, has_open_incident=has_open_incident)
        assert set(said.directions.values()) == {Health.UNKNOWN}
        assert has_open_incident or said.up_since is None
