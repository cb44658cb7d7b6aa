"""Affected direction in notifications and metrics, for each of the five cases."""

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
from tests.unit.monitor.evaluation.test_quorum import TWO, trouble_status
from tests.unit.monitor.evaluation.test_quorum import up_status as works
from tests.unit.monitor.world import REFUSED, WRONG_PASSWORD, Fault, imap, slow, smtp


@pytest.fixture(autouse=True)
def logs() -> Iterator[object]:
    with capture_logs() as lines:
        yield lines


SENDING, RECEIVING = smtp(Outcome.REJECTED, Phase.SUBMIT), imap(Outcome.CONNECT, Phase.CONNECT)


def english_sms(facts: Facts) -> str:
    return sms.compose(replace(facts, plan=Plan.ESCALATION), Language.ENGLISH, WORDING).text


@pytest.mark.parametrize(
    ("fault", "incident_type", "words", "sends", "receives"),
    [
        (SENDING, IncidentType.SENDING, "ALERT. Outgoing e-mail failing", 0, 1),
        (RECEIVING, IncidentType.RECEIVING, "ALERT. Incoming e-mail failing", 1, 0),
        (REFUSED, IncidentType.BOTH, "ALERT. Outgoing and incoming e-mail failing", 0, 0),
    ],
)
async def test_agency_broken_direction_is_named_in_notification_and_metrics(
    fault: Fault, incident_type: IncidentType, words: str, sends: int, receives: int
) -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = fault
    await service.rounds(8)

    assert service.alerts.sent() == [f"JCM: {incident_type}"]
    assert words in english_sms(replace(OUTAGE, type=incident_type))
    assert service.value("mail_up", agency="JCM", direction="outbound") == sends
    assert service.value("mail_up", agency="JCM", direction="inbound") == receives
    for direction in ("outbound", "inbound"):
        assert service.value("mail_up", agency="JKT", direction=direction) == 1
    assert service.fault("reference") == 0


@pytest.mark.parametrize("fault", [REFUSED, slow()])
async def test_reference_broken_notifies_noc_only_and_names_it(tmp_path: Path, fault: Fault) -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["b"] = fault
    await service.rounds(8)

    assert service.alerts.sent() == ["ours/reference/b: monitoring_fault"]
    assert "mailbox b" in _fault_subject(tmp_path, service)
    assert service.value("monitoring_fault", cause="reference", reference="b") == 1
    assert service.fault("network") == 0


async def test_own_network_broken_notifies_noc_only(tmp_path: Path) -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.cut_off = True
    await service.rounds(8)

    assert service.alerts.sent() == ["ours/network: monitoring_fault"]
    assert "our own network" in _fault_subject(tmp_path, service)
    assert service.fault("network") == 1


async def test_joint_status_hub_reaching_no_server_has_no_vote() -> None:
    service = Service("JCM")
    service.world.cut_off = True
    await service.rounds(8)
    here = service.pipeline._status("JCM", service.clock.time)

    assert service.alerts.sent() == ["ours/network: monitoring_fault"]
    # Both of two sites must agree. The hub has no vote and outvotes neither.
    down, up_status = trouble_status(IncidentType.BOTH), works()
    assert joint_status([here, down, down], TWO) == joint_status([down, down], TWO)
    assert joint_status([here, down, up_status], TWO) == joint_status([down, up_status], TWO)
    assert joint_status([here, up_status, up_status], TWO) == joint_status([up_status, up_status], TWO)


def _fault_subject(directory: Path, service: Service) -> str:
    """Return the subject of the only monitoring fault in its notification."""
    (trigger,) = service.alerts.events
    assert isinstance(trigger, Trigger)
    settings = Ministry(directory).load().require_configuration().settings
    (suspect,) = service.evaluator.source_troubles(service.clock.time)
    assert isinstance(suspect, FaultSource)
    return monitoring_fault_policy(settings, suspect).subject_en


@pytest.mark.parametrize("account", ["a", "JCM/utama"])
async def test_monitoring_fault_refused_account_is_exported_after_restart(account: str) -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults[account] = WRONG_PASSWORD
    await service.rounds(8)
    assert service.value("monitoring_fault", cause="credentials", reference=account) == 1
    assert service.fault("reference") == 0

    [told] = service.alerts.sent()
    service.start({told.partition(":")[0]: IncidentType.MONITORING_FAULT})
    assert service.value("monitoring_fault", cause="credentials", reference=account) == 1
    service.world.faults.clear()
    await service.rounds(4)
    assert service.fault("credentials") == 0
