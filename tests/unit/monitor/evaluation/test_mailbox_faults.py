"""Refusals that concern one mailbox: its own fault until a second mailbox of the agency is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts.model.notification import IncidentType
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.model.health import Health, HealthPolicy
from monitor.model.route import Direction, MonitoredRoute
from probes.model.result import Outcome, Party, Phase, ProbeResult, RefusalCause
from tests.unit.monitor.world import MINUTE, T0, World, agency_routes, arrived, controls, failed, route

FIRST, SECOND = "JCM/utama", "JCM/kedua"
INBOUND = {box: route("JCM", Direction.INBOUND, "a", box) for box in (FIRST, SECOND)}
OUTBOUND = route("JCM", Direction.OUTBOUND, FIRST, "a")
ROUTES = [*INBOUND.values(), OUTBOUND, *agency_routes("JKT", ("a",)), *controls()]


def full(of: MonitoredRoute, at: timedelta) -> ProbeResult:
    return failed(of, T0 + at, Outcome.BOUNCED, Phase.TRANSIT, cause=RefusalCause.RECEIVING_LIMIT)


def listed(of: MonitoredRoute, at: timedelta) -> ProbeResult:
    return failed(of, T0 + at, Outcome.BOUNCED, Phase.TRANSIT, cause=RefusalCause.BLOCK_LIST)


def healthy_evaluator() -> HealthEvaluator:
    """Return an evaluator with all routes up by runs in the last quarter of an hour."""
    evaluator = HealthEvaluator(ROUTES, HealthPolicy())
    for minutes in (-15, -10, -5):
        for each in ROUTES:
            evaluator.record_run(arrived(each, T0 + minutes * MINUTE), T0 + minutes * MINUTE)
    return evaluator


def record_runs(evaluator: HealthEvaluator, *ends: ProbeResult) -> None:
    for end in ends:
        evaluator.record_run(end, end.started_at)


def fault_sources(evaluator: HealthEvaluator, minutes: int) -> set[str]:
    return {str(suspect) for suspect in evaluator.source_troubles(T0 + minutes * MINUTE)}


@pytest.mark.blind
def test_one_full_mailbox_is_reported_and_no_outage() -> None:
    """Defect: A full mailbox is an outage for staff.

    Pantau: It is no outage, and is named until it works.
    """
    evaluator = healthy_evaluator()
    for n in range(5):
        # The other mailbox works, and the full one can send.
        record_runs(evaluator, full(INBOUND[FIRST], 5 * n * MINUTE), arrived(INBOUND[SECOND], T0 + 5 * n * MINUTE))
        record_runs(evaluator, arrived(OUTBOUND, T0 + 5 * n * MINUTE))
    assert evaluator.trouble("JCM", T0 + 90 * MINUTE) is None
    assert evaluator.route_health(INBOUND[FIRST].name) is Health.UP
    assert fault_sources(evaluator, 90) == {f"mailbox/{FIRST}"}
    assert {str(each) for each in evaluator.faulty_sources(T0)} == {f"mailbox/{FIRST}"}

    suspect = evaluator.find_fault_source(f"mailbox/{FIRST}")
    assert suspect is not None
    for minutes in (30, 35):
        record_runs(evaluator, arrived(INBOUND[FIRST], T0 + minutes * MINUTE))
    assert fault_sources(evaluator, 90) == set()
    assert evaluator.source_up_since(suspect, T0 + 90 * MINUTE) == T0 + 30 * MINUTE


@pytest.mark.blind
def test_second_full_mailbox_of_agency_is_outage() -> None:
    """Defect: Several full mailboxes of an agency are no outage.

    Pantau: The second one makes an outage.
    """
    evaluator = healthy_evaluator()
    for n in range(4):
        record_runs(evaluator, full(INBOUND[FIRST], 5 * n * MINUTE), full(INBOUND[SECOND], (5 * n + 1) * MINUTE))
    trouble = evaluator.trouble("JCM", T0 + 90 * MINUTE)
    assert trouble is not None
    # From the first refusal with a second mailbox.
    assert (trouble.type, trouble.since) == (IncidentType.RECEIVING, T0 + MINUTE)
    assert evaluator.trouble("JKT", T0 + 90 * MINUTE) is None


@pytest.mark.blind
@pytest.mark.parametrize(
    "other",
    [
        # It accepts mail again; it was full long ago; it is the same mailbox by another route.
        [full(INBOUND[SECOND], -4 * MINUTE), arrived(INBOUND[SECOND], T0 - 2 * MINUTE)],
        [full(INBOUND[SECOND], -60 * MINUTE)],
        [full(INBOUND[FIRST], -MINUTE)],
    ],
    ids=["works again", "long ago", "the same"],
)
def test_mailbox_not_full_now_counts_as_no_second(other: list[ProbeResult]) -> None:
    """Defect: A mailbox that was full long ago counts as a second one.

    Pantau: It does not once it works again.
    """
    evaluator = healthy_evaluator()
    record_runs(evaluator, *other)
    for n in range(4):
        record_runs(evaluator, full(INBOUND[FIRST], n * MINUTE))
    assert evaluator.trouble("JCM", T0 + 90 * MINUTE) is None


def test_full_mailbox_removed_or_replaced_is_forgotten() -> None:
    evaluator = healthy_evaluator()
    record_runs(evaluator, full(INBOUND[SECOND], timedelta()))
    evaluator.remove_routes([INBOUND[SECOND]])
    for n in range(1, 5):
        record_runs(evaluator, full(INBOUND[FIRST], n * MINUTE))
    assert evaluator.trouble("JCM", T0 + 90 * MINUTE) is None
    assert fault_sources(evaluator, 90) == {f"mailbox/{FIRST}"}


def test_full_mailbox_is_restored() -> None:
    evaluator = healthy_evaluator()
    for n in range(3):
        record_runs(evaluator, full(INBOUND[FIRST], n * MINUTE))
    again = HealthEvaluator(ROUTES, HealthPolicy())
    again.restore(evaluator.healths())
    assert fault_sources(again, 5) == {f"mailbox/{FIRST}"}
    for n in range(2):
        record_runs(again, arrived(INBOUND[FIRST], T0 + (5 + n) * MINUTE))
    assert fault_sources(again, 9) == set()


@pytest.mark.blind
def test_full_reference_is_reported_as_mailbox_and_blames_nobody() -> None:
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
def test_reference_on_block_list_is_reported_after_several_refusals() -> None:
    """Defect: A block-listed reference is not reported.

    Pantau: The NOC is notified after three refusals in a row.
    """
    evaluator = healthy_evaluator()
    record_runs(evaluator, listed(INBOUND[FIRST], timedelta()), arrived(INBOUND[SECOND], T0 + MINUTE))
    record_runs(evaluator, listed(INBOUND[FIRST], 5 * MINUTE), arrived(INBOUND[SECOND], T0 + 6 * MINUTE))
    assert fault_sources(evaluator, 10) == set(), "one mailbox may have its own block list"
    for n in range(10, 13):
        record_runs(evaluator, listed(INBOUND[SECOND], n * MINUTE))
    assert fault_sources(evaluator, 15) == {"reference/a"}
    assert evaluator.trouble("JCM", T0 + 90 * MINUTE) is None
    suspect = evaluator.find_fault_source("reference/a")
    assert suspect is not None
    assert evaluator.source_up_since(suspect, T0 + 15 * MINUTE) is None
    for n in range(16, 18):
        record_runs(evaluator, arrived(INBOUND[SECOND], T0 + n * MINUTE))
    assert fault_sources(evaluator, 20) == set()
    assert evaluator.source_up_since(suspect, T0 + 20 * MINUTE) == T0 + 16 * MINUTE
