"""How the status page says things: times in Malaysia, words for states (`page.yaml`), and what is on an agency's card.

Every time is an absolute one. How long ago it is the browser reckons, or the page would be another every second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from alerts.decide.silence import Silence
from alerts.documents.phrase import CHANNELS, INCIDENT_STATES, PURPOSES, STATES
from alerts.model.notice import Matter
from alerts.wording.source import sections
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.model.window import Stretch
from monitor.views.overview import AgencyView, CheckView, IncidentView, RouteView, health_of
from probes.model.check import Verdict

_ZONE = ZoneInfo("Asia/Kuala_Lumpur")

_DIRECTIONS = (Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL)

_WORDS = sections(Path(__file__).with_suffix(".yaml"))
MATTERS: Mapping[str, str] = _WORDS["matters"]
VERDICTS: Mapping[str, str] = _WORDS["verdicts"]
CHECKS: Mapping[str, str] = _WORDS["checks"]
HEALTHS: Mapping[str, str] = _WORDS["healths"]
ANNOUNCEMENTS: Mapping[str, str] = _WORDS["announcements"]
#: In Malay and in English.
PARTS: Mapping[str, tuple[str, str]] = _WORDS["parts"]
ILLS: Mapping[str, tuple[str, str]] = _WORDS["ills"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the page shows of an agency: not when its routes were last run, which changes with every run."""

    agency: str
    name: str
    health: Health
    #: Direction, and how mail flows in it.
    directions: Sequence[tuple[str, Health]]
    maintenance: Stretch | None
    silence: Silence | None
    incident: str | None
    #: What people have declared that no probe may see, and who has.
    declared: Matter | None
    declared_by: str
    #: The incident that a person has ended by hand, while the probes see it still.
    ended: IncidentView | None
    #: Route, and why its last run failed, or how long its mail takes.
    lines: Sequence[tuple[str, str]]
    checks: Sequence[CheckView]


def _data(route: RouteView) -> str:
    return "" if route.data_seconds is None else f" · DATA {route.data_seconds:.1f} s"


def card_of(agency: AgencyView) -> Card:
    """Return what the page shows of an agency."""
    failed = [(r.name, f"{r.outcome} · {r.direction} · {r.why}") for r in agency.routes if r.why]
    slow = [
        (r.name, f"{r.outcome} · {r.direction}{_data(r)} · {r.transit_seconds:.1f} s")
        for r in agency.routes
        if r.health is Health.DEGRADED and r.transit_seconds is not None
    ]
    return Card(
        agency=agency.agency,
        name=agency.name,
        health=health_of(agency),
        directions=[(each, agency.health[each]) for each in _DIRECTIONS if each in agency.health],
        maintenance=agency.maintenance,
        silence=agency.silence,
        incident=agency.incident,
        declared=agency.declared,
        declared_by=agency.declared_by,
        ended=agency.ended,
        lines=[*failed, *slow],
        checks=agency.checks,
    )


def _clock(moment: datetime | None) -> str:
    """Return Malaysian time, as in 24/11 14:05:09."""
    return moment.astimezone(_ZONE).strftime("%d/%m %H:%M:%S") if moment else ""


def _minute(moment: datetime) -> str:
    """Return Malaysian time, as in 24/11/2026 14:05."""
    return moment.astimezone(_ZONE).strftime("%d/%m/%Y %H:%M")


def _verdict(verdict: Verdict | None) -> str:
    return VERDICTS[verdict or "unseen"]


def _check(kind: str) -> str:
    return CHECKS.get(kind, "")


FILTERS: dict[str, Callable[..., Any]] = {
    "clock": _clock,
    "minute": _minute,
    "matter": MATTERS.__getitem__,
    "verdict": _verdict,
    "check": _check,
    "health": HEALTHS.__getitem__,
    "part": PARTS.__getitem__,
    "ill": ILLS.__getitem__,
    "channel": CHANNELS.__getitem__,
    "purpose": PURPOSES.__getitem__,
    "notice_state": STATES.__getitem__,
    "incident_state": INCIDENT_STATES.__getitem__,
    "announcement": ANNOUNCEMENTS.__getitem__,
}
