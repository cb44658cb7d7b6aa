"""Every metric of the product, and the only place where one is defined.

`docs/reference/metrics.md` has the table for people who write queries, of names, types, labels and their values; a test compares
the two. Another asks for each metric on a dashboard. Both are in `tests/unit/grafana`. What has a series for each
agency, route or mailbox is a `Family`; what is bounded by closed sets and by the gateways is prometheus-client's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import product
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from alerts.decide.auditor import EscalationFailure, MissedAction
from alerts.decide.drill import DrillState
from alerts.decide.gateway.rate_limit import RateLimitScope
from alerts.model.alert import AlertEffect
from alerts.model.channel import Channel
from alerts.model.delivery import NotificationState
from alerts.model.notification import Purpose
from monitor.evaluation.liveness import LivenessFailure
from monitor.evaluation.out_of_band import OutOfBandReason
from monitor.metrics.exposition import Family
from probes.model.result import Arrival, Outcome

#: Directions in which an agency's mail flows.
AGENCY_DIRECTIONS: Final = ("internal", "outbound", "inbound")
#: "control" is from one reference mailbox to another.
DIRECTIONS: Final = (*AGENCY_DIRECTIONS, "control")
#: What can be wrong on our side.
MONITORING_FAULTS: Final = ("network", "reference", "credentials", "mailbox", "configuration", "site", "quorum")
#: Which of these is about one of our reference mailboxes.
OF_A_REFERENCE: Final = ("reference", "credentials", "mailbox")

#: Why a callback was refused, by the status it was answered with.
REFUSALS: Final = {400: "malformed", 401: "untrusted", 403: "untrusted", 404: "unknown", 413: "too_large", 429: "busy"}
OTHER_REFUSAL: Final = "other"
REFUSAL_REASONS: Final = frozenset({*REFUSALS.values(), OTHER_REFUSAL})
#: The gateway of a callback that was addressed to none of ours.
NO_GATEWAY: Final = "none"

#: Who may listen to the heartbeat.
RECEIVERS: Final = ("switch", "file", "systemd")

#: Relays that a message went through, by their place on its way; the last stands for all behind it, too.
HOPS: Final = tuple(str(place) for place in range(1, 9))

#: From one server of a building to the next, to one hour: a greylisted first message comes after 5 to 60 minutes and would
#: vanish in +Inf (most peers stop at 29 s).
TRANSIT_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
#: From what is usual to what mail programs wait for, 30 s, a minute, and a hundred seconds; a session may last for longer.
DATA_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 100, 600, 3600)
#: Received headers tell whole seconds.
HOP_BUCKETS: Final = (1, 2, 5, 10, 30, 60, 300, 900, 3600)
#: A relay that took so long is told of its agency, too: one for each of them all would be a quarter of a MB of a scrape.
SLOW_HOP: Final = timedelta(seconds=10)
#: From an SMS that is taken at once to a letter that waits over a weekend for its clerk.
LATENCY_BUCKETS: Final = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400, 259200)
#: From what a loaded loop takes to what an operator must hear of.
LAG_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60)


_Kind = Literal["gauge", "counter"]

#: Names as they are: they were ever plain, and need not be looked at letter by letter.
_in_open_metrics, _ = choose_encoder("application/openmetrics-text; version=1.0.0; escaping=allow-utf-8")
#: The last line of OpenMetrics: without it a scrape was cut off.
_END: Final = b"# EOF\n"


class Definitions:
    """All metrics of one service. Nothing is global: two services in one process do not share a number."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        #: In the order in which they are exported.
        self.families: list[Family] = []
        self._define_mail()
        self._define_checks()
        self._define_notices()
        self._define_vigil()
        self._define_service()
        self._define_shares()
        self._define_mailboxes()

    def _define_mailboxes(self) -> None:
        many = self._many
        meaning = "When the access token expires that a mailbox is signed in with."
        self.token_expiry = many("gauge", "oauth_token_expiry_timestamp_seconds", meaning, "mailbox")
        meaning = (
            "Always 1, where a mailbox is not signed in to because the secret that was typed for it cannot be had."
        )
        self.credential_unavailable = many("gauge", "mailbox_credential_unavailable", meaning, "mailbox")
        meaning = "Messages of ours that stay in a mailbox although they were deleted there."
        self.undeleted = many("gauge", "mailbox_undeleted_messages", meaning, "mailbox")
        meaning = "How much of its quota a mailbox uses; from 1 on it is full."
        self.used = many("gauge", "mailbox_used_ratio", meaning, "mailbox")

    def _define_mail(self) -> None:
        gauge, counter, histogram = self._gauge, self._counter, self._histogram
        many = self._many
        self.mail_up = many("gauge", "mail_up", "Whether mail flows (1) or not (0).", "direction")
        self.mail_degraded = many(
            "gauge", "mail_degraded", "Whether mail flows, but slow, to junk, or with errors.", "direction"
        )
        meaning = (
            "Always 1, while mail is down or degraded: how runs end, and at which end of the route somebody must act."
        )
        self.failure_cause = many("gauge", "mail_failure_cause", meaning, "direction", "outcome", "party")
        meaning = "Whether a person has declared that mail is down, and nobody that it is over; whatever is measured."
        self.declared = many("gauge", "outage_declared", meaning, "direction")
        meaning = "Whether a person has ended an incident (closed, or a false alarm) that the probes see still."
        self.closed_manually = many("gauge", "incident_closed_manually", meaning)
        self.quorum_outage = many(
            "gauge", "quorum_outage", "Whether sites together have told that mail is down.", "direction"
        )
        meaning = "Whether some sites say that something is wrong, and others that all is proven to work."
        self.disputed = many("gauge", "quorum_disagreement", meaning)
        meaning = "Whether the last conclusive run was delivered: whole, to the inbox."
        self.success = many("gauge", "probe_success", meaning, "route", "direction", "site")
        self.last_success = many("gauge", "probe_success_timestamp_seconds", "When a run was last delivered.", "route")
        self.last_run = many("gauge", "probe_run_timestamp_seconds", "When a run last ended, however it did.", "route")
        meaning = "From when on a run of one of an agency's routes is overdue, unless it has ended by then."
        self.run_overdue = many("gauge", "probe_overdue_timestamp_seconds", meaning)
        meaning = "From when on it is overdue to have proven mail on one of its routes again."
        self.success_overdue = many("gauge", "probe_success_overdue_timestamp_seconds", meaning)
        meaning = "How long each finished phase of the last conclusive run took."
        # Seven lines a route, whose name is unique: the agency is left out of them, and most routes are.
        self.phase_duration = self._define_many("gauge", "probe_phase_duration_seconds", meaning, "route", "phase")
        meaning = "Runs by how they were judged: each once, when that was final."
        self.runs = many("counter", "probe_runs_total", meaning, "direction", "verdict")
        meaning = "How far a relay's clock is from ours (ahead: positive), as far as the latest message tells."
        self.relay_clock_skew = many("gauge", "relay_clock_skew_seconds", meaning, "direction")
        self.maintenance = many("gauge", "maintenance", "Whether mail may fail for a while, as planned.")
        self.off_hours = many("gauge", "off_hours", "Whether it is outside of the hours in which mail is probed.")
        self.outcomes = counter("probe_outcomes", "Runs by how they ended.", "direction", "outcome")
        start_at_zero(self.outcomes, DIRECTIONS, Outcome)
        self.arrivals = counter("probe_arrivals", "Mail with a token that no run waited for.", "arrival")
        start_at_zero(self.arrivals, Arrival)
        meaning = "From acceptance of a message until it was in the mailbox, if it ever was."
        self.transit = histogram("mail_transit_seconds", meaning, TRANSIT_BUCKETS, "direction")
        start_at_zero(self.transit, DIRECTIONS)
        meaning = "How long the sender's server took to answer for a message, or until the connection ended without."
        self.smtp_data = histogram("smtp_data_duration_seconds", meaning, DATA_BUCKETS, "direction")
        start_at_zero(self.smtp_data, DIRECTIONS)
        meaning = "How long a message took to each relay on its way, by the Received headers that can be trusted."
        self.hop_delay = histogram("mail_hop_delay_seconds", meaning, HOP_BUCKETS, "direction", "hop")
        meaning = "How long the latest message took to the relay where it took longest, by its place; only where that was long."
        self.slowest_hop = many("gauge", "mail_slowest_hop_seconds", meaning, "direction", "hop")
        self.routes = gauge("config_routes", "Routes that are watched.")

    def _define_shares(self) -> None:
        self.owned = self._gauge("agencies_owned", "Agencies that this process probes.")
        meaning = "Agencies that are this process's to probe, and that it has not taken over yet."
        self.takeover_pending = self._gauge("agencies_takeover_pending", meaning)
        meaning = "Agencies of which another process on the store has documents, and this one has none."
        self.config_missing = self._gauge("agencies_config_missing", meaning)
        meaning = "Agencies that this process has taken over from another since it began."
        self.takeovers = self._counter("takeovers", meaning)

    def _define_checks(self) -> None:
        many = self._many
        meaning = "What a check found: 0 pass, 1 warn, 2 fail."
        self.check_state = many("gauge", "check_state", meaning, "check", "aspect", "subject")
        self.check_unknown = many("gauge", "check_unknown_findings", "What a check could not look at.", "check")
        self.check_last_run = many("gauge", "check_run_timestamp_seconds", "When a check last ran.", "check")
        meaning = "When the certificate expires that a server shows."
        self.certificate_expiry = many("gauge", "certificate_expiry_timestamp_seconds", meaning, "server")

    def _define_notices(self) -> None:
        gauge, counter = self._gauge, self._counter
        self.incidents_open = self._many(
            "gauge", "incidents_open", "Incidents that are open; NaN until the engine has looked."
        )
        meaning = "When each incident was opened that is open."
        self.incident_opened = self._many("gauge", "incident_opened_timestamp_seconds", meaning, "incident")
        meaning = "Incidents that are open, and whose agencies have left the configuration."
        self.orphaned = gauge("incidents_orphaned", meaning)
        self.notifications = counter("notifications", "Notices that entered a state.", "channel", "purpose", "state")
        start_at_zero(self.notifications, Channel, Purpose, NotificationState)
        meaning = "Notices that were joined to others instead of being sent by themselves."
        self.notifications_bundled = counter("notifications_bundled", meaning, "channel")
        start_at_zero(self.notifications_bundled, Channel)
        meaning = "Notices that a brake began to hold back."
        self.notifications_throttled = counter("notifications_throttled", meaning, "channel", "limit")
        start_at_zero(self.notifications_throttled, Channel, RateLimitScope)
        meaning = (
            "How long it took to tell somebody: from the verdict until a gateway had it, they had it, and one answered."
        )
        self.notification_latency = self._histogram(
            "notification_latency_seconds", meaning, LATENCY_BUCKETS, "channel", "gateway", "milestone"
        )
        meaning = "Age of the oldest notice that is due and not sent; 0 when there is none."
        self.oldest_pending = gauge("notification_oldest_pending_seconds", meaning)
        self.letters = gauge("letters_waiting", "Letters in the trays, by how far they have come.", "step")
        meaning = "Letters that should have been posted: a workday has gone by since they were laid in the tray."
        self.letters_overdue = gauge("letters_overdue", meaning)
        meaning = "Rotas that were to tell somebody and had nobody on call."
        self.nobody_on_call = self._many("counter", "nobody_on_call_total", meaning)
        self.on_call = self._many("gauge", "on_call", "Whether somebody is on call now (1) or nobody is (0).", "rota")
        meaning = "How long nobody is on call in the next seven days."
        self.on_call_gap = self._many("gauge", "on_call_gap_seconds", meaning, "rota")
        meaning = "Numbers of staff where nobody has answered, or not for too long."
        self.unverified = self._many("gauge", "contact_numbers_unverified", meaning)
        self.gateway_up = gauge("gateway_up", "Whether a gateway works (1) or not (0).", "channel", "gateway")
        meaning = "Whether a gateway takes messages and gives no receipts as it used to (1) or does (0)."
        self.receipts_overdue = gauge("gateway_receipts_overdue", meaning, "channel", "gateway")
        meaning = "Callbacks that were not trusted or not understood."
        self.callbacks_refused = counter("callbacks_refused", meaning, "gateway", "reason")
        start_at_zero(self.callbacks_refused, [NO_GATEWAY], REFUSAL_REASONS)
        meaning = "What webhooks of Alertmanager said of alerts, by what that came to."
        self.alerts_received = counter("alerts_received", meaning, "effect")
        start_at_zero(self.alerts_received, AlertEffect)
        meaning = "Whether an Alertmanager took our incidents when it was last told of them (1) or not (0)."
        self.alertmanager_up = gauge("alertmanager_up", meaning, "member")
        meaning = "Webhooks of Alertmanager that were refused."
        self.alert_webhooks_refused = counter("alert_webhooks_refused", meaning, "reason")
        start_at_zero(self.alert_webhooks_refused, REFUSAL_REASONS)

    def _define_vigil(self) -> None:
        gauge = self._gauge
        meaning = "How long the longest lapse of an escalation has lasted; 0 when there is none."
        self.overdue_seconds = gauge("escalation_overdue_seconds", meaning)
        self.overdue = gauge("escalation_overdue", "What is overdue of escalations, by what it is.", "action")
        start_at_zero(self.overdue, MissedAction)
        meaning = "Open incidents whose notices came to nothing, by how."
        self.escalation_failed = gauge("incidents_escalation_failed", meaning, "reason")
        start_at_zero(self.escalation_failed, EscalationFailure)
        meaning = "Whether this keeps the heartbeat from being sent."
        self.heartbeat_suppressed = gauge("heartbeat_suppressed", meaning, "reason")
        start_at_zero(self.heartbeat_suppressed, LivenessFailure)
        name = "heartbeat_last_success_timestamp_seconds"
        self.heartbeat_at = gauge(name, "When the heartbeat was last heard.", "receiver")
        self.out_of_band_numbers = gauge("out_of_band_numbers", "Numbers that can be rung without the store.")
        self.out_of_band_active = gauge(
            "out_of_band_active", "Whether the NOC is rung without the store, by why.", "reason"
        )
        start_at_zero(self.out_of_band_active, OutOfBandReason)
        self.site_fresh = gauge("site_fresh", "Whether what another site says is fresh enough to count.", "site")
        self.site_lag = gauge("site_lag_seconds", "How old what another site says is at most.", "site")
        meaning = "How much the clock of another site is behind ours; ahead of it where negative."
        self.site_offset = gauge("site_clock_offset_seconds", meaning, "site")
        meaning = "What becomes of what another site says on its way to the hub."
        self.site_replication = gauge("site_replication_state", meaning, "site", "state")
        meaning = "What another site keeps for the hub, which has not confirmed it."
        self.site_replication_lag = gauge("site_replication_lag_bytes", meaning, "site")
        meaning = "How often the hub's PostgreSQL refused what another site says."
        self.site_errors = self._counter("site_replication_errors", meaning, "site")
        meaning = "How many of the hub's documents of agencies another site does not go by."
        self.site_documents_outdated = gauge("site_documents_outdated", meaning, "site")
        meaning = "When a contact was last reached in a drill; 0 when never."
        self.reached_at = self._many("gauge", "contact_reached_timestamp_seconds", meaning, "contact")
        self.drilled_at = gauge("drill_last_timestamp_seconds", "When a drill of all contacts last came to its end.")
        meaning = "From when on it is overdue that the drill after it has come to its end, as they are planned."
        self.drill_overdue = gauge("drill_overdue_timestamp_seconds", meaning)
        self.drill_notifications = self._counter(
            "drill_notifications", "Notices of drills by how they ended.", "channel", "result"
        )
        start_at_zero(self.drill_notifications, Channel, DrillState)

    def _define_service(self) -> None:
        gauge = self._gauge
        self.build_info = gauge("build_info", "Always 1; the labels tell.", "version", "python")
        self.reload_success = gauge(
            "config_last_reload_successful", "Whether the configuration was accepted when last read."
        )
        name = "config_last_reload_success_timestamp_seconds"
        self.reload_at = gauge(name, "When a configuration was last accepted.")
        meaning = "Whether settings of the configuration in force wait for the next start."
        self.restart_needed = gauge("config_restart_needed", meaning)
        meaning = "Whether mail is only watched and nobody is told (1), or people are told (0)."
        self.monitor_only = gauge("monitor_only", meaning)
        name = "engine_last_cycle_timestamp_seconds"
        self.cycle_at = gauge(name, "When the incident engine last finished a cycle.")
        self.audit_entries = gauge("audit_entries", "How many entries the journal has.")
        meaning = "The first 52 bits of the hash of its last entry: a copy outside shows a journal that was rewritten."
        self.audit_fingerprint = gauge("audit_head_fingerprint", meaning)
        meaning = "Places where the journal is not as it was written, when it was last followed from its beginning."
        self.audit_chain_violations = gauge("audit_chain_violations", meaning)
        meaning = (
            "Since when letters and faxes wait for a person, because the store may be an older copy; 0: they go out."
        )
        self.paper_paused = gauge("paper_paused_timestamp_seconds", meaning)
        self.store_up = gauge("store_up", "Whether the store can be used (1) or is away (0).")
        self.loop_lag = gauge("event_loop_lag_seconds", "How late the event loop woke at most in the last second.")
        self.schedule_lag = self._histogram("probe_schedule_lag_seconds", "How late runs were started.", LAG_BUCKETS)
        meaning = "Runs that were let go because they could not be started in time."
        self.runs_skipped = self._counter("probe_runs_skipped", meaning)
        meaning = "Runs that came to nothing because this process stood still meanwhile."
        self.runs_discarded = self._counter("probe_runs_discarded", meaning)
        self.monitoring_fault = gauge(
            "monitoring_fault", "Whether a fault of ours keeps us from judging.", "cause", "reference"
        )
        start_at_zero(self.monitoring_fault, MONITORING_FAULTS, [""])

    def _many(self, kind: _Kind, name: str, meaning: str, *labels: str) -> Family:
        return self._define_many(kind, name, meaning, "agency", *labels)

    def _define_many(self, kind: _Kind, name: str, meaning: str, *labels: str) -> Family:
        family = Family(name=f"pantau_{name}", kind=kind, meaning=meaning, labels=labels)
        self.families.append(family)
        return family

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        gauge = Gauge(f"pantau_{name}", meaning, labels, registry=self.registry)
        if not labels:
            gauge.set(math.nan)  # not exported before it is known; the library would say 0
        return gauge

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"pantau_{name}_total", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"pantau_{name}", meaning, labels, buckets=buckets, registry=self.registry)

    def pieces(self, *, open_metrics: bool = False) -> Iterator[bytes]:
        """Return everything as text: the first piece takes some milliseconds, the others well under one."""
        known = _Known(self.registry)
        if open_metrics:
            yield _in_open_metrics(known).removesuffix(_END)
        else:
            yield generate_latest(known)
        for family in self.families:
            yield from family.pieces(open_metrics=open_metrics)
        if open_metrics:
            yield _END


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


def start_at_zero(metric: Counter | Gauge | Histogram, *values: Iterable[str]) -> None:
    """Make all series of a closed set, so that `rate` sees the first increment and a panel has no gaps."""
    for labels in product(*values):
        metric.labels(*labels)
