"""When and how often mail is probed, and how results are evaluated: the sections `probing`, `maintenance` and `flapping`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from monitor.config.fields.window import Cron, Moment, WindowSettings, to_utc
from monitor.config.files.duration import format_duration
from monitor.config.files.findings import Findings
from monitor.config.files.section import Count, InvalidValue, Line, Section, Span, shape_error
from monitor.evaluation.flapping import FlappingPolicy
from monitor.model.health import HealthPolicy
from monitor.model.lazy_text import lazy_text
from monitor.model.route import ProbingPolicy
from monitor.model.window import Hours, OneTimeWindow, Recurring, Window, WindowOccurrence
from probes.model.probe import Timeouts

#: Limits of the time after which other processes take over the agencies of a dead one.
_MIN_TAKEOVER_TIMEOUT, _MAX_TAKEOVER_TIMEOUT = timedelta(seconds=5), timedelta(minutes=5)

_PLACEHOLDER_TIME = datetime(2026, 1, 5, tzinfo=UTC)


class MaintenanceSettings(Section):
    """One maintenance window: once, by `from` and `until`, or recurring, by `cron` and `for`."""

    begins: Moment | None = Field(default=None, alias="from", examples=["2026-12-01 22:00"])
    """Start, in local time or with an offset."""
    ends: Moment | None = Field(default=None, alias="until", examples=["2026-12-02 04:00"])
    """End."""
    cron: Cron | None = Field(default=None, examples=['"0 2 * * sun"'])
    """Start of a recurring window: minute, hour, day, month and weekday."""
    lasts: Span | None = Field(default=None, alias="for", examples=["2h"])
    """Duration of a recurring window."""
    reason: Line = Field(examples=["Naik taraf pelayan mel"])
    """The planned work; quoted in the log and in maintenance notices."""

    def build(self, zone: ZoneInfo) -> Window:
        """Return the window in *zone*."""
        if self.cron is not None and self.lasts is not None:
            return Recurring(self.cron, self.lasts, zone, self.reason)
        begins, ends = self.begins or _PLACEHOLDER_TIME, self.ends or _PLACEHOLDER_TIME
        return OneTimeWindow(WindowOccurrence(to_utc(begins, zone), to_utc(ends, zone), self.reason))


def build_maintenance(windows: Sequence[MaintenanceSettings], zone: ZoneInfo) -> tuple[Window, ...]:
    """Return *windows* in *zone*."""
    return tuple(window.build(zone) for window in windows)


def check_maintenance(windows: Sequence[MaintenanceSettings], zone: ZoneInfo, findings: Findings) -> None:
    """Record windows that are neither one-time nor recurring, or that end before they begin."""
    for number, window in enumerate(windows):
        window_findings = findings[number]
        if window_findings.is_broken:
            continue
        one_time_keys, recurring_keys = (window.begins, window.ends), (window.cron, window.lasts)
        if window.begins and window.ends and not any(recurring_keys):
            lasts = to_utc(window.ends, zone) - to_utc(window.begins, zone)
            if lasts <= timedelta(0):
                window_findings["until"].error("the window ends before it begins", "a later time")
            elif lasts > _MAX_MAINTENANCE:
                message = lazy_text("nothing is probed for {days} days", days=lasts.days)
                window_findings["until"].warning(
                    message,
                    lazy_text("windows of at most {days} days each, if that is meant", days=_MAX_MAINTENANCE.days),
                )
        elif any(one_time_keys) or not all(recurring_keys):
            window_findings.error("is not one kind of window", "from: and until:, or cron: and for:")


#: Maintenance of a mail server that lasts longer has probably a wrong year.
_MAX_MAINTENANCE = timedelta(days=31)

#: With a longer window, people would not be notified for days that mail works again.
_MAX_FLAPPING_WINDOW = timedelta(days=1)


def _check_flapping_threshold(falls: int) -> int:
    if not 2 <= falls <= 100:
        raise shape_error(
            lazy_text("{falls} is no number of falls", falls=falls),
            "2 to 100: an agency that goes down once is not unsteady",
        )
    return falls


def _check_flapping_window(span: timedelta) -> timedelta:
    if span > _MAX_FLAPPING_WINDOW:
        raise shape_error("is longer than a day", "2h, at most 1d: for so long nobody is told that mail works again")
    return span


def _check_takeover_timeout(span: timedelta) -> timedelta:
    if not _MIN_TAKEOVER_TIMEOUT <= span <= _MAX_TAKEOVER_TIMEOUT:
        raise shape_error(
            lazy_text("{span} is too soon, or too late", span=format_duration(span)),
            "5s to 5m: a busy service must not be taken for dead, and an agency not be left alone for long",
        )
    return span


class FlappingSettings(Section):
    """Limit of flapping (going down and up repeatedly).

    After `threshold` outages within `window`, the incident stays open until no outage has occurred for one `window`.
    """

    threshold: Annotated[int, AfterValidator(_check_flapping_threshold), InvalidValue(3)] = 3
    """Number of outages within `window` from which an agency is flapping: its recovery is confirmed later."""
    window: Annotated[Span, AfterValidator(_check_flapping_window)] = timedelta(hours=2)
    """Time in which outages are counted."""

    def build(self) -> FlappingPolicy:
        """Return the policy for the evaluator."""
        return FlappingPolicy(threshold=self.threshold, window=self.window)


class ProbingSettings(Section):
    """Defaults of all agencies. They suit a ministry."""

    interval: Span = timedelta(minutes=5)
    """Interval between two probes of a route."""
    session_timeout: Span = timedelta(seconds=30)
    """A connection that is idle for this long is closed."""
    arrival_timeout: Span = timedelta(minutes=4)
    """A message that has not arrived this long after its acceptance is lost."""
    slow_threshold: Span = timedelta(seconds=60)
    """A message that takes longer is slow: staff are notified, recipients are not."""
    retry_interval: Span = timedelta(seconds=60)
    """Time to the next probe after a first failure."""
    failure_threshold: Count = 3
    """Number of consecutive failures after which mail is down."""
    success_threshold: Count = 2
    """Number of consecutive successes after which mail is up."""
    deferral_timeout: Span = timedelta(minutes=30)
    """How long a server may greylist a message before that is a failure. Any other 4xx reply is a failure at
    once.
    """
    active_hours: tuple[WindowSettings, ...] | None = None
    """Hours in which mail is probed and outages are detected; default: always."""
    sharding: bool = True
    """Processes on one PostgreSQL share the agencies, so that one of them probes each; false: each process
    probes all.
    """
    takeover_timeout: Annotated[Span, AfterValidator(_check_takeover_timeout)] = timedelta(seconds=10)
    """Time after which other processes take over the agencies of a dead process. A process is dead after 0.4 of
    it without a heartbeat.
    """

    def build(self, zone: ZoneInfo, maintenance: Sequence[Window]) -> ProbingPolicy:
        """Return how a route is probed and evaluated; local times are those of *zone*."""
        return ProbingPolicy(
            interval=self.interval,
            retry_interval=self.retry_interval,
            timeouts=Timeouts(session=self.session_timeout, arrival=self.arrival_timeout),
            slow_threshold=self.slow_threshold,
            deferral_timeout=self.deferral_timeout,
            health=HealthPolicy(failure_threshold=self.failure_threshold, success_threshold=self.success_threshold),
            hours=Hours(
                when=tuple(window.build(zone) for window in self.active_hours or ()), maintenance=tuple(maintenance)
            ),
        )


class ProbingOverrides(Section):
    """Probing settings that an agency overrides; see `ProbingSettings`."""

    interval: Span | None = None
    """As in the settings."""
    session_timeout: Span | None = None
    """As in the settings."""
    arrival_timeout: Span | None = None
    """As in the settings."""
    slow_threshold: Span | None = None
    """As in the settings."""
    retry_interval: Span | None = None
    """As in the settings."""
    failure_threshold: Count | None = None
    """As in the settings."""
    success_threshold: Count | None = None
    """As in the settings."""
    deferral_timeout: Span | None = None
    """As in the settings."""
    active_hours: tuple[WindowSettings, ...] | None = None
    """As in the settings."""

    def merged_into(self, defaults: ProbingSettings) -> ProbingSettings:
        """Return *defaults* with these overrides.

        If only the interval is overridden, the deferral timeout becomes at least that interval.
        """
        overrides = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        if self.interval is not None and self.deferral_timeout is None:
            overrides["deferral_timeout"] = max(self.interval, defaults.deferral_timeout)
        return defaults.model_copy(update=overrides)


def check_probing(probing: ProbingSettings, own_settings: Section, findings: Findings) -> None:
    """Record conflicts in *probing*, the effective values; *own_settings* are those that this file sets."""
    own_keys = {name for name in own_settings.model_fields_set if getattr(own_settings, name) is not None}

    def compare(lesser: str, greater: str, message: str) -> None:
        # Report the problem in the file that sets one of the values. If this file sets neither, the problem is reported
        # when the other file is checked.
        if (lesser_value := getattr(probing, lesser)) <= (
            greater_value := getattr(probing, greater)
        ) or not own_keys & {lesser, greater}:
            return
        if findings[lesser].is_blank or findings[greater].is_blank:
            return
        key, remedy, limit = (
            (greater, "at least {limit}", lesser_value)
            if greater in own_keys
            else (lesser, "at most {limit}", greater_value)
        )
        spans = f"{greater} {format_duration(greater_value)}, {lesser} {format_duration(lesser_value)}"
        findings[key].error(
            lazy_text("{message} ({spans})", message=lazy_text(message), spans=spans),
            lazy_text(remedy, limit=format_duration(limit)),
        )

    compare(
        "session_timeout", "interval", "the interval is shorter than the session timeout: pending tokens may overlap"
    )
    compare("slow_threshold", "arrival_timeout", "a message would be lost before it is slow")
    compare("retry_interval", "interval", "a retry is meant to come sooner than the next probe")
    compare("interval", "deferral_timeout", "a deferral would use up its budget before the next probe")
    if own_settings.model_dump().get("active_hours") == ():
        findings["active_hours"].error("no window is named: nothing would be probed", "a window, or leave the key out")
