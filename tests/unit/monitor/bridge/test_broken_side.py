"""Which side is broken: what is told of it in a notice, and what the metrics show, for each of the five answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from alerts.model.event import Trigger
from alerts.model.notification import Facts, IncidentType, Language, Plan
from alerts.wording import sms
from monitor.bridge.incident_policy import monitoring_fault_policy
from monitor.evaluation.joint.quorum import joint_status
from monitor.evaluation.monitoring_faults import FaultSource
from probes.model.result import Outcome, Phase
from tests.unit.alerts.wording.situations import OUTAGE, WORDING
from tests.unit.monitor.bridge.test_pipeline import Service
from tests.unit.monitor.config.ministry import Ministry
from tests.unit.monitor.evaluation.test_quorum import TWO, wrong
from tests.unit.monitor.evaluation.test_quorum import well as works
from tests.unit.monitor.trial import REFUSED, WRONG_PASSWORD, Fault, imap, slow, smtp


@pytest.fixture(autouse=True)
def logs() -> Iterator[object]:
    with capture_logs() as lines:
        yield lines


SENDING, RECEIVING = smtp(Outcome.REJECTED, Phase.SUBMIT), imap(Outcome.CONNECT, Phase.CONNECT)


def told_in_english(facts: Facts) -> str:
    return sms.compose(replace(facts, plan=Plan.ESCALATION), Language.ENGLISH, WORDING).text


@pytest.mark.parametrize(
    ("fault", "matter", "words", "sends", "receives"),
    [
        (SENDING, IncidentType.SENDING, "ALERT. Outgoing e-mail failing", 0, 1),
        (RECEIVING, IncidentType.RECEIVING, "ALERT. Incoming e-mail failing", 1, 0),
        (REFUSED, IncidentType.BOTH, "ALERT. Outgoing and incoming e-mail failing", 0, 0),
    ],
)
async def test_an_agencys_broken_side_is_named(
    fault: Fault, matter: IncidentType, words: str, sends: int, receives: int
) -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = fault
    await service.rounds(8)

    assert service.alerts.told() == [f"JCM: {matter}"]
    assert words in told_in_english(replace(OUTAGE, type=matter))
    assert service.value("mail_up", agency="JCM", direction="outbound") == sends
    assert service.value("mail_up", agency="JCM", direction="inbound") == receives
    for direction in ("outbound", "inbound"):
        assert service.value("mail_up", agency="JKT", direction=direction) == 1
    assert service.fault("reference") == 0


@pytest.mark.parametrize("fault", [REFUSED, slow()])
async def test_one_reference_that_is_broken_is_named_to_the_noc_alone(tmp_path: Path, fault: Fault) -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["b"] = fault
    await service.rounds(8)

    assert service.alerts.told() == ["ours/reference/b: monitoring_fault"]
    assert "mailbox b" in _words(tmp_path, service)
    assert service.value("monitoring_fault", cause="reference", reference="b") == 1
    assert service.fault("network") == 0


async def test_our_own_network_is_named_to_the_noc_alone(tmp_path: Path) -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.cut_off = True
    await service.rounds(8)

    assert service.alerts.told() == ["ours/network: monitoring_fault"]
    assert "our own network" in _words(tmp_path, service)
    assert service.fault("network") == 1


async def test_a_hub_that_reaches_no_mail_server_has_no_say_in_how_agencies_stand() -> None:
    service = Service("JCM")
    service.world.cut_off = True
    await service.rounds(8)
    here = service.pipeline._status("JCM", service.clock.time)

    assert service.alerts.told() == ["ours/network: monitoring_fault"]
    # Two sites, of which both must say so: it is none of them, and has none that it could outvote.
    down, well = wrong(IncidentType.BOTH), works()
    assert joint_status([here, down, down], TWO) == joint_status([down, down], TWO)
    assert joint_status([here, down, well], TWO) == joint_status([down, well], TWO)
    assert joint_status([here, well, well], TWO) == joint_status([well, well], TWO)


def _words(directory: Path, service: Service) -> str:
    """Return what the one fault of ours is called in its notice."""
    (trigger,) = service.alerts.heard
    assert isinstance(trigger, Trigger)
    settings = Ministry(directory).load().accepted().settings
    (suspect,) = service.evaluator.own_troubles(service.clock.time)
    assert isinstance(suspect, FaultSource)
    return monitoring_fault_policy(settings, suspect).subject_en


@pytest.mark.parametrize("account", ["a", "JCM/utama"])
async def test_own_fault_names_the_refused_account_and_over_a_restart(account: str) -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults[account] = WRONG_PASSWORD
    await service.rounds(8)
    assert service.value("monitoring_fault", cause="credentials", reference=account) == 1
    assert service.fault("reference") == 0

    [told] = service.alerts.told()
    service.start({told.partition(":")[0]: IncidentType.MONITORING_FAULT})
    assert service.value("monitoring_fault", cause="credentials", reference=account) == 1
    service.world.faults.clear()
    await service.rounds(4)
    assert service.fault("credentials") == 0
