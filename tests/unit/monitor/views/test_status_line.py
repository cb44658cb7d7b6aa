"""Status line that `systemctl status` shows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from monitor.evaluation.liveness import LivenessFailure
from monitor.views.self_health import SelfHealthInputs
from monitor.views.status_line import status_line

AT = datetime(2026, 11, 24, 6, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("signs", "counts", "line"),
    [
        (SelfHealthInputs(), (1, 1, 1), "Monitoring 1 agency by 1 route; 1 incident open"),
        (SelfHealthInputs(), (12, 48, 0), "Monitoring 12 agencies by 48 routes; no incidents open"),
        (SelfHealthInputs(), (0, 0, None), "Monitoring no agencies by no routes; incidents not read yet"),
        (
            SelfHealthInputs(monitor_only=True),
            (1, 1, 1),
            "Monitoring 1 agency by 1 route; 1 incident open; NOBODY IS NOTIFIED (mode: monitor_only)",
        ),
        (
            SelfHealthInputs(for_hub=True),
            (1, 1, 1),
            "Monitoring 1 agency by 1 route; 1 incident open; the hub notifies staff",
        ),
        (
            SelfHealthInputs(for_hub=True, is_hub_disconnected=True),
            (1, 1, 0),
            "Monitoring 1 agency by 1 route; no incidents open; THE HUB DOES NOT READ THIS SITE",
        ),
        (
            SelfHealthInputs(failing_sites={"johor": AT, "kuching": AT}),
            (1, 1, 0),
            "Monitoring 1 agency by 1 route; no incidents open; sites silent, or unable to evaluate: johor, kuching",
        ),
        (
            SelfHealthInputs(
                store_outage=(AT, "disk full"), liveness_failures={LivenessFailure.STORE, LivenessFailure.PROBING}
            ),
            (2, 8, 0),
            (
                "Monitoring 2 agencies by 8 routes; no incidents open; DATABASE UNAVAILABLE since 2026-11-24 06:15 UTC: disk full; "
                "probes start late"
            ),
        ),
        (
            SelfHealthInputs(config_rejected_at=AT, awaiting_restart=["listen", "site"], empty_rotas=["pusat-operasi"]),
            (2, 8, 0),
            (
                "Monitoring 2 agencies by 8 routes; no incidents open; configuration rejected at 2026-11-24 06:15 UTC, the previous "
                "one is in force; a restart is needed for listen, site; nobody on call: pusat-operasi"
            ),
        ),
    ],
)
def test_status_line_gives_counts_then_problems(
    signs: SelfHealthInputs, counts: tuple[int, int, int | None], line: str
) -> None:
    agencies, routes, incidents = counts
    assert status_line(signs, agencies=agencies, routes=routes, open_incidents=incidents) == line


@pytest.mark.parametrize("ailment", LivenessFailure)
def test_status_line_names_every_liveness_failure(ailment: LivenessFailure) -> None:
    line = status_line(SelfHealthInputs(liveness_failures={ailment}), agencies=1, routes=1, open_incidents=0)
    assert line.count(";") == 2
