"""How the status page says things: times in Malaysia, words for states, and what of an agency is on its card.

Every time is an absolute one. How long ago it is the browser reckons, or the page would be another every second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from alerts.decide.silence import Silence
from alerts.documents.phrase import CHANNELS, INCIDENT_STATES, PURPOSES, STATES
from alerts.model.notice import Matter
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.model.window import Stretch
from monitor.views.overview import AgencyView, CheckView, RouteView
from monitor.views.own_health import Ill, Part
from probes.model.check import Verdict

_ZONE = ZoneInfo("Asia/Kuala_Lumpur")

_DIRECTIONS = (Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL)

MATTERS: dict[Matter, str] = {
    Matter.BOTH: "tidak dapat dihantar dan diterima (neither sent nor received)",
    Matter.SENDING: "tidak dapat dihantar (cannot be sent)",
    Matter.RECEIVING: "tidak dapat diterima (cannot be received)",
    Matter.DEGRADED: "lambat, masuk spam, ralat atau terjejas pada sebahagian laluan (slow, in junk, with errors, or only on some routes)",
    Matter.OWN_FAULT: "sebahagian sistem pemantauan gagal (our own fault; no outage notice)",
    Matter.UNREACHED: "notis tidak sampai atau tidak disahkan oleh sesiapa (a notice reached nobody, or nobody confirmed it)",
    Matter.DOUBTFUL: "tidak pasti sama ada notis telah sampai (nobody knows whether a notice arrived)",
    Matter.UNRELEASED: "notis kepada pihak luar menunggu kebenaran (a notice to outsiders waits for its release)",
}

VERDICTS: dict[Verdict | None, str] = {
    Verdict.PASS: "LULUS",
    Verdict.WARN: "AWAS",
    Verdict.FAIL: "TIDAK LULUS",
    Verdict.UNKNOWN: "TIDAK DIKETAHUI",
    None: "BELUM DILIHAT",
}

#: What the kinds of checks are called in Malay; one that is not here goes by its own name.
CHECKS = {
    "certificate": "Sijil",
    "mx": "Pelayan MX",
    "negative": "Penolakan",
    "posture": "Domain",
    "retrieval": "Pengambilan",
    "submission": "Penghantaran",
}


HEALTHS: dict[Health, str] = {
    Health.UP: "BAIK",
    Health.DEGRADED: "TERJEJAS",
    Health.DOWN: "GAGAL",
    Health.UNKNOWN: "BELUM PASTI",
}

#: In Malay and in English.
PARTS: dict[Part, tuple[str, str]] = {
    Part.STORE: ("Simpanan data", "store"),
    Part.PROBING: ("Ujian", "probing"),
    Part.REFERENCE: ("Peti mel rujukan", "our own mailboxes"),
    Part.ENGINE: ("Enjin notis", "engine"),
    Part.GATEWAY: ("Get laluan", "gateways"),
    Part.CONFIGURATION: ("Konfigurasi", "configuration"),
    Part.DUTY: ("Pegawai bertugas", "on call"),
}

ILLS: dict[Ill, tuple[str, str]] = {
    Ill.STORE_AWAY: (
        "Data tidak dapat disimpan: tiada notis dapat dihantar",
        "the store is away, no notice can be sent",
    ),
    Ill.PROBES_LATE: ("Ujian tidak bermula pada masanya", "probes do not start on time"),
    Ill.NO_ROUTES: ("Tiada laluan yang diuji", "no route is watched"),
    Ill.NETWORK: ("Rangkaian Pantau sendiri terputus", "our own network is down"),
    Ill.CREDENTIALS: ("Akaun ujian ditolak", "an account of ours is refused"),
    Ill.OURS: ("Kerosakan pada Pantau sendiri", "a fault of Pantau itself"),
    Ill.REFERENCE: ("Peti mel rujukan tidak berfungsi", "a mailbox of our own does not work"),
    Ill.CONTROL: ("Ujian antara peti mel rujukan gagal", "a control run failed"),
    Ill.ENGINE_STOPPED: (
        "Enjin notis terhenti: tiada sesiapa akan dimaklumkan",
        "the engine stands still, nobody is told",
    ),
    Ill.AUDIT_STOPPED: ("Pengaudit notis terhenti", "the auditor stands still"),
    Ill.OVERDUE: ("Ada pihak yang belum dimaklumkan walaupun sudah tiba masanya", "somebody has not been told in time"),
    Ill.GATEWAY_DOWN: ("Get laluan tidak berfungsi", "a gateway does not work"),
    Ill.GATEWAY_DOUBTED: (
        "Get laluan menerima mesej tetapi pengesahan terimaan tidak sampai",
        "a gateway takes messages, and no receipts come",
    ),
    Ill.CHANNEL_DOWN: ("Tiada get laluan yang berfungsi bagi saluran ini", "no gateway of this channel works"),
    Ill.REFUSED: ("Konfigurasi baharu ditolak; yang lama masih berkuat kuasa", "the new configuration was refused"),
    Ill.AWAITS_RESTART: ("Berkuat kuasa selepas Pantau dimulakan semula", "takes effect at the next start"),
    Ill.NOBODY_ON_CALL: ("Tiada pegawai bertugas sekarang", "nobody is on call now"),
}


#: Whether people outside were told.
ANNOUNCEMENTS = {
    "none": "tiada",
    "waiting": "menunggu kebenaran",
    "released": "dikeluarkan",
}


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
    #: Route, and why its last run failed, or how long its mail takes.
    lines: Sequence[tuple[str, str]]
    checks: Sequence[CheckView]


def _data(route: RouteView) -> str:
    return "" if route.data_seconds is None else f" · DATA {route.data_seconds:.1f} s"


def card_of(agency: AgencyView) -> Card:
    """Return what the page shows of an agency."""
    found = set(agency.health.values())
    if agency.declared is not None:
        # The directions stay as they are measured; the agency is not well because its probes are.
        found.add(Health.DOWN)
    failed = [(r.name, f"{r.outcome} · {r.direction} · {r.why}") for r in agency.routes if r.why]
    slow = [
        (r.name, f"{r.outcome} · {r.direction}{_data(r)} · {r.transit_seconds:.1f} s")
        for r in agency.routes
        if r.health is Health.DEGRADED and r.transit_seconds is not None
    ]
    return Card(
        agency=agency.agency,
        name=agency.name,
        # Without a direction nothing is proven.
        health=next((h for h in (Health.DOWN, Health.DEGRADED, Health.UNKNOWN) if h in found), Health.UP)
        if found
        else Health.UNKNOWN,
        directions=[(each, agency.health[each]) for each in _DIRECTIONS if each in agency.health],
        maintenance=agency.maintenance,
        silence=agency.silence,
        incident=agency.incident,
        declared=agency.declared,
        declared_by=agency.declared_by,
        lines=[*failed, *slow],
        checks=agency.checks,
    )


def _clock(moment: datetime | None) -> str:
    """Return Malaysian time, as in 24/11 14:05:09."""
    return moment.astimezone(_ZONE).strftime("%d/%m %H:%M:%S") if moment else ""


def _minute(moment: datetime) -> str:
    """Return Malaysian time, as in 24/11/2026 14:05."""
    return moment.astimezone(_ZONE).strftime("%d/%m/%Y %H:%M")


def _matter(matter: Matter) -> str:
    return MATTERS[matter]


def _verdict(verdict: Verdict | None) -> str:
    return VERDICTS[verdict]


def _check(kind: str) -> str:
    return CHECKS.get(kind, "")


FILTERS: dict[str, Callable[..., Any]] = {
    "clock": _clock,
    "minute": _minute,
    "matter": _matter,
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
