"""Sections `probing`, `maintenance` and `flapping`: when mail is probed, and how results are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from monitor.config.fields.window import Cron, Moment, WindowSettings, to_utc
from monitor.config.files.duration import format_duration
from monitor.config.files.findings import Findings
from monitor.config.files.section import Count, OneLine, PositiveDuration, Section, SubstituteIfInvalid, shape_error
from monitor.evaluation.flapping import FlappingPolicy
from monitor.model.health import HealthPolicy
from monitor.model.route import ProbingPolicy
from monitor.model.translatable import translatable
from monitor.model.window import Hours, OneTimeWindow, Recurring, Window, WindowOccurrence
from probes.model.probe import Timeouts

#: Limits of the time within which other processes take over the agencies of a dead process.
_MIN_TAKEOVER_TIMEOUT, _MAX_TAKEOVER_TIMEOUT = timedelta(seconds=5), timedelta(minutes=5)

#: Start and end of an invalid window, for which an error is recorded.
_PLACEHOLDER_TIME = datetime(2026, 1, 5, tzinfo=UTC)


class MaintenanceSettings(Section):
    """Maintenance window: one-time, with `from` and `until`, or recurring, with `cron` and `for`."""

    begins: Moment | None = Field(default=None, alias="from", examples=["2026-12-01 22:00"])
    """Start, in local time or with a UTC offset."""
    ends: Moment | None = Field(default=None, alias="until", examples=["2026-12-02 04:00"])
    """End, in local time or with a UTC offset."""
    cron: Cron | None = Field(default=None, examples=['"0 2 * * sun"'])
    """Start of a recurring window: minute, hour, day, month and weekday."""
    lasts: PositiveDuration | None = Field(default=None, alias="for", examples=["2h"])
    """Duration of a recurring window."""
    reason: OneLine = Field(examples=["Naik taraf pelayan mel"])
    """The planned work, which the log and maintenance notices quote."""

    def build(self, zone: ZoneInfo) -> Window:
        """Return the window, whose local times are those of *zone*."""
        if self.cron is not None and self.lasts is not None:
            return Recurring(self.cron, self.lasts, zone, self.reason)
        begins, ends = self.begins or _PLACEHOLDER_TIME, self.ends or _PLACEHOLDER_TIME
        return OneTimeWindow(WindowOccurrence(to_utc(begins, zone), to_utc(ends, zone), self.reason))


def build_maintenance(windows: Sequence[MaintenanceSettings], zone: ZoneInfo) -> tuple[Window, ...]:
    """Return *windows*, whose local times are those of *zone*."""
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
                message = translatable("nothing is probed for {days} days", days=lasts.days)
                window_findings["until"].warning(
                    message,
                    translatable(
                        "windows of at most {days} days each, if that is intended", days=_MAX_MAINTENANCE.days
                    ),
                )
        elif any(one_time_keys) or not all(recurring_keys):
            window_findings.error("is not one kind of window", "from: and until:, or cron: and for:")


#: Longest plausible maintenance of a mail server. A longer window probably has a wrong year.
_MAX_MAINTENANCE = timedelta(days=31)

#: Limit of the flapping window. With a longer one, people would be notified only days later that mail works again.
_MAX_FLAPPING_WINDOW = timedelta(days=1)


def _check_flapping_threshold(outages: int) -> int:
    if not 2 <= outages <= 100:
        raise shape_error(
            translatable("{outages} is not from 2 to 100", outages=outages),
            "2 to 100: an agency that goes down once is not flapping",
        )
    return outages


def _check_flapping_window(span: timedelta) -> timedelta:
    if span > _MAX_FLAPPING_WINDOW:
        raise shape_error("is longer than a day", "2h, at most 1d: meanwhile nobody is notified that mail works again")
    return span


def _check_takeover_timeout(span: timedelta) -> timedelta:
    if not _MIN_TAKEOVER_TIMEOUT <= span <= _MAX_TAKEOVER_TIMEOUT:
        raise shape_error(
            translatable("{span} is too short or too long", span=format_duration(span)),
            "5s to 5m: a busy process must not count as dead, and agencies must not stay unprobed for long",
        )
    return span


class FlappingSettings(Section):
    """When an agency whose mail goes down and up repeatedly counts as flapping.

    After `threshold` outages within `window`, the incident stays open until there was no outage for a whole `window`.
    """

    threshold: Annotated[int, AfterValidator(_check_flapping_threshold), SubstituteIfInvalid(3)] = 3
    """Number of outages within `window` from which an agency counts as flapping."""
    window: Annotated[PositiveDuration, AfterValidator(_check_flapping_window)] = timedelta(hours=2)
    """Time in which outages are counted."""

    def build(self) -> FlappingPolicy:
        """Return the policy for the evaluator."""
        return FlappingPolicy(threshold=self.threshold, window=self.window)


class ProbingSettings(Section):
    """Settings of all agencies that do not override them. The defaults are meant for a ministry."""

    interval: PositiveDuration = timedelta(minutes=5)
    """Interval between two probes of a route."""
    session_timeout: PositiveDuration = timedelta(seconds=30)
    """A connection to a server without activity for this long is closed."""
    arrival_timeout: PositiveDuration = timedelta(minutes=4)
    """A message that has not arrived this long after its acceptance is lost."""
    slow_threshold: PositiveDuration = timedelta(seconds=60)
    """A message that takes longer to arrive is slow. Staff are notified of slow mail, other offices are not."""
    retry_interval: PositiveDuration = timedelta(seconds=60)
    """Time to the next probe after a first failure."""
    failure_threshold: Count = 3
    """Number of consecutive failures after which mail is down."""
    success_threshold: Count = 2
    """Number of consecutive successes after which mail is up."""
    deferral_timeout: PositiveDuration = timedelta(minutes=30)
    """How long a server may defer a message by greylisting until this counts as a failure. Any other 4xx reply is a
    failure at once.
    """
    active_hours: tuple[WindowSettings, ...] | None = None
    """Recurring hours in which mail is probed and outages are detected; default: always."""
    sharding: bool = True
    """Whether processes on one PostgreSQL share the agencies, so that each agency is probed by one process; false:
    each process probes all agencies.
    """
    takeover_timeout: Annotated[PositiveDuration, AfterValidator(_check_takeover_timeout)] = timedelta(seconds=10)
    """Time within which other processes take over the agencies of a dead process. A process counts as dead when it has
    sent no heartbeat for 0.4 of this time; the rest is for the takeover.
    """

    def build(self, zone: ZoneInfo, maintenance: Sequence[Window]) -> ProbingPolicy:
        """Return the policy for routes. *zone*: the zone of local times; *maintenance*: the maintenance windows."""
        return ProbingPolicy(
            interval=self.interval,
            retry_interval=self.retry_interval,
            timeouts=Timeouts(session=self.session_timeout, arrival=self.arrival_timeout),
            slow_threshold=self.slow_threshold,
            deferral_timeout=self.deferral_timeout,
            health=HealthPolicy(failure_threshold=self.failure_threshold, success_threshold=self.success_threshold),
            hours=Hours(
                active_windows=tuple(window.build(zone) for window in self.active_hours or ()),
                maintenance=tuple(maintenance),
            ),
        )


class ProbingOverrides(Section):
    """Probing settings that an agency overrides; see `ProbingSettings`."""

    interval: PositiveDuration | None = None
    """As in the settings."""
    session_timeout: PositiveDuration | None = None
    """As in the settings."""
    arrival_timeout: PositiveDuration | None = None
    """As in the settings."""
    slow_threshold: PositiveDuration | None = None
    """As in the settings."""
    retry_interval: PositiveDuration | None = None
    """As in the settings."""
    failure_threshold: Count | None = None
    """As in the settings."""
    success_threshold: Count | None = None
    """As in the settings."""
    deferral_timeout: PositiveDuration | None = None
    """As in the settings."""
    active_hours: tuple[WindowSettings, ...] | None = None
    """As in the settings."""

    def merged_into(self, defaults: ProbingSettings) -> ProbingSettings:
        """Return *defaults* with these overrides.

        If the interval is overridden and the deferral timeout is not, the timeout becomes at least the interval.
        """
        overrides = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        if self.interval is not None and self.deferral_timeout is None:
            overrides["deferral_timeout"] = max(self.interval, defaults.deferral_timeout)
        return defaults.model_copy(update=overrides)


def check_probing(probing: ProbingSettings, own_settings: Section, findings: Findings) -> None:
    """Record conflicts in *probing*, the effective values. *own_settings*: the section in the checked file."""
    own_keys = {name for name in own_settings.model_fields_set if getattr(own_settings, name) is not None}

    def compare(lesser: str, greater: str, message: str) -> None:
        """Record *message* if the value of the key *lesser* is above that of the key *greater*."""
        lesser_value, greater_value = getattr(probing, lesser), getattr(probing, greater)
        # If an agency's file sets neither value, the problem is recorded for the settings file.
        if lesser_value <= greater_value or not own_keys & {lesser, greater}:
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
            translatable("{message} ({spans})", message=translatable(message), spans=spans),
            translatable(remedy, limit=format_duration(limit)),
        )

    compare(
        "session_timeout", "interval", "the interval is shorter than the session timeout: pending tokens may overlap"
    )
    compare("slow_threshold", "arrival_timeout", "a message would be lost before it is slow")
    compare("retry_interval", "interval", "a retry is meant to come sooner than the next probe")
    compare("interval", "deferral_timeout", "a deferral would time out before the next probe")
    if own_settings.model_dump().get("active_hours") == ():
        findings["active_hours"].error("no window is named: nothing would be probed", "a window, or leave the key out")
