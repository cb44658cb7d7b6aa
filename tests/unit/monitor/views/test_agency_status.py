"""Status of an agency and of its directions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, cast

import pytest

from alerts.model.notification import IncidentType
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.views.agency_filter import status_in_directions
from monitor.views.agency_status import AgencyStatus, agency_status
from tests.unit.monitor.web.many_agencies import agency

UP, DOWN, DEGRADED, UNKNOWN = Health.UP, Health.DOWN, Health.DEGRADED, Health.UNKNOWN
STRANGE = cast(Health, "splendid")
OUT, IN, INTERNAL = Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL


def status_for(found: Collection[Health], **what: bool) -> AgencyStatus:
    usual = dict.fromkeys(("is_reported_down", "has_monitoring_fault", "in_maintenance", "is_silenced"), False)
    return agency_status(found, **{**usual, **what})


@pytest.mark.parametrize(
    ("found", "what", "state"),
    [
        ([UP], "", "up"),
        ([UP, DOWN], "", "down"),
        ([UP], "is_reported_down", "down"),
        ([], "", "unknown"),
        ([UP, UNKNOWN], "", "unknown"),
        ([UP, STRANGE], "", "unknown"),
        ([UP, DEGRADED], "", "degraded"),
        ([DEGRADED, UNKNOWN], "", "unknown"),
        ([UP], "has_monitoring_fault", "monitoring_fault"),
        ([DOWN], "has_monitoring_fault", "down"),
        ([UNKNOWN], "has_monitoring_fault", "monitoring_fault"),
        ([UP], "in_maintenance", "maintenance"),
        ([UNKNOWN], "in_maintenance", "maintenance"),
        ([UP], "in_maintenance has_monitoring_fault", "maintenance"),
        ([DEGRADED], "in_maintenance", "degraded"),
        ([DOWN], "in_maintenance", "down"),
        ([UP], "is_silenced", "silenced"),
        ([DOWN], "is_silenced", "down"),
        ([UP], "is_silenced in_maintenance", "maintenance"),
    ],
)
def test_agency_status_is_worst_that_applies(found: list[Health], what: str, state: str) -> None:
    assert status_for(found, **dict.fromkeys(what.split(), True)) == state


@pytest.mark.parametrize(
    ("more", "directions", "state"),
    [
        ({}, [OUT], "up"),
        ({}, [], None),
        ({"health": {OUT: UP, IN: DOWN}}, [OUT], "up"),
        ({"health": {OUT: UP, IN: DOWN}}, [OUT, IN], "down"),
        ({"health": {OUT: UP}}, [IN], None),
        ({"declared": IncidentType.SENDING}, [OUT], "down"),
        ({"declared": IncidentType.SENDING}, [IN], "up"),
        ({"declared": IncidentType.BOTH}, [IN], "down"),
        ({"quorum_type": IncidentType.SENDING}, [OUT], "down"),
        ({"quorum_type": IncidentType.SENDING}, [IN], "up"),
        ({"quorum_type": IncidentType.DEGRADED}, [IN], "degraded"),
        ({"health": {OUT: DOWN, IN: UP}, "disputed": [OUT]}, [OUT], "degraded"),
        ({"disputed": [OUT]}, [OUT], "degraded"),
        ({"disputed": [OUT]}, [IN], "up"),
        ({"unobserved": [IN]}, [OUT], "up"),
        ({"unobserved": [IN]}, [IN, OUT], "monitoring_fault"),
        ({"unobserved": [IN], "sign_in_refused": True}, [OUT], "up"),
        ({"unobserved": [IN], "sign_in_refused": True}, [IN, OUT], "unknown"),
        ({"unobserved": [IN], "sign_in_refused": True, "health": {OUT: UP, IN: DOWN}}, [IN, OUT], "down"),
    ],
)
def test_status_in_directions_is_per_direction(more: Any, directions: list[Direction], state: str | None) -> None:
    assert status_in_directions(replace(agency("A001"), **more), directions) == state


@pytest.mark.parametrize(
    ("measured", "more", "state"),
    [
        (UP, {"quorum_type": IncidentType.BOTH}, "down"),
        (UNKNOWN, {"quorum_type": IncidentType.RECEIVING}, "down"),
        (UP, {"quorum_type": IncidentType.DEGRADED}, "degraded"),
        (UP, {"quorum_type": IncidentType.MONITORING_FAULT}, "degraded"),
        (DOWN, {"disputed": [OUT]}, "degraded"),
        (DOWN, {"disputed": [IN]}, "down"),
        (DOWN, {"disputed": [OUT], "quorum_type": IncidentType.SENDING}, "down"),
        (DOWN, {"disputed": [OUT], "declared": IncidentType.BOTH}, "down"),
        # As another site measures.
        (UP, {"disputed": [OUT]}, "degraded"),
        (UNKNOWN, {"disputed": [OUT]}, "unknown"),
    ],
)
def test_agency_state_quorum_overrides_own_health(measured: Health, more: Any, state: str) -> None:
    assert replace(agency("A001"), health={OUT: measured}, **more).state == state
