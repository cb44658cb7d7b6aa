"""Cause of an incident in notifications, and the stored keys of incidents."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from alerts.model.notification import Cause, IncidentType
from monitor.bridge.incident_policy import CAUSES, agency_of, dedup_key_of, find_cause, process_of, stored_key
from monitor.model.route import Direction
from probes.model.reply import Reason

OUT, IN, WITHIN = Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL
REFUSED, SILENT = Reason.PORT_REFUSED, Reason.NO_ANSWER


@pytest.mark.parametrize(
    ("incident_type", "reasons", "cause"),
    [
        (IncidentType.SENDING, [(OUT, REFUSED), (OUT, REFUSED)], Cause.CONNECT),
        (IncidentType.SENDING, [(OUT, REFUSED), (IN, SILENT), (IN, SILENT)], Cause.CONNECT),
        (IncidentType.RECEIVING, [(OUT, REFUSED), (IN, Reason.NOT_ARRIVED)], Cause.LOST),
        (IncidentType.RECEIVING, [(IN, ""), (WITHIN, Reason.CERTIFICATE_EXPIRED)], Cause.CERTIFICATE),
        (IncidentType.BOTH, [(OUT, REFUSED), (IN, SILENT), (WITHIN, Reason.CONNECTION_CLOSED)], Cause.TIMEOUT),
        (IncidentType.BOTH, [(OUT, REFUSED), (IN, SILENT)], None),
        (IncidentType.BOTH, [(OUT, Reason.MONITORING_FAULT), (IN, "")], None),
        (IncidentType.BOTH, [], None),
        (IncidentType.DEGRADED, [(OUT, REFUSED)], None),
        (IncidentType.MONITORING_FAULT, [(OUT, REFUSED)], None),
    ],
)
def test_find_cause_returns_reason_of_most_routes_of_direction(
    incident_type: IncidentType, reasons: Sequence[tuple[Direction, str]], cause: Cause | None
) -> None:
    assert find_cause(incident_type, reasons) is cause


def test_causes_cover_every_cause_and_no_own_reason() -> None:
    assert set(CAUSES.values()) == set(Cause)
    assert not set(CAUSES) & {Reason.MONITORING_FAULT, Reason.PROCESS_BLOCKED, Reason.TOKEN_REFUSED, Reason.NO_TOKEN}


@pytest.mark.parametrize(
    ("key", "agency", "subject"),
    [
        ("JCM", "JCM", "JCM"),
        ("ours/credentials/JCM/utama", "JCM", "ours/credentials/JCM/utama"),
        ("ours/credentials/a", None, "ours/credentials/a@satu"),
        ("ours/reference/a", None, "ours/reference/a@satu"),
        ("ours/network", None, "ours/network@satu"),
        ("ours/site/johor", None, "ours/site/johor@satu"),
        ("ours/reference/JCM/utama", None, "ours/reference/JCM/utama@satu"),
    ],
)
def test_stored_key_adds_process_except_for_agencies(key: str, agency: str | None, subject: str) -> None:
    assert agency_of(key) == agency
    assert stored_key(key, "satu") == subject
    assert dedup_key_of(subject) == key
    assert process_of(subject) == (None if agency else "satu")
    # An older process has no name.
    assert stored_key(key, "") == key
    assert process_of(key) == (None if agency else "")
