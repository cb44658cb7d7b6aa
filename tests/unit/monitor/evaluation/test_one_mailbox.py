"""What servers say of one mailbox is the fault of that mailbox, until a second one of the agency is refused as well."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts.model.notification import IncidentType
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.model.health import Health, HealthPolicy
from monitor.model.route import Direction, MonitoredRoute
from probes.model.result import Outcome, Party, Phase, ProbeResult, RefusalCause
from tests.unit.monitor.trial import MINUTE, T0, World, agency_routes, arrived, controls, failed, route

FIRST, SECOND = "JCM/utama", "JCM/kedua"
INBOUND = {box: route("JCM", Direction.INBOUND, "a", box) for box in (FIRST, SECOND)}
OUTBOUND = route("JCM", Direction.OUTBOUND, FIRST, "a")
ROUTES = [*INBOUND.values(), OUTBOUND, *agency_routes("JKT", ("a",)), *controls()]


def full(of: MonitoredRoute, at: timedelta) -> ProbeResult:
    return failed(of, T0 + at, Outcome.BOUNCED, Phase.TRANSIT, cause=RefusalCause.RECEIVING_LIMIT)


def listed(of: MonitoredRoute, at: timedelta) -> ProbeResult:
    return failed(of, T0 + at, Outcome.BOUNCED, Phase.TRANSIT, cause=RefusalCause.BLOCK_LIST)


def judged_well() -> HealthEvaluator:
    """Return a judge to whom all routes are well, by runs in the quarter of an hour before."""
    evaluator = HealthEvaluator(ROUTES, HealthPolicy())
    for minutes in (-15, -10, -5):
        for each in ROUTES:
            evaluator.record_run(arrived(each, T0 + minutes * MINUTE), T0 + minutes * MINUTE)
    return evaluator


def handle_event(evaluator: HealthEvaluator, *ends: ProbeResult) -> None:
    for end in ends:
        evaluator.record_run(end, end.started_at)


def own(evaluator: HealthEvaluator, minutes: int) -> set[str]:
    return {str(suspect) for suspect in evaluator.own_troubles(T0 + minutes * MINUTE)}


@pytest.mark.blind
def test_judge_one_full_mailbox_is_told_as_that_mailbox_and_is_no_outage() -> None:
    """Defect: A full mailbox is an outage for staff.

    Pantau: It is no outage, and is named until it works.
    """
    evaluator = judged_well()
    for n in range(5):
        # The other mailbox, and what the full one sends, go on.
        handle_event(evaluator, full(INBOUND[FIRST], 5 * n * MINUTE), arrived(INBOUND[SECOND], T0 + 5 * n * MINUTE))
        handle_event(evaluator, arrived(OUTBOUND, T0 + 5 * n * MINUTE))
    assert evaluator.trouble("JCM", T0 + 90 * MINUTE) is None
    assert evaluator.route_health(INBOUND[FIRST].name) is Health.UP
    assert own(evaluator, 90) == {f"mailbox/{FIRST}"}
    assert {str(each) for each in evaluator.own_faults(T0)} == {f"mailbox/{FIRST}"}

    suspect = evaluator.find_fault_source(f"mailbox/{FIRST}")
    assert suspect is not None
    for minutes in (30, 35):
        handle_event(evaluator, arrived(INBOUND[FIRST], T0 + minutes * MINUTE))
    assert own(evaluator, 90) == set()
    assert evaluator.own_up_since(suspect, T0 + 90 * MINUTE) == T0 + 30 * MINUTE


@pytest.mark.blind
def test_judge_second_full_mailbox_of_the_agency_is_an_outage() -> None:
    """Defect: Several full mailboxes of an agency are no outage.

    Pantau: The second one makes an outage.
    """
    evaluator = judged_well()
    for n in range(4):
        handle_event(evaluator, full(INBOUND[FIRST], 5 * n * MINUTE), full(INBOUND[SECOND], (5 * n + 1) * MINUTE))
    trouble = evaluator.trouble("JCM", T0 + 90 * MINUTE)
    assert trouble is not None
    # From the first that was not alone.
    assert (trouble.type, trouble.since) == (IncidentType.RECEIVING, T0 + MINUTE)
    assert evaluator.trouble("JKT", T0 + 90 * MINUTE) is None


@pytest.mark.blind
@pytest.mark.parametrize(
    "other",
    [
        # It takes mail again; it was full long ago; it is the same mailbox, by another route.
        [full(INBOUND[SECOND], -4 * MINUTE), arrived(INBOUND[SECOND], T0 - 2 * MINUTE)],
        [full(INBOUND[SECOND], -60 * MINUTE)],
        [full(INBOUND[FIRST], -MINUTE)],
    ],
    ids=["works again", "long ago", "the same"],
)
def test_judge_mailbox_that_is_not_full_now_makes_no_second(other: list[ProbeResult]) -> None:
    """Defect: A mailbox that was full long ago counts as a second one.

    Pantau: It does not once it works again.
    """
    evaluator = judged_well()
    handle_event(evaluator, *other)
    for n in range(4):
        handle_event(evaluator, full(INBOUND[FIRST], n * MINUTE))
    assert evaluator.trouble("JCM", T0 + 90 * MINUTE) is None


def test_judge_full_mailbox_reload_forgets_one_that_is_exchanged_or_has_left() -> None:
    evaluator = judged_well()
    handle_event(evaluator, full(INBOUND[SECOND], timedelta()))
    evaluator.remove_routes([INBOUND[SECOND]])
    for n in range(1, 5):
        handle_event(evaluator, full(INBOUND[FIRST], n * MINUTE))
    assert evaluator.trouble("JCM", T0 + 90 * MINUTE) is None
    assert own(evaluator, 90) == {f"mailbox/{FIRST}"}


def test_judge_full_mailbox_is_known_after_a_restart() -> None:
    evaluator = judged_well()
    for n in range(3):
        handle_event(evaluator, full(INBOUND[FIRST], n * MINUTE))
    again = HealthEvaluator(ROUTES, HealthPolicy())
    again.restore(evaluator.healths())
    assert own(again, 5) == {f"mailbox/{FIRST}"}
    for n in range(2):
        handle_event(again, arrived(INBOUND[FIRST], T0 + (5 + n) * MINUTE))
    assert own(again, 9) == set()


@pytest.mark.blind
def test_judge_full_reference_is_told_as_its_mailbox_and_blames_nobody() -> None:
    """Defect: A full reference blames agencies.

    Pantau: It is reported as its own mailbox.
    """
    here = World(ROUTES).rounds(3)

    def fault(of: MonitoredRoute, at: object, party: Party) -> ProbeResult | None:
        assert party in Party
        return full(of, here.now - T0) if of.route.recipient.name == "a" else None

    here.faults["a"] = fault
    here.rounds(4)
    assert here.own() == {"mailbox/a"}
    assert here.trouble("JCM") is here.trouble("JKT") is None
    here.faults.clear()
    here.rounds(3)
    assert here.own() == set()


@pytest.mark.blind
def test_judge_reference_on_a_block_list_is_told_to_the_noc_once_several_agencies_refuse_it() -> None:
    """Defect: A block-listed reference is not reported.

    Pantau: The NOC is notified after three refusals in a row.
    """
    evaluator = judged_well()
    handle_event(evaluator, listed(INBOUND[FIRST], timedelta()), arrived(INBOUND[SECOND], T0 + MINUTE))
    handle_event(evaluator, listed(INBOUND[FIRST], 5 * MINUTE), arrived(INBOUND[SECOND], T0 + 6 * MINUTE))
    assert own(evaluator, 10) == set(), "one mailbox may have a list of its own"
    for n in range(10, 13):
        handle_event(evaluator, listed(INBOUND[SECOND], n * MINUTE))
    assert own(evaluator, 15) == {"reference/a"}
    assert evaluator.trouble("JCM", T0 + 90 * MINUTE) is None
    suspect = evaluator.find_fault_source("reference/a")
    assert suspect is not None
    assert evaluator.own_up_since(suspect, T0 + 15 * MINUTE) is None
    for n in range(16, 18):
        handle_event(evaluator, arrived(INBOUND[SECOND], T0 + n * MINUTE))
    assert own(evaluator, 20) == set()
    assert evaluator.own_up_since(suspect, T0 + 20 * MINUTE) == T0 + 16 * MINUTE
