"""`pantau incidents`: what is and was wrong."""

from __future__ import annotations

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
                each["matter"],
                "false alarm" if each["corrected_by"] else each["state"],
                clock(each["began_at"]),
                each["acknowledged_by"] or "",
                each["announcement"],
                clock(each["resolved_at"]),
            ]
            for each in ask(config, "GET", "/incidents")
        ),
        nothing="There have been no incidents.",
    )
