"""Every metric of the product, and the only place where one is defined.

`Metrics` owns its registry: nothing is global, so two services in one process (tests, the demo) do not share a number.
The rest of the service tells it what happened and knows no metric by name. `grafana/README.md` has the table for
people who write queries; a test compares the two.

Every label is bounded: agencies, routes and gateways are announced before they get a series and lose it when they
leave, all other labels are closed sets. A value is absent until it is proven.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import product
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

from alerts.channel import Channel
from alerts.delivery import NoticeState
from alerts.notice import Purpose
from probes.result import Arrival, Outcome, Phase, ProbeResult

#: What `render` returns: the text format that every Prometheus reads.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

#: The agency of what belongs to none: control routes between our reference mailboxes, and incidents about ourselves.
NO_AGENCY: Final = ""
#: Directions in which an agency's mail flows.
AGENCY_DIRECTIONS: Final = ("internal", "outbound", "inbound")
#: "control" is from one reference mailbox to another.
DIRECTIONS: Final = (*AGENCY_DIRECTIONS, "control")
#: What can be wrong on our side.
OWN_FAULTS: Final = ("network", "reference", "credentials", "configuration")

#: Why a callback was refused, by the status it was answered with.
REFUSALS: Final = {400: "malformed", 401: "untrusted", 403: "untrusted", 404: "unknown", 413: "too_large"}
OTHER_REFUSAL: Final = "other"
_REFUSAL_REASONS: Final = frozenset({*REFUSALS.values(), OTHER_REFUSAL})
#: The gateway of a callback that was addressed to none of ours.
NO_GATEWAY: Final = "none"

#: To one hour: a greylisted first message comes after 5 to 60 minutes and would vanish in +Inf (most peers stop at 29 s).
TRANSIT_BUCKETS: Final = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)

_ARRIVED: Final = frozenset({Outcome.DELIVERED, Outcome.JUNK})
#: Degraded, no verdict yet, could not look: neither a proof nor a failure.
_NO_FAILURE: Final = frozenset({Outcome.DELIVERED, Outcome.JUNK, Outcome.DEFERRED, Outcome.INCONCLUSIVE})


class Metrics:
    """What Prometheus is told. Called from the event loop; only `render` may be called from another thread."""

    def __init__(self, *, version: str, now: Callable[[], datetime]) -> None:
        self._now = now
        self._pending_since: datetime | None = None
        self._routes: dict[str, set[str]] = {}
        self._gateways: set[tuple[Channel, str]] = set()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._define_mail()
        self._define_notices()
        self._define_service()

        self._build_info.labels(version, platform.python_version()).set(1)
        _start_at_zero(self._outcomes, DIRECTIONS, Outcome)
        _start_at_zero(self._arrivals, Arrival)
        _start_at_zero(self._notices, Channel, Purpose, NoticeState)
        _start_at_zero(self._own_fault, OWN_FAULTS)
        _start_at_zero(self._transit, DIRECTIONS)
        _start_at_zero(self._callbacks_refused, [NO_GATEWAY], _REFUSAL_REASONS)
        self.watch_agency(NO_AGENCY, routes=())

    def _define_mail(self) -> None:
        gauge, counter = self._gauge, self._counter
        self._mail_up = gauge("mail_up", "Whether mail flows (1) or not (0).", "agency", "direction")
        self._mail_degraded = gauge("mail_degraded", "Whether mail flows, but slow or to junk.", "agency", "direction")
        success = "Whether the last conclusive run was delivered: whole, to the inbox."
        self._success = gauge("probe_success", success, "agency", "route", "direction", "site")
        last = "probe_last_{}_timestamp_seconds".format
        self._last_success = gauge(last("success"), "When a run was last delivered.", "agency", "route")
        self._last_run = gauge(last("run"), "When a run last ended, however it did.", "agency", "route")
        phase = "How long each finished phase of the last conclusive run took."
        self._phase = gauge("probe_phase_seconds", phase, "agency", "route", "phase")
        self._outcomes = counter("probe_outcomes", "Runs by how they ended.", "direction", "outcome")
        failures = "Runs that failed; junk, deferred and inconclusive ones are none."
        self._failures = counter("probe_failures", failures, "agency", "direction")
        self._arrivals = counter("probe_arrivals", "Mail with a token that no run waited for.", "arrival")
        transit = "From acceptance of a message until it was in the mailbox, if it ever was."
        self._transit = Histogram(
            "pantau_transit_seconds", transit, ["direction"], buckets=TRANSIT_BUCKETS, registry=self._registry
        )

    def _define_notices(self) -> None:
        gauge, counter = self._gauge, self._counter
        self._incidents_open = gauge("incidents_open", "Incidents that are open.", "agency")
        self._notices = counter("notices", "Notices that entered a state.", "channel", "purpose", "state")
        pending = "Age of the oldest notice that is due and not sent; 0 when there is none."
        gauge("notice_oldest_pending_seconds", pending).set_function(self._pending_age)
        self._gateway_up = gauge("gateway_up", "Whether a gateway works (1) or not (0).", "channel", "gateway")
        refused = "Callbacks that were not trusted or not understood."
        self._callbacks_refused = counter("callbacks_refused", refused, "gateway", "reason")

    def _define_service(self) -> None:
        gauge = self._gauge
        self._build_info = gauge("build_info", "Always 1; the labels tell.", "version", "python")
        self._reload_success = gauge("config_reload_success", "Whether the configuration was accepted when last read.")
        name = "config_last_reload_success_timestamp_seconds"
        self._reload_at = gauge(name, "When a configuration was last accepted.")
        name = "engine_last_cycle_timestamp_seconds"
        self._cycle_at = gauge(name, "When the incident engine last finished a cycle.")
        self._loop_lag = gauge("event_loop_lag_seconds", "How late the event loop woke at the last look.")
        self._own_fault = gauge("own_fault", "Whether a fault of ours keeps us from judging.", "cause")

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        gauge = Gauge(f"pantau_{name}", meaning, labels, registry=self._registry)
        if not labels:
            gauge.set(math.nan)  # not exported before it is known; the library would say 0
        return gauge

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"pantau_{name}_total", meaning, labels, registry=self._registry)

    # What exists

    def watch_agency(self, agency: str, *, routes: Collection[str]) -> None:
        """Announce an agency and its routes, at start and after each reload; routes not named any more are forgotten.

        What is told of an agency or route that was not announced, or has left (a run that was still under way), gets
        no series. Control routes are announced as those of `NO_AGENCY`.
        """
        for route in self._routes.get(agency, set()) - set(routes):
            self.forget_route(agency, route)
        self._routes[agency] = set(routes)
        self._incidents_open.labels(agency)
        for direction in AGENCY_DIRECTIONS if agency != NO_AGENCY else ("control",):
            self._failures.labels(agency, direction)

    def forget_agency(self, agency: str) -> None:
        """Remove every series of an agency that has left."""
        for route in tuple(self._routes.get(agency, ())):
            self.forget_route(agency, route)
        self._routes.pop(agency, None)
        for metric in (self._mail_up, self._mail_degraded, self._failures, self._incidents_open):
            metric.remove_by_labels({"agency": agency})

    def forget_route(self, agency: str, route: str) -> None:
        """Remove every series of a route that has left."""
        self._routes.get(agency, set()).discard(route)
        self._success.remove_by_labels({"agency": agency, "route": route})
        self._last_success.remove(agency, route)
        self._last_run.remove(agency, route)
        for phase in Phase:
            self._phase.remove(agency, route, phase)

    def watch_gateway(self, channel: Channel, gateway: str) -> None:
        """Announce a gateway, so that it can be judged and its refused callbacks counted under its name."""
        self._gateways.add((channel, gateway))
        _start_at_zero(self._callbacks_refused, [gateway], _REFUSAL_REASONS)

    def forget_gateway(self, channel: Channel, gateway: str) -> None:
        """Remove every series of a gateway that has left."""
        self._gateways.discard((channel, gateway))
        self._gateway_up.remove(channel, gateway)
        if all(name != gateway for _, name in self._gateways):
            self._callbacks_refused.remove_by_labels({"gateway": gateway})

    # What happened

    def probe_finished(self, result: ProbeResult, *, agency: str, direction: str, site: str) -> None:
        """Count a run. An inconclusive one leaves what was known of the route as it was."""
        self._outcomes.labels(_one_of(DIRECTIONS, direction), result.outcome).inc()
        transit = result.phases.get(Phase.TRANSIT)
        if result.outcome in _ARRIVED and transit is not None:
            self._transit.labels(direction).observe(transit.total_seconds())
        if result.route not in self._routes.get(agency, ()):
            return
        ended_at = (result.started_at + result.duration).timestamp()
        self._last_run.labels(agency, result.route).set(ended_at)
        if result.outcome is Outcome.INCONCLUSIVE:
            return
        delivered = result.outcome is Outcome.DELIVERED
        self._success.labels(agency, result.route, direction, site).set(delivered)
        if delivered:
            self._last_success.labels(agency, result.route).set(ended_at)
        if result.outcome not in _NO_FAILURE:
            self._failures.labels(agency, direction).inc()
        for phase in Phase:
            if (span := result.phases.get(phase)) is not None:
                self._phase.labels(agency, result.route, phase).set(span.total_seconds())
            else:  # not the time of an earlier, better run
                self._phase.remove(agency, result.route, phase)

    def arrived(self, arrival: Arrival, *, direction: str | None = None, transit: timedelta | None = None) -> None:
        """Count mail that no run was waiting for; of a late one, also how long it took."""
        self._arrivals.labels(arrival).inc()
        if arrival is Arrival.LATE and direction is not None and transit is not None:
            self._transit.labels(_one_of(DIRECTIONS, direction)).observe(transit.total_seconds())

    def mail_judged(self, agency: str, direction: str, *, up: bool | None, degraded: bool = False) -> None:
        """Show an agency's health; `None` is unknown, and shows nothing."""
        _one_of(AGENCY_DIRECTIONS, direction)
        if up is None:
            self._mail_up.remove(agency, direction)
            self._mail_degraded.remove(agency, direction)
        elif agency in self._routes:
            self._mail_up.labels(agency, direction).set(up)
            self._mail_degraded.labels(agency, direction).set(up and degraded)

    def notice_entered(self, channel: Channel, purpose: Purpose, state: NoticeState) -> None:
        """Count a notice that has just entered *state*, once that is stored."""
        self._notices.labels(channel, purpose, state).inc()

    def cycle_finished(self, now: datetime, oldest_pending: datetime | None, open_incidents: Mapping[str, int]) -> None:
        """Note that the incident engine is alive, how many incidents each agency has, and how old the oldest notice is.

        Incidents about ourselves are `NO_AGENCY`'s. The age is reckoned at each scrape: it goes on growing when the
        engine stands still.
        """
        self._cycle_at.set(now.timestamp())
        self._pending_since = oldest_pending
        for agency in self._routes:
            self._incidents_open.labels(agency).set(open_incidents.get(agency, 0))

    def _pending_age(self) -> float:
        since = self._pending_since
        return 0.0 if since is None else max(0.0, (self._now() - since).total_seconds())

    def gateway_judged(self, channel: Channel, gateway: str, *, up: bool | None) -> None:
        """Show whether a gateway works; `None` is unknown, and shows nothing."""
        if up is None:
            self._gateway_up.remove(channel, gateway)
        elif (channel, gateway) in self._gateways:
            self._gateway_up.labels(channel, gateway).set(up)

    def callback_refused(self, gateway: str, reason: str) -> None:
        """Count a callback that was answered with an error; *reason* is one of `REFUSALS`.

        Both come from strangers, or are free text: what is not known becomes "none" and "other", never a label.
        """
        known = any(name == gateway for _, name in self._gateways)
        self._callbacks_refused.labels(
            gateway if known else NO_GATEWAY, reason if reason in _REFUSAL_REASONS else OTHER_REFUSAL
        ).inc()

    def reload_finished(self, *, ok: bool, now: datetime) -> None:
        """Show how reading the configuration went, at start and at each reload."""
        self._reload_success.set(ok)
        if ok:
            self._reload_at.set(now.timestamp())

    def loop_lagged(self, lag: timedelta) -> None:
        """Show how late the event loop woke."""
        self._loop_lag.set(lag.total_seconds())

    def own_fault(self, cause: str, *, present: bool) -> None:
        """Show whether something of ours is broken."""
        self._own_fault.labels(_one_of(OWN_FAULTS, cause)).set(present)

    def render(self) -> bytes:
        """Return all of it as text (`CONTENT_TYPE`).

        Takes 0.2 s with 500 agencies: call it with `asyncio.to_thread`.
        """
        return generate_latest(_Known(self._registry))


class _Known(Collector):
    """What is worth exporting of a registry.

    Not values that nobody has set yet, and not the `_created` series, which add a third to the counters and tell
    nothing here (the library's own switch for them is global to the process).
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [s for s in family.samples if not (math.isnan(s.value) or s.name.endswith("_created"))]
            yield family


def _start_at_zero(metric: Counter | Gauge | Histogram, *values: Iterable[str]) -> None:
    """Make all series of a closed set, so that `rate` sees the first increment and a panel has no gaps."""
    for labels in product(*values):
        metric.labels(*labels)


def _one_of(closed: Collection[str], value: str) -> str:
    if value not in closed:
        raise ValueError(f"{value!r} is none of {', '.join(closed)}")
    return value
