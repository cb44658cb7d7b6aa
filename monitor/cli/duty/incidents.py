"""`pantau incidents`: what is and was wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.cli.option import DEFAULT_CONFIG, Config
from monitor.cli.service import ask
from monitor.cli.table import clock, show


def incidents(config: Config = DEFAULT_CONFIG) -> None:
    """List the newest incidents, newest first. Times are Malaysian."""
    show(
        ["No.", "About", "Matter", "State", "Began", "Acknowledged by", "Announcement", "Resolved"],
        (
            [
                each["number"],
                each["subject"],
                f"{each['matter']}, declared" if each["declared_by"] else each["matter"],
                "false alarm" if each["corrected_by"] else each["state"],
                clock(each["began_at"]),
                _who(each),
                each["announcement"],
                clock(each["resolved_at"]),
            ]
            for each in ask(config, "GET", "/incidents")
        ),
        nothing="There have been no incidents.",
    )


def _who(incident: Mapping[str, Any]) -> str:
    """Return who has taken an incident on, and until when; or who had."""
    if incident["acknowledged_until"]:
        return f"{incident['acknowledged_by']} until {clock(incident['acknowledged_until'])}"
    if incident["had_by"]:
        return f"{'handed on' if incident['handed_on'] else 'expired'}: {incident['had_by']}"
    return incident["acknowledged_by"] or ""
