"""The line that `systemctl status` shows."""

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
        (SelfHealthInputs(), (1, 1, 1), "Watching 1 agency by 1 route; 1 incident open"),
        (SelfHealthInputs(), (12, 48, 0), "Watching 12 agencies by 48 routes; no incidents open"),
        (SelfHealthInputs(), (0, 0, None), "Watching no agencies by no routes; incidents not looked at yet"),
        (
            SelfHealthInputs(monitor_only=True),
            (1, 1, 1),
            "Watching 1 agency by 1 route; 1 incident open; NOBODY IS TOLD (mode: monitor_only)",
        ),
        (
            SelfHealthInputs(for_hub=True),
            (1, 1, 1),
            "Watching 1 agency by 1 route; 1 incident open; the hub tells people",
        ),
        (
            SelfHealthInputs(for_hub=True, is_unheard=True),
            (1, 1, 0),
            "Watching 1 agency by 1 route; no incidents open; THE HUB DOES NOT HEAR THIS SITE",
        ),
        (
            SelfHealthInputs(ailing_sites={"johor": AT, "kuching": AT}),
            (1, 1, 0),
            "Watching 1 agency by 1 route; no incidents open; sites not heard, or unable to judge: johor, kuching",
        ),
        (
            SelfHealthInputs(away=(AT, "disk full"), ailments={LivenessFailure.STORE, LivenessFailure.PROBING}),
            (2, 8, 0),
            (
                "Watching 2 agencies by 8 routes; no incidents open; STORE AWAY since 2026-11-24 06:15 UTC: disk full; "
                "probes start late"
            ),
        ),
        (
            SelfHealthInputs(refused_at=AT, awaiting_restart=["listen", "site"], deserted=["pusat-operasi"]),
            (2, 8, 0),
            (
                "Watching 2 agencies by 8 routes; no incidents open; configuration refused at 2026-11-24 06:15 UTC, the old "
                "one is in force; a restart is needed for listen, site; nobody on call: pusat-operasi"
            ),
        ),
    ],
)
def test_it_says_what_is_watched_and_then_what_is_wrong(
    signs: SelfHealthInputs, counts: tuple[int, int, int | None], line: str
) -> None:
    agencies, routes, incidents = counts
    assert status_line(signs, agencies=agencies, routes=routes, open_incidents=incidents) == line


@pytest.mark.parametrize("ailment", LivenessFailure)
def test_every_ailment_is_named(ailment: LivenessFailure) -> None:
    line = status_line(SelfHealthInputs(ailments={ailment}), agencies=1, routes=1, open_incidents=0)
    assert line.count(";") == 2
