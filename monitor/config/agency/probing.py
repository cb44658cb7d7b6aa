"""How often mail is probed, and how results are judged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

from monitor.config.fields.window import MALAYSIA, WindowSettings
from monitor.config.files.duration import format_duration
from monitor.config.files.findings import Findings
from monitor.config.files.section import Count, Section, Span
from monitor.model.health import HealthPolicy
from monitor.model.route import Probing
from monitor.model.window import Hours, Window
from probes.model.probe import Patience


class ProbingSettings(Section):
    """The defaults of all agencies. Those written here are what a ministry can live with."""

    interval: Span = timedelta(minutes=5)
    """From one probe of a route to the next."""
    session_timeout: Span = timedelta(seconds=30)
    """A connection that does nothing for this long is given up."""
    arrival_timeout: Span = timedelta(minutes=4)
    """A message that has not arrived this long after it was accepted is lost."""
    slow_after: Span = timedelta(seconds=60)
    """A message that took longer than this is slow: staff hear of it, nobody outside."""
    confirmation: Span = timedelta(seconds=60)
    """After a first failure, look again this soon."""
    failures_to_down: Count = 3
    """So many failures in a row mean that mail is down."""
    successes_to_up: Count = 2
    """So many successes in a row mean that mail works again."""
    deferred_budget: Span = timedelta(minutes=30)
    """A server may ask us to come again later for this long before it counts as a failure."""
    when: tuple[WindowSettings, ...] | None = None
    """The hours in which mail is probed, and an outage seen; default: always."""

    def build(self, zone: ZoneInfo = MALAYSIA, maintenance: Sequence[Window] = ()) -> Probing:
        """Return how a route is probed and judged; local times are those of *zone*."""
        return Probing(
            interval=self.interval,
            confirmation=self.confirmation,
            patience=Patience(session=self.session_timeout, arrival=self.arrival_timeout),
            slow_after=self.slow_after,
            deferred_budget=self.deferred_budget,
            health=HealthPolicy(failures_to_down=self.failures_to_down, successes_to_up=self.successes_to_up),
            hours=Hours(when=tuple(window.build(zone) for window in self.when or ()), maintenance=tuple(maintenance)),
        )


class ProbingOverrides(Section):
    """What one agency does differently; see `ProbingSettings`."""

    interval: Span | None = None
    session_timeout: Span | None = None
    arrival_timeout: Span | None = None
    slow_after: Span | None = None
    confirmation: Span | None = None
    failures_to_down: Count | None = None
    successes_to_up: Count | None = None
    deferred_budget: Span | None = None
    when: tuple[WindowSettings, ...] | None = None

    def over(self, defaults: ProbingSettings) -> ProbingSettings:
        """Return *defaults* with what is set here."""
        own = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        return defaults.model_copy(update=own)


def check_probing(probing: ProbingSettings, written: Section, findings: Findings) -> None:
    """Note what does not go together; *written* at *path* is what the file sets of *probing*, the effective values."""
    own = {name for name in written.model_fields_set if getattr(written, name) is not None}

    def compare(lesser: str, greater: str, message: str) -> None:
        # Reported where it was written; where this file wrote neither, another file has the problem.
        if (low := getattr(probing, lesser)) <= (high := getattr(probing, greater)) or not own & {lesser, greater}:
            return
        if findings[lesser].is_blank or findings[greater].is_blank:
            return
        at, words, limit = (greater, "at least", low) if greater in own else (lesser, "at most", high)
        spans = f"{greater} {format_duration(high)}, {lesser} {format_duration(low)}"
        findings[at].error(f"{message} ({spans})", f"{words} {format_duration(limit)}")

    compare(
        "session_timeout", "interval", "the interval is shorter than the session timeout: pending tokens may overlap"
    )
    compare("slow_after", "arrival_timeout", "a message would be lost before it is slow")
    compare("confirmation", "interval", "a confirmation is meant to come sooner than the next probe")
    compare("interval", "deferred_budget", "a deferral would use up its budget before the next probe")
    if written.model_dump().get("when") == ():
        findings["when"].error("no window is named: nothing would be probed", "a window, or leave the key out")
