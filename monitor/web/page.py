"""How the status page says things: times in Malaysia, words for states."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from alerts.notice import Matter
from probes.check import Verdict

_ZONE = ZoneInfo("Asia/Kuala_Lumpur")

MATTERS: dict[Matter, str] = {
    Matter.BOTH: "tidak dapat dihantar dan diterima (neither sent nor received)",
    Matter.SENDING: "tidak dapat dihantar (cannot be sent)",
    Matter.RECEIVING: "tidak dapat diterima (cannot be received)",
    Matter.DEGRADED: "terjejas (slow, in junk, with errors, or only on some routes)",
    Matter.OWN_FAULT: "pemantauan terjejas (our own fault; no outage notice)",
    Matter.UNREACHED: "notis tidak sampai atau tidak disahkan (a notice reached nobody, or nobody confirmed it)",
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


def _clock(moment: datetime | None) -> str:
    """Return Malaysian time, as in 24/11 14:05:09."""
    return moment.astimezone(_ZONE).strftime("%d/%m %H:%M:%S") if moment else ""


def _ago(moment: datetime, now: datetime) -> str:
    seconds = max(0, int((now - moment).total_seconds()))
    if seconds < 90:
        return f"{seconds} s"
    if seconds < 5400:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def _matter(matter: Matter) -> str:
    return MATTERS[matter]


def _verdict(verdict: Verdict | None) -> str:
    return VERDICTS[verdict]


def _check(kind: str) -> str:
    return CHECKS.get(kind, "")


FILTERS: dict[str, Callable[..., Any]] = {
    "clock": _clock,
    "ago": _ago,
    "matter": _matter,
    "verdict": _verdict,
    "check": _check,
}
