"""Maintenance as it is configured: when mail may be down because somebody works on it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from pydantic import Field

from monitor.config.fields.window import Cron, Moment, aware
from monitor.config.files.findings import Findings
from monitor.config.files.section import Line, Section, Span
from monitor.model.window import Once, Recurring, Stretch, Window

_SOME_DAY = datetime(2026, 1, 5, tzinfo=UTC)


class MaintenanceSettings(Section):
    """One maintenance window: once, by `from` and `until`, or again and again, by `cron` and `for`."""

    begins: Moment | None = Field(default=None, alias="from", examples=["2026-12-01 22:00"])
    """When it begins, in local time or with an offset."""
    ends: Moment | None = Field(default=None, alias="until", examples=["2026-12-02 04:00"])
    cron: Cron | None = Field(default=None, examples=['"0 2 * * sun"'])
    lasts: Span | None = Field(default=None, alias="for", examples=["2h"])
    why: Line = Field(examples=["Naik taraf pelayan mel"])
    """What is done then; the log quotes it."""

    def build(self, zone: ZoneInfo) -> Window:
        """Return it as it comes in *zone*."""
        if self.cron is not None and self.lasts is not None:
            return Recurring(self.cron, self.lasts, zone, self.why)
        begins, ends = self.begins or _SOME_DAY, self.ends or _SOME_DAY
        return Once(Stretch(aware(begins, zone), aware(ends, zone), self.why))


def build_maintenance(windows: Sequence[MaintenanceSettings], zone: ZoneInfo) -> tuple[Window, ...]:
    """Return *windows* as they come in *zone*."""
    return tuple(window.build(zone) for window in windows)


def check_maintenance(windows: Sequence[MaintenanceSettings], zone: ZoneInfo, findings: Findings) -> None:
    """Note windows that are neither the one kind nor the other, or end before they begin."""
    for number, window in enumerate(windows):
        there = findings[number]
        if there.is_broken:
            continue
        once, often = (window.begins, window.ends), (window.cron, window.lasts)
        if window.begins and window.ends and not any(often):
            if aware(window.ends, zone) <= aware(window.begins, zone):
                there["until"].error("the window ends before it begins", "a later time")
        elif any(once) or not all(often):
            there.error("is not one kind of window", "from: and until:, or cron: and for:")
