"""Failure cause in the metrics: one series for each direction in trouble."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from probes.model.result import Outcome, Phase
from tests.unit.monitor.bridge.test_pipeline import Service
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.world import LOSES, REFUSED, Fault, imap, slow, smtp, unanswered


@pytest.fixture(autouse=True)
def logs() -> Iterator[object]:
    with capture_logs() as lines:
        yield lines


def causes(service: Service) -> set[tuple[str, str, str]]:
    """Return the exported causes of JCM: direction, outcome, party."""
    found = [each for each in Scrape(service.metrics).labels("mail_failure_cause") if each["agency"] == "JCM"]
    return {(each["direction"], each["outcome"], each["party"]) for each in found}


BOTH_WAYS = {("outbound", "connect", "sender"), ("inbound", "connect", "recipient")}


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (
            smtp(Outcome.REJECTED, Phase.SUBMIT),
            {("internal", "rejected", "sender"), ("outbound", "rejected", "sender")},
        ),
        (
            imap(Outcome.TIMEOUT, Phase.RETRIEVE),
            {("internal", "timeout", "recipient"), ("inbound", "timeout", "recipient")},
        ),
        # The sender must find a message that the agency's server accepted and lost on the way out.
        (
            LOSES,
            {("internal", "lost", "recipient"), ("outbound", "lost", "sender"), ("inbound", "lost", "recipient")},
        ),
        (
            slow(),
            {
                ("internal", "delivered", "recipient"),
                ("outbound", "delivered", "sender"),
                ("inbound", "delivered", "recipient"),
            },
        ),
        (unanswered, {("internal", "delivered", "recipient"), ("outbound", "delivered", "sender")}),
    ],
)
async def test_failure_cause_shows_outcome_and_party_by_direction(
    fault: Fault, shown: set[tuple[str, str, str]]
) -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    assert not causes(service)
    service.world.faults["JCM/utama"] = fault
    await service.rounds(6)
    assert causes(service) == shown

    service.world.faults.clear()
    await service.rounds(4)
    assert not causes(service)


async def test_failure_cause_follows_latest_runs() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(5)
    assert causes(service) >= BOTH_WAYS
    service.world.faults["JCM/utama"] = LOSES
    await service.rounds(2)
    assert {outcome for _, outcome, _ in causes(service)} == {"lost"}


async def test_failure_cause_one_of_two_routes_failing_is_shown() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    refuses = smtp(Outcome.BOUNCED, Phase.TRANSIT)
    service.world.faults["JCM/utama"] = lambda of, at, party: (
        refuses(of, at, party) if of.route.recipient.name == "a" else None
    )
    await service.rounds(6)
    assert service.value("mail_degraded", agency="JCM", direction="outbound") == 1
    assert causes(service) == {("outbound", "bounced", "sender")}


async def test_failure_cause_monitoring_fault_is_not_shown_for_agency() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["a"] = REFUSED
    await service.rounds(6)
    assert not causes(service)


async def test_failure_cause_after_restart_is_shown_with_first_run() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(6)
    service.start()
    assert not causes(service)
    assert service.value("mail_up", agency="JCM", direction="inbound") == 0
    await service.rounds(1)
    assert causes(service) >= BOTH_WAYS


async def test_failure_cause_own_network_down_is_kept() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(6)
    before = causes(service)
    service.world.cut_off = True
    await service.rounds(12)
    assert service.value("mail_up", agency="JCM", direction="inbound") == 0
    assert causes(service) == before


async def test_failure_cause_removed_agency_is_dropped() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(6)
    service.metrics.unregister_agency("JCM")
    # A run that had already started may end after that.
    await service.rounds(1)
    assert not causes(service)
