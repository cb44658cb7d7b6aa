"""`pantau notices`: who was told what, and whether it arrived."""

from __future__ import annotations

from monitor.cli.option import DEFAULT_CONFIG, Config
from monitor.cli.service import ask
from monitor.cli.table import clock, show


def notices(config: Config = DEFAULT_CONFIG) -> None:
    """List the newest notices, newest first. Times are Malaysian."""
    show(
        ["Id", "When", "Incident", "Channel", "Purpose", "To", "State", "Attempts", "Why"],
        (
            [
                str(each["id"]),
                clock(each["created_at"]),
                each["incident"],
                each["channel"],
                each["purpose"],
                each["person"],
                each["state"],
                str(each["attempts"]),
                each["why"],
            ]
            for each in ask(config, "GET", "/notices")
        ),
        nothing="No notices have been sent.",
    )
