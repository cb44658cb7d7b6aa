"""Definitions of all metrics.

A metric with series for each agency, route or mailbox is a `Family`. All others are metrics of prometheus-client; their
label values are closed sets, or names of gateways and sites. `docs/reference/metrics.md` lists names, types, labels and
label values. Tests in `tests/unit/grafana` compare it with this module, and require that a dashboard uses each metric.

*Sites* are installations that probe the same agencies; a *hub* collects their results. The *engine* processes incidents
and notifications in cycles. A *drill* sends test notifications to contacts.
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

#: Directions of an agency's mail.
AGENCY_DIRECTIONS: Final = ("internal", "outbound", "inbound")
#: All directions of probes. Control messages go from one reference mailbox to another.
DIRECTIONS: Final = (*AGENCY_DIRECTIONS, "control")
#: Causes of monitoring faults: failures of Pantau or its reference mailboxes, not of an agency. A reference mailbox is
#: a mailbox of the operator outside the agencies.
MONITORING_FAULTS: Final = ("network", "reference", "credentials", "mailbox", "configuration", "site", "quorum")
#: Causes that concern one reference mailbox.
REFERENCE_FAULTS: Final = ("reference", "credentials", "mailbox")

#: Reasons for refusing a callback or webhook, by the HTTP status of the response.
REFUSALS: Final = {400: "malformed", 401: "untrusted", 403: "untrusted", 404: "unknown", 413: "too_large", 429: "busy"}
#: Reason for any other status.
OTHER_REFUSAL: Final = "other"
REFUSAL_REASONS: Final = frozenset({*REFUSALS.values(), OTHER_REFUSAL})
#: Gateway label of a callback whose URL names no configured gateway.
NO_GATEWAY: Final = "none"

#: Receivers of the heartbeat: a dead man's switch over HTTP, the time of a file, systemd's watchdog.
RECEIVERS: Final = ("switch", "file", "systemd")

#: Positions of relays on the path of a message. The last position includes all further relays.
HOPS: Final = tuple(str(position) for position in range(1, 9))

#: Transit times in seconds, from those of two servers in one building up to one hour. Greylisting delays a first
#: message by 5 to 60 minutes; without the upper buckets such a message would be in +Inf.
TRANSIT_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
#: Durations of SMTP DATA in seconds. Mail programs time out after 30, 60 or 100 s; a session may last longer.
DATA_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 100, 600, 3600)
#: Delays of relays in seconds. The times in Received headers are whole seconds.
HOP_BUCKETS: Final = (1, 2, 5, 10, 30, 60, 300, 900, 3600)
#: Minimum delay of a relay that is exported for each agency. All relays would take a quarter of a MB of a scrape.
SLOW_HOP: Final = timedelta(seconds=10)
#: Latencies of notifications in seconds: from an SMS that is accepted at once to a letter posted after a weekend.
LATENCY_BUCKETS: Final = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400, 259200)
#: Delays of the start of runs in seconds: from those of a loaded event loop to one that alerts an operator.
LAG_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60)


_Kind = Literal["gauge", "counter"]

# All names are plain ASCII, so that `allow-utf-8` has no effect on the output. It saves the time for escaping names.
_generate_open_metrics, _ = choose_encoder("application/openmetrics-text; version=1.0.0; escaping=allow-utf-8")
#: The last line of OpenMetrics. A scrape without it counts as incomplete.
_END: Final = b"# EOF\n"


class Definitions:
    """All metrics of one service. Each instance has its own registry: two services in one process are separate."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        #: Families, in the order in which they are exported.
        self.families: list[Family] = []
        self._define_mail()
        self._define_checks()
        self._define_notifications()
        self._define_watchdog()
        self._define_service()
        self._define_ownership()
        self._define_mailboxes()

    def _define_mailboxes(self) -> None:
        agency_family = self._agency_family
        help_text = "Unix time in seconds when the access token of the mailbox expires."
        self.token_expiry = agency_family("gauge", "oauth_token_expiry_timestamp_seconds", help_text, "mailbox")
        help_text = "Always 1: the stored secret of the mailbox cannot be read, and Pantau does not sign in."
        self.credential_unavailable = agency_family("gauge", "mailbox_credential_unavailable", help_text, "mailbox")
        help_text = "Messages of Pantau that stay in the mailbox although they were deleted."
        self.undeleted_messages = agency_family("gauge", "mailbox_undeleted_messages", help_text, "mailbox")
        help_text = "Share of the quota that the mailbox uses; full from 1 on."
        self.mailbox_usage = agency_family("gauge", "mailbox_used_ratio", help_text, "mailbox")

    def _define_mail(self) -> None:
        gauge, counter, histogram = self._gauge, self._counter, self._histogram
        agency_family = self._agency_family
        self.mail_up = agency_family("gauge", "mail_up", "Whether mail is up (1) or down (0).", "direction")
        self.mail_degraded = agency_family(
            "gauge",
            "mail_degraded",
            "Whether mail is slow, lands in junk or is sent with errors (1) or not (0).",
            "direction",
        )
        help_text = "Always 1, while mail is down or degraded: how most runs end, and which end of the route must act."
        self.failure_cause = agency_family("gauge", "mail_failure_cause", help_text, "direction", "outcome", "party")
        help_text = "Whether a person has declared an outage and not closed it (1)."
        self.declared = agency_family("gauge", "outage_declared", help_text, "direction")
        help_text = "Whether a person has closed an incident that probes still detect (1)."
        self.closed_manually = agency_family("gauge", "incident_closed_manually", help_text)
        self.quorum_outage = agency_family(
            "gauge", "quorum_outage", "Whether a quorum of sites has reported an outage (1) or not (0).", "direction"
        )
        help_text = "Whether some sites report a failure while others prove that all mail works (1) or not (0)."
        self.disputed = agency_family("gauge", "quorum_disagreement", help_text)
        help_text = "Whether the last conclusive run was delivered, complete and to the inbox (1), or not (0)."
        self.success = agency_family("gauge", "probe_success", help_text, "route", "direction", "site")
        self.last_success = agency_family(
            "gauge", "probe_success_timestamp_seconds", "Unix time in seconds of the last delivered run.", "route"
        )
        self.last_run = agency_family(
            "gauge",
            "probe_run_timestamp_seconds",
            "Unix time in seconds when the last run ended, whatever its outcome.",
            "route",
        )
        help_text = "Unix time in seconds after which the next run of the agency is overdue."
        self.run_overdue = agency_family("gauge", "probe_overdue_timestamp_seconds", help_text)
        help_text = "Unix time in seconds after which the next delivered run of the agency is overdue."
        self.success_overdue = agency_family("gauge", "probe_success_overdue_timestamp_seconds", help_text)
        help_text = "Duration of each finished phase of the last conclusive run, in seconds."
        # A route has seven such lines, so the agency label is left out (the route's name is unique), and the number of
        # routes with these lines is limited.
        self.phase_duration = self._family("gauge", "probe_phase_duration_seconds", help_text, "route", "phase")
        help_text = "Runs by final verdict."
        self.runs = agency_family("counter", "probe_runs_total", help_text, "direction", "verdict")
        help_text = "Seconds by which a relay's clock is ahead of this machine's, by the latest message."
        self.relay_clock_skew = agency_family("gauge", "relay_clock_skew_seconds", help_text, "direction")
        self.maintenance = agency_family(
            "gauge", "maintenance", "Whether a maintenance window is active (1) or not (0)."
        )
        self.off_hours = agency_family(
            "gauge", "off_hours", "Whether the time is outside the agency's probing hours (1) or not (0)."
        )
        self.outcomes = counter("probe_outcomes", "Runs by outcome.", "direction", "outcome")
        start_at_zero(self.outcomes, DIRECTIONS, Outcome)
        self.arrivals = counter("probe_arrivals", "Messages with a token that no run waited for.", "arrival")
        start_at_zero(self.arrivals, Arrival)
        help_text = "Time from the acceptance of a message until it is in the mailbox, in seconds."
        self.transit = histogram("mail_transit_seconds", help_text, TRANSIT_BUCKETS, "direction")
        start_at_zero(self.transit, DIRECTIONS)
        help_text = "Time until the sender's server answers the message or the connection ends, in seconds."
        self.smtp_data = histogram("smtp_data_duration_seconds", help_text, DATA_BUCKETS, "direction")
        start_at_zero(self.smtp_data, DIRECTIONS)
        help_text = "Time that a message takes to each relay, by trusted Received headers, in seconds."
        self.hop_delay = histogram("mail_hop_delay_seconds", help_text, HOP_BUCKETS, "direction", "hop")
        help_text = "Time that the latest message took to its slowest relay, in seconds; only from ten seconds on."
        self.slowest_hop = agency_family("gauge", "mail_slowest_hop_seconds", help_text, "direction", "hop")
        self.routes = gauge("config_routes", "Configured routes.")

    def _define_ownership(self) -> None:
        self.owned = self._gauge("agencies_owned", "Agencies that this process probes.")
        help_text = "Agencies assigned to this process that it has not taken over yet."
        self.takeover_pending = self._gauge("agencies_takeover_pending", help_text)
        help_text = "Agencies whose documents another process on the store has and this process lacks."
        self.config_missing = self._gauge("agencies_config_missing", help_text)
        help_text = "Agencies that this process has taken over from another since its start."
        self.takeovers = self._counter("takeovers", help_text)

    def _define_checks(self) -> None:
        agency_family = self._agency_family
        help_text = "State of a finding: 0 pass, 1 warn, 2 fail."
        self.check_state = agency_family("gauge", "check_state", help_text, "check", "aspect", "subject")
        self.check_unknown = agency_family(
            "gauge", "check_unknown_findings", "Findings that the last run of the check could not determine.", "check"
        )
        self.check_last_run = agency_family(
            "gauge", "check_run_timestamp_seconds", "Unix time in seconds when the check last finished.", "check"
        )
        help_text = "Unix time in seconds when the certificate of the server expires."
        self.certificate_expiry = agency_family("gauge", "certificate_expiry_timestamp_seconds", help_text, "server")

    def _define_notifications(self) -> None:
        gauge, counter = self._gauge, self._counter
        self.incidents_open = self._agency_family(
            "gauge", "incidents_open", "Open incidents; NaN before the engine's first cycle."
        )
        help_text = "Unix time in seconds when the open incident was opened."
        self.incident_opened = self._agency_family("gauge", "incident_opened_timestamp_seconds", help_text, "incident")
        help_text = "Open incidents whose agency is not in the configuration."
        self.orphaned = gauge("incidents_orphaned", help_text)
        self.notifications = counter(
            "notifications", "Notifications that entered a state.", "channel", "purpose", "state"
        )
        start_at_zero(self.notifications, Channel, Purpose, NotificationState)
        help_text = "Notifications that were joined to others instead of being sent by themselves."
        self.notifications_bundled = counter("notifications_bundled", help_text, "channel")
        start_at_zero(self.notifications_bundled, Channel)
        help_text = "Notifications that a rate limit delayed."
        self.notifications_throttled = counter("notifications_throttled", help_text, "channel", "limit")
        start_at_zero(self.notifications_throttled, Channel, RateLimitScope)
        help_text = "Time from the verdict until a gateway accepts a notification, delivers it, and somebody acknowledges, in seconds."
        self.notification_latency = self._histogram(
            "notification_latency_seconds", help_text, LATENCY_BUCKETS, "channel", "gateway", "milestone"
        )
        help_text = "Age of the oldest notification that is due and not sent, in seconds; 0 without one."
        self.oldest_pending = gauge("notification_oldest_pending_seconds", help_text)
        self.letters = gauge("letters_waiting", "Letters in the trays by step.", "step")
        help_text = "Letters not posted by the end of the workday after the one on which they were queued."
        self.letters_overdue = gauge("letters_overdue", help_text)
        help_text = "Rotas without anybody on call when an incident needed them."
        self.nobody_on_call = self._agency_family("counter", "nobody_on_call_total", help_text)
        self.on_call = self._agency_family(
            "gauge", "on_call", "Whether somebody is on call (1) or nobody is (0).", "rota"
        )
        help_text = "Time without anybody on call in the next seven days, in seconds."
        self.on_call_gap = self._agency_family("gauge", "on_call_gap_seconds", help_text, "rota")
        help_text = "Telephone numbers of staff that are not verified, or not recently."
        self.unverified_numbers = self._agency_family("gauge", "contact_numbers_unverified", help_text)
        self.gateway_up = gauge("gateway_up", "Whether the gateway works (1) or not (0).", "channel", "gateway")
        help_text = "Whether the gateway accepts messages and its receipts are overdue (1) or not (0)."
        self.receipts_overdue = gauge("gateway_receipts_overdue", help_text, "channel", "gateway")
        help_text = "Callbacks that were refused."
        self.callbacks_refused = counter("callbacks_refused", help_text, "gateway", "reason")
        start_at_zero(self.callbacks_refused, [NO_GATEWAY], REFUSAL_REASONS)
        help_text = "Alerts in webhooks of Alertmanager by their effect."
        self.alerts_received = counter("alerts_received", help_text, "effect")
        start_at_zero(self.alerts_received, AlertEffect)
        help_text = "Whether the Alertmanager accepted the incidents that were last sent to it (1) or not (0)."
        self.alertmanager_up = gauge("alertmanager_up", help_text, "member")
        help_text = "Webhooks of Alertmanager that were refused."
        self.alert_webhooks_refused = counter("alert_webhooks_refused", help_text, "reason")
        start_at_zero(self.alert_webhooks_refused, REFUSAL_REASONS)

    def _define_watchdog(self) -> None:
        gauge = self._gauge
        help_text = "Time since the oldest missed action of an escalation was due, in seconds; 0 without one."
        self.overdue_seconds = gauge("escalation_overdue_seconds", help_text)
        self.overdue = gauge("escalation_overdue", "Missed actions of escalations.", "action")
        start_at_zero(self.overdue, MissedAction)
        help_text = "Open incidents whose escalation has failed, by reason."
        self.escalation_failed = gauge("incidents_escalation_failed", help_text, "reason")
        start_at_zero(self.escalation_failed, EscalationFailure)
        help_text = "Whether this reason suppresses the heartbeat (1) or not (0)."
        self.heartbeat_suppressed = gauge("heartbeat_suppressed", help_text, "reason")
        start_at_zero(self.heartbeat_suppressed, LivenessFailure)
        name = "heartbeat_last_success_timestamp_seconds"
        self.heartbeat_at = gauge(name, "Unix time in seconds when the receiver last accepted a heartbeat.", "receiver")
        self.out_of_band_numbers = gauge("out_of_band_numbers", "Telephone numbers for out-of-band calls.")
        self.out_of_band_active = gauge(
            "out_of_band_active", "Whether out-of-band calls are made for this reason (1) or not (0).", "reason"
        )
        start_at_zero(self.out_of_band_active, OutOfBandReason)
        self.site_fresh = gauge(
            "site_fresh", "Whether the reports of another site are recent enough to count (1) or not (0).", "site"
        )
        self.site_lag = gauge("site_lag_seconds", "Maximum age of the reports of another site, in seconds.", "site")
        help_text = "Seconds by which the clock of another site is behind this one."
        self.site_offset = gauge("site_clock_offset_seconds", help_text, "site")
        help_text = "State of the replication from another site: 1 for the current one, else 0."
        self.site_replication = gauge("site_replication_state", help_text, "site", "state")
        help_text = "Bytes that another site keeps because the hub has not confirmed them."
        self.site_replication_lag = gauge("site_replication_lag_bytes", help_text, "site")
        help_text = "Errors of the hub's PostgreSQL while it applied the reports of another site."
        self.site_errors = self._counter("site_replication_errors", help_text, "site")
        help_text = "Agency documents of the hub that another site has not applied."
        self.site_documents_outdated = gauge("site_documents_outdated", help_text, "site")
        help_text = "Unix time in seconds when a drill last reached the contact; 0 if never."
        self.reached_at = self._agency_family("gauge", "contact_reached_timestamp_seconds", help_text, "contact")
        self.drilled_at = gauge(
            "drill_last_timestamp_seconds", "Unix time in seconds when a drill of all contacts last finished."
        )
        help_text = "Unix time in seconds after which the next drill of all contacts is overdue."
        self.drill_overdue = gauge("drill_overdue_timestamp_seconds", help_text)
        self.drill_notifications = self._counter(
            "drill_notifications", "Notifications of drills by result.", "channel", "result"
        )
        start_at_zero(self.drill_notifications, Channel, DrillState)

    def _define_service(self) -> None:
        gauge = self._gauge
        self.build_info = gauge("build_info", "Always 1; the labels give the versions.", "version", "python")
        self.reload_success = gauge(
            "config_last_reload_successful", "Whether the last configuration reload succeeded (1) or not (0)."
        )
        name = "config_last_reload_success_timestamp_seconds"
        self.reload_at = gauge(name, "Unix time in seconds of the last successful configuration reload.")
        help_text = "Whether settings of the current configuration need a restart (1) or not (0)."
        self.restart_needed = gauge("config_restart_needed", help_text)
        help_text = "Whether mail is monitored and nobody is notified (1) or people are notified (0)."
        self.monitor_only = gauge("monitor_only", help_text)
        name = "engine_last_cycle_timestamp_seconds"
        self.cycle_at = gauge(name, "Unix time in seconds when the engine last finished a cycle.")
        self.audit_entries = gauge("audit_entries", "Entries of the audit log.")
        help_text = "First 52 bits of the hash of the last audit entry; a copy outside reveals a rewritten log."
        self.audit_fingerprint = gauge("audit_head_fingerprint", help_text)
        help_text = "Violations of the audit log's hash chain at the last complete verification."
        self.audit_chain_violations = gauge("audit_chain_violations", help_text)
        help_text = "Unix time in seconds since when letters and faxes are paused; 0 if they are not."
        self.paper_paused = gauge("paper_paused_timestamp_seconds", help_text)
        self.store_up = gauge("store_up", "Whether the store is available (1) or not (0).")
        self.loop_lag = gauge(
            "event_loop_lag_seconds", "Maximum delay of the event loop in the last second, in seconds."
        )
        self.schedule_lag = self._histogram(
            "probe_schedule_lag_seconds", "Delay of the start of runs, in seconds.", LAG_BUCKETS
        )
        help_text = "Runs that were skipped because they could not start in time."
        self.runs_skipped = self._counter("probe_runs_skipped", help_text)
        help_text = "Runs that were discarded because the event loop was blocked or the process suspended."
        self.runs_discarded = self._counter("probe_runs_discarded", help_text)
        self.monitoring_fault = gauge(
            "monitoring_fault",
            "Whether this monitoring fault prevents an evaluation (1) or not (0).",
            "cause",
            "reference",
        )
        start_at_zero(self.monitoring_fault, MONITORING_FAULTS, [""])

    def _agency_family(self, kind: _Kind, name: str, help_text: str, *labels: str) -> Family:
        return self._family(kind, name, help_text, "agency", *labels)

    def _family(self, kind: _Kind, name: str, help_text: str, *labels: str) -> Family:
        family = Family(name=f"pantau_{name}", kind=kind, help_text=help_text, labels=labels)
        self.families.append(family)
        return family

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        gauge = Gauge(f"pantau_{name}", help_text, labels, registry=self.registry)
        if not labels:
            gauge.set(math.nan)  # Unknown values are not exported (`_SetValues`); the library would export 0.
        return gauge

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"pantau_{name}_total", help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"pantau_{name}", help_text, labels, buckets=buckets, registry=self.registry)

    def pieces(self, *, open_metrics: bool = False) -> Iterator[bytes]:
        """Yield the text in pieces: the first piece takes some milliseconds, each later piece well under one."""
        set_values = _SetValues(self.registry)
        if open_metrics:
            yield _generate_open_metrics(set_values).removesuffix(_END)
        else:
            yield generate_latest(set_values)
        for family in self.families:
            yield from family.pieces(open_metrics=open_metrics)
        if open_metrics:
            yield _END


class _SetValues(Collector):
    """Collector that leaves out unset values (NaN) and `_created` series.

    Pantau does not use `_created` series, which would add a third to the counters. The library's own switch for them is
    global to the process.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [s for s in family.samples if not (math.isnan(s.value) or s.name.endswith("_created"))]
            yield family


def start_at_zero(metric: Counter | Gauge | Histogram, *values: Iterable[str]) -> None:
    """Create the series of all combinations of *values*, so that `rate` includes the first increment."""
    for labels in product(*values):
        metric.labels(*labels)
