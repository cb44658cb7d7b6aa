"""Metrics: records events and exports them to Prometheus.

The values of every label are bounded. Agencies, routes and gateways are registered before they get series, and lose
their series when they are removed. All other labels are closed sets, or a bounded number of names from an agency's
configuration and DNS. Unknown values are not exported.

A *route* is a pair of mailboxes between which probe messages are sent. A *reference* is a mailbox of the operator
outside the agencies; *control routes* run from one reference to another, and prove that the monitoring itself works. A
*monitoring fault* is a failure of Pantau or its references, not of an agency. The *engine* processes incidents and
notifications in cycles.
"""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from alerts.decide.gateway.latency import Milestone, NotificationLatency
from alerts.decide.gateway.rate_limit import RateLimitScope
from alerts.decide.paper import PENDING_STEPS, LetterStep
from alerts.engine.processing_result import OpenIncident
from alerts.model.alert import AlertEffect
from alerts.model.channel import Channel
from alerts.model.delivery import NotificationState
from alerts.model.notification import IncidentType, Purpose
from alerts.persistence.audit import ChainHead
from monitor.evaluation.agency import CurrentCause
from monitor.evaluation.attribution import RunVerdict
from monitor.evaluation.incident_type import TYPE_DIRECTIONS
from monitor.metrics.checks import CheckSeries
from monitor.metrics.definition import (
    AGENCY_DIRECTIONS,
    DIRECTIONS,
    HOPS,
    MONITORING_FAULTS,
    NO_GATEWAY,
    OTHER_REFUSAL,
    REFERENCE_FAULTS,
    REFUSAL_REASONS,
    REFUSALS,
    SLOW_HOP,
    Definitions,
    start_at_zero,
)
from monitor.metrics.oncall import OnCallSeries
from monitor.metrics.watchdog import WatchdogSeries
from monitor.model.route import Direction
from probes.model.check import Finding
from probes.model.result import Arrival, Outcome, Path, Phase, ProbeResult

#: Content type of `render` by default: the older text format.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
#: Content type of `render` with *open_metrics*. Prometheus requests this format, which has exemplars.
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

#: Agency label of control routes between reference mailboxes, and of incidents about Pantau itself.
NO_AGENCY: Final = ""

#: Default limit of routes with phase series (the duration of each phase of a run). Each such route has seven series:
#: 10,000 routes would have as many series as all other metrics together.
MAX_PHASE_ROUTES: Final = 500

_ARRIVED: Final = frozenset({Outcome.DELIVERED, Outcome.JUNK})

#: Name of the only part of an agency in a family with one part per agency (see `monitor.metrics.exposition.Family`).
_ONLY_PART: Final = ""


class Metrics:
    """All metrics. The event loop calls the methods; `pieces` and `render` may also be called in another thread."""

    def __init__(self, *, version: str, now: Callable[[], datetime]) -> None:
        self._now = now
        #: When the oldest pending notification was due; `None`: none is pending.
        self._pending_since: datetime | None = None
        #: Registered routes by agency.
        self._routes: dict[str, set[str]] = {}
        self._max_phase_routes = MAX_PHASE_ROUTES
        #: Routes with phase series.
        self._routes_with_phases: set[str] = set()
        self._gateways: set[tuple[Channel, str]] = set()
        self._references: set[str] = set()
        #: Active monitoring faults, by cause and reference.
        self._faults: set[tuple[str, str]] = set()
        #: Number of runs with each verdict, by agency and direction.
        self._run_counts: dict[tuple[str, str], Counter[RunVerdict]] = {}
        #: Open incidents by agency.
        self._open_incidents: dict[str, Sequence[OpenIncident]] = {}
        #: Declared outages by agency. They include unregistered agencies, which may be registered again meanwhile.
        self._declared: Mapping[str, IncidentType] = {}
        #: Outages that were declared before the start; used until the engine has processed all incidents.
        self._declared_before: Mapping[str, IncidentType] = {}
        self._definitions = Definitions()
        self._checks = CheckSeries(self._definitions)
        #: On-call metrics.
        self.on_call = OnCallSeries(self._definitions)
        #: Self-monitoring metrics.
        self.watchdog = WatchdogSeries(self._definitions)
        #: When a configuration was rejected; `None`: the last one was accepted.
        self.config_rejected_at: datetime | None = None
        self._has_overdue_letters = False
        self._definitions.oldest_pending.set_function(self._pending_age)
        self._definitions.build_info.labels(version, platform.python_version()).set(1)
        self.register_agency(NO_AGENCY, routes=())

    # Agencies, routes and gateways

    def register_agency(self, agency: str, *, routes: Collection[str], checks: Collection[str] | None = None) -> None:
        """Register an agency with its routes and checks, at start and after each reload; those not given are removed.

        Events of an unregistered agency or route, such as a run that was in flight, get no series. Control routes
        belong to `NO_AGENCY`. *checks*: kinds of checks; `None`: keep all.
        """
        had_no_routes = agency in self._routes and not self._routes[agency]
        for route in self._routes.get(agency, set()) - set(routes):
            self.remove_route(agency, route)
        self._routes[agency] = set(routes)
        if not routes and agency != NO_AGENCY:
            # An agency without routes cannot be probed yet. It counts as outside its hours, so that no alert fires.
            self.set_off_hours(agency, is_outside=True)
        elif had_no_routes:
            self._definitions.off_hours.drop(agency)
        if checks is not None:
            self._checks.keep(agency, checks)
        # Mailboxes may have been replaced. The series of the remaining ones return at their next sign-in.
        self._definitions.token_expiry.drop(agency)
        self._definitions.credential_unavailable.drop(agency)
        self._definitions.mailbox_usage.drop(agency)
        self._export_open_incidents(agency, self._open_incidents.get(agency, ()))
        self._export_declared(agency)
        self.on_call.register(agency)
        for direction in AGENCY_DIRECTIONS if agency != NO_AGENCY else ("control",):
            self._run_counts.setdefault((agency, direction), Counter())
            self._export_runs(agency, direction)
        self._count_routes()

    def unregister_agency(self, agency: str) -> None:
        """Remove every series of an agency."""
        self._routes_with_phases -= self._routes.pop(agency, set())
        self._open_incidents.pop(agency, None)
        self._checks.remove_state(agency)
        self.on_call.remove_state(agency)
        for direction in DIRECTIONS:
            self._run_counts.pop((agency, direction), None)
        for family in self._definitions.families:
            family.drop(agency)
        self._count_routes()

    def register_references(self, names: Collection[str]) -> None:
        """Register the reference mailboxes, and remove the series of all others."""
        for removed in self._references - set(names):
            for cause in REFERENCE_FAULTS:
                self._definitions.monitoring_fault.remove_by_labels({"cause": cause, "reference": removed})
        self._faults = {
            (cause, name)
            for cause, name in self._faults
            if cause == "site" or name in {"", *names} or _is_agency_mailbox(name)
        }
        self._references = set(names)
        start_at_zero(self._definitions.monitoring_fault, REFERENCE_FAULTS, names)

    def remove_route(self, agency: str, route: str) -> None:
        """Remove every series of a route."""
        self._routes.get(agency, set()).discard(route)
        self._routes_with_phases.discard(route)
        for family in (
            self._definitions.success,
            self._definitions.last_success,
            self._definitions.last_run,
            self._definitions.phase_duration,
        ):
            family.drop(agency, route)
        self._count_routes()

    def _count_routes(self) -> None:
        self._route_count = sum(map(len, self._routes.values()))
        self._definitions.routes.set(self._route_count)

    def limit_phase_routes(self, max_routes: int) -> None:
        """Limit the number of routes with phase series.

        If there are more routes, only those whose last run was slow or failed have these series. The limit applies to
        each route from its next run on.
        """
        self._max_phase_routes = max_routes

    def register_gateway(self, channel: Channel, gateway: str) -> None:
        """Register a gateway, so that its health, rejected callbacks and latencies are exported."""
        self._gateways.add((channel, gateway))
        start_at_zero(self._definitions.callbacks_refused, [gateway], REFUSAL_REASONS)
        start_at_zero(self._definitions.notification_latency, [channel], [gateway], Milestone)

    def unregister_gateway(self, channel: Channel, gateway: str) -> None:
        """Remove every series of a gateway."""
        self._gateways.discard((channel, gateway))
        self._definitions.gateway_up.remove(channel, gateway)
        self._definitions.receipts_overdue.remove(channel, gateway)
        self._definitions.notification_latency.remove_by_labels({"channel": channel, "gateway": gateway})
        if all(name != gateway for _, name in self._gateways):
            self._definitions.callbacks_refused.remove_by_labels({"gateway": gateway})

    # Ownership

    def set_agency_ownership(self, *, owned: int, to_take_over: int = 0) -> None:
        """Export how many agencies this process probes, and how many it has to take over from another process."""
        self._definitions.owned.set(owned)
        self._definitions.takeover_pending.set(to_take_over)

    def set_agencies_without_config(self, count: int) -> None:
        """Export for how many agencies other processes have documents that this one lacks."""
        self._definitions.config_missing.set(count)

    def count_takeovers(self, count: int) -> None:
        """Count agencies taken over from another process."""
        self._definitions.takeovers.inc(count)

    # Probe results

    def record_run(
        self, result: ProbeResult, *, agency: str, direction: str, site: str, is_prompt: bool = True
    ) -> None:
        """Count a run, and export its time, success and phases. Of an inconclusive run, only the time is exported.

        *is_prompt*: whether the message was accepted and arrived without delay.
        """
        self._definitions.outcomes.labels(_check_label(DIRECTIONS, direction), result.outcome).inc()
        transit = result.phases.get(Phase.TRANSIT)
        if result.outcome in _ARRIVED and transit is not None:
            self._definitions.transit.labels(direction).observe(transit.total_seconds(), _exemplar(result))
        if (data := result.phases.get(Phase.DATA)) is not None:
            self._definitions.smtp_data.labels(direction).observe(data.total_seconds(), _exemplar(result))
        route = result.route
        if route not in self._routes.get(agency, ()):
            return
        ended_at = int((result.started_at + result.duration).timestamp())
        self._definitions.last_run.put(agency, route, [((agency, route), ended_at)])
        if result.outcome is Outcome.INCONCLUSIVE:
            return
        delivered = result.outcome is Outcome.DELIVERED
        self._definitions.success.put(agency, route, [((agency, route, direction, site), delivered)])
        if delivered:
            self._definitions.last_success.put(agency, route, [((agency, route), ended_at)])
        self._export_phases(result, agency, is_prompt=delivered and is_prompt)

    def _export_phases(self, result: ProbeResult, agency: str, *, is_prompt: bool) -> None:
        route = result.route
        other_routes = len(self._routes_with_phases) - (route in self._routes_with_phases)
        if self._route_count > self._max_phase_routes and (is_prompt or other_routes >= self._max_phase_routes):
            self._routes_with_phases.discard(route)
            self._definitions.phase_duration.drop(agency, route)
            return
        self._routes_with_phases.add(route)
        # Unfinished phases have no value, not even that of an earlier run. The DATA phase (the server's answer to
        # the message) counts as part of the submission; it has a histogram of its own.
        submission_spans = [
            span for phase in (Phase.SUBMIT, Phase.DATA) if (span := result.phases.get(phase)) is not None
        ]
        seconds_by_phase = {
            **result.phases,
            Phase.SUBMIT: sum(submission_spans, timedelta(0)) if submission_spans else None,
            Phase.DATA: None,
        }
        spans = [(phase, span) for phase in Phase if (span := seconds_by_phase.get(phase)) is not None]
        self._definitions.phase_duration.put(
            agency, route, [((route, phase), span.total_seconds()) for phase, span in spans]
        )

    def set_overdue_times(self, agency: str, *, run_by: datetime, success_by: datetime) -> None:
        """Export by when the next run of an agency must end, and by when the next message must be delivered."""
        if agency in self._routes:
            self._definitions.run_overdue.put(agency, _ONLY_PART, [((agency,), int(run_by.timestamp()))])
            self._definitions.success_overdue.put(agency, _ONLY_PART, [((agency,), int(success_by.timestamp()))])

    def clear_overdue_times(self, agency: str) -> None:
        """Remove both times: no run of the agency is planned."""
        self._definitions.run_overdue.drop(agency)
        self._definitions.success_overdue.drop(agency)

    def count_runs(self, agency: str, direction: str, verdict: RunVerdict, runs: int) -> None:
        """Count runs by verdict. The verdict distinguishes failures of the agency from monitoring faults."""
        if (counts := self._run_counts.get((agency, _check_label(DIRECTIONS, direction)))) is not None:
            counts[verdict] += runs
            self._export_runs(agency, direction)

    def _export_runs(self, agency: str, direction: str) -> None:
        counts = self._run_counts[agency, direction]
        values = [((agency, direction, verdict), counts[verdict]) for verdict in RunVerdict]
        self._definitions.runs.put(agency, direction, values)

    def record_path(self, agency: str, direction: str, path: Path) -> None:
        """Export the delays of the relays of a message, and the difference between their clocks and ours.

        For a registered agency, the slowest relay is also exported if its delay is at least `SLOW_HOP`. A skew of
        `None`, which was too small to notice, counts as 0. If the headers of a message have no times, nothing changes.
        """
        _check_label(DIRECTIONS, direction)
        for position, hop in enumerate(path.hops):
            name = HOPS[min(position, len(HOPS) - 1)]
            self._definitions.hop_delay.labels(direction, name).observe(hop.delay.total_seconds())
        if agency in self._routes and path.hops:
            position, slowest = max(enumerate(path.hops), key=lambda each: each[1].delay)
            labels = (agency, direction, HOPS[min(position, len(HOPS) - 1)])
            is_slow = slowest.delay >= SLOW_HOP
            self._definitions.slowest_hop.put(
                agency, direction, [(labels, slowest.delay.total_seconds())] if is_slow else []
            )
        if agency in self._routes and (path.hops or path.skew is not None):
            skew = path.skew.total_seconds() if path.skew is not None else 0.0
            self._definitions.relay_clock_skew.put(agency, direction, [((agency, direction), skew)])

    def count_arrival(
        self, arrival: Arrival, *, direction: str | None = None, transit: timedelta | None = None
    ) -> None:
        """Count a message that no run waits for. For a late message, record its *transit* time too."""
        self._definitions.arrivals.labels(arrival).inc()
        if arrival is Arrival.LATE and direction is not None and transit is not None:
            self._definitions.transit.labels(_check_label(DIRECTIONS, direction)).observe(transit.total_seconds())

    def set_mail_health(self, agency: str, direction: str, *, up: bool | None, degraded: bool = False) -> None:
        """Export the health of an agency in a direction; `None` (unknown) removes the series."""
        _check_label(AGENCY_DIRECTIONS, direction)
        if up is None or (up and not degraded):
            self._definitions.failure_cause.drop(agency, direction)
        if up is None:
            self._definitions.mail_up.drop(agency, direction)
            self._definitions.mail_degraded.drop(agency, direction)
        elif agency in self._routes:
            self._definitions.mail_up.put(agency, direction, [((agency, direction), up)])
            self._definitions.mail_degraded.put(agency, direction, [((agency, direction), up and degraded)])

    def set_failure_cause(self, agency: str, direction: str, cause: CurrentCause) -> None:
        """Export the cause of mail that is down or degraded: the outcome of runs, and the end that must act.

        `set_mail_health` removes the cause on recovery.
        """
        if agency in self._routes:
            labels = (agency, _check_label(AGENCY_DIRECTIONS, direction), cause.outcome, cause.party)
            self._definitions.failure_cause.put(agency, direction, [(labels, 1)])

    def restore_declared(self, declared: Mapping[str, IncidentType]) -> None:
        """Export the outages that were declared before the start, until the engine has processed all incidents."""
        self._declared_before = declared
        self.set_declared_outages({}, all_known=False)

    def set_declared_outages(self, declared: Mapping[str, IncidentType], *, all_known: bool) -> None:
        """Export the outages that persons have declared, in the directions of their types, and remove all others.

        *all_known*: every open incident has been processed; otherwise the outages of `restore_declared` stay.
        """
        self._declared_before = (
            {} if all_known else {code: each for code, each in self._declared_before.items() if code not in declared}
        )
        previous, self._declared = self._declared, {**self._declared_before, **declared}
        for agency in previous.keys() | self._declared.keys():
            if previous.get(agency) is not self._declared.get(agency):
                self._export_declared(agency)

    def _export_declared(self, agency: str) -> None:
        incident_type = self._declared.get(agency)
        self._definitions.declared.drop(agency)
        if incident_type is not None and agency in self._routes:
            self._definitions.declared.put(
                agency, _ONLY_PART, [((agency, direction), 1) for direction in TYPE_DIRECTIONS.get(incident_type, ())]
            )

    def set_closed_manually(self, agency: str, *, is_closed: bool) -> None:
        """Export whether a person has closed an incident whose problem probes still detect."""
        self._definitions.closed_manually.drop(agency)
        if is_closed and agency in self._routes:
            self._definitions.closed_manually.put(agency, _ONLY_PART, [((agency,), 1)])

    def set_quorum_outage(
        self, agency: str, down_directions: Collection[Direction], *, has_quorum_result: bool
    ) -> None:
        """Export the directions in which a quorum of sites (the number that must agree) reports an outage.

        *has_quorum_result*: whether enough sites report; if not, the series are removed.
        """
        self._definitions.quorum_outage.drop(agency)
        if has_quorum_result and agency in self._routes:
            values = [
                ((agency, direction), direction in down_directions) for direction in TYPE_DIRECTIONS[IncidentType.BOTH]
            ]
            self._definitions.quorum_outage.put(agency, _ONLY_PART, values)

    def set_disputed(self, agency: str, *, is_disputed: bool | None) -> None:
        """Export whether sites contradict each other about an agency; `None` removes the series."""
        self._definitions.disputed.drop(agency)
        if is_disputed is not None and agency in self._routes:
            self._definitions.disputed.put(agency, _ONLY_PART, [((agency,), is_disputed)])

    def set_orphaned_incidents(self, count: int) -> None:
        """Export how many incidents of removed agencies are open."""
        self._definitions.orphaned.set(count)

    def set_maintenance(self, agency: str, *, active: bool) -> None:
        """Export whether an agency is in maintenance."""
        if agency in self._routes:
            self._definitions.maintenance.put(agency, _ONLY_PART, [((agency,), active)])

    def set_off_hours(self, agency: str, *, is_outside: bool) -> None:
        """Export whether an agency is outside its active hours."""
        if agency in self._routes:
            self._definitions.off_hours.put(agency, _ONLY_PART, [((agency,), is_outside)])

    def record_check_run(self, agency: str, kind: str, findings: Sequence[Finding], at: datetime) -> None:
        """Replace the findings of one kind of check for an agency.

        Unknown findings are counted and have no state. At most `MAX_FINDINGS` findings are exported, the worst ones.
        """
        if agency not in self._routes:
            return
        self._checks.export(agency, kind, findings, at)

    def set_token_expiry(self, mailbox: str, expires_at: datetime | None) -> None:
        """Export when the OAuth access token of *mailbox* expires; `None`: its issuer gives no expiry.

        *mailbox*: "CODE/key" for a mailbox of the agency CODE, or the key of a reference mailbox.
        """
        agency = _agency_of(mailbox)
        if expires_at is None:
            self._definitions.token_expiry.drop(agency, mailbox)
        elif agency in self._routes:
            self._definitions.token_expiry.put(agency, mailbox, [((agency, mailbox), expires_at.timestamp())])

    def set_credential_unavailable(self, mailbox: str, *, unavailable: bool) -> None:
        """Export whether the secret of *mailbox* (named as in `set_token_expiry`) is unavailable."""
        agency = _agency_of(mailbox)
        if not unavailable:
            self._definitions.credential_unavailable.drop(agency, mailbox)
        elif agency in self._routes:
            self._definitions.credential_unavailable.put(agency, mailbox, [((agency, mailbox), 1)])

    def set_undeleted_messages(self, mailbox: str, count: int) -> None:
        """Export how many probe messages stay in *mailbox* (see `set_token_expiry`) although they were deleted."""
        agency = _agency_of(mailbox)
        self._definitions.undeleted_messages.drop(agency, mailbox)
        if count and agency in self._routes:
            self._definitions.undeleted_messages.put(agency, mailbox, [((agency, mailbox), count)])

    def set_mailbox_usage(self, mailbox: str, share: float | None) -> None:
        """Export the used share of the quota of *mailbox* (see `set_token_expiry`); 1: full, `None`: unknown."""
        agency = _agency_of(mailbox)
        self._definitions.mailbox_usage.drop(agency, mailbox)
        if share is not None and agency in self._routes:
            self._definitions.mailbox_usage.put(agency, mailbox, [((agency, mailbox), share)])

    # Notifications

    def count_notification(self, channel: Channel, purpose: Purpose, state: NotificationState) -> None:
        """Count a notification that has reached *state*. Call it after the state is stored."""
        self._definitions.notifications.labels(channel, purpose, state).inc()

    def record_latency(self, latency: NotificationLatency) -> None:
        """Record the latency of a milestone of a notification (such as its delivery), for a registered gateway."""
        channel, gateway = latency.channel, latency.gateway
        if (channel, gateway) in self._gateways:
            series = self._definitions.notification_latency.labels(channel, gateway, latency.milestone)
            series.observe(latency.duration.total_seconds(), {"incident": latency.incident})

    def record_cycle(
        self, now: datetime, oldest_pending: datetime | None, open_incidents: Collection[OpenIncident]
    ) -> None:
        """Record the end of an engine cycle, the open incidents, and when the oldest pending notification was due.

        Incidents about Pantau belong to `NO_AGENCY`. The age of the notification is computed at each scrape, so that it
        grows when the engine stops.
        """
        is_first = self.watchdog.cycled_at is None
        self._definitions.cycle_at.set(now.timestamp())
        self.watchdog.cycled_at = now
        self._pending_since = oldest_pending
        by_agency: dict[str, list[OpenIncident]] = {agency: [] for agency in self._open_incidents}
        for incident in open_incidents:
            if incident.agency in self._routes:
                by_agency.setdefault(incident.agency, []).append(incident)
        for agency, incidents in by_agency.items():
            if is_first or self._open_incidents.get(agency) != incidents:
                self._export_open_incidents(agency, incidents)

    @property
    def open_incidents(self) -> int | None:
        """Number of open incidents; `None`: the engine has not run since the start."""
        return None if self.watchdog.cycled_at is None else sum(map(len, self._open_incidents.values()))

    def _export_open_incidents(self, agency: str, incidents: Sequence[OpenIncident]) -> None:
        self._open_incidents[agency] = incidents
        # The number is unknown until the engine has run.
        count = math.nan if self.watchdog.cycled_at is None else len(incidents)
        self._definitions.incidents_open.put(agency, _ONLY_PART, [((agency,), count)])
        opened_times = [((agency, each.number), each.opened_at.timestamp()) for each in incidents]
        self._definitions.incident_opened.put(agency, _ONLY_PART, opened_times)

    def _pending_age(self) -> float:
        if self.watchdog.cycled_at is None:
            return math.nan  # Unknown until the engine has run.
        since = self._pending_since
        return 0.0 if since is None else max(0.0, (self._now() - since).total_seconds())

    def count_bundled_notifications(self, channel: Channel, notifications: int) -> None:
        """Count notifications that joined a bundle: one message about several incidents."""
        self._definitions.notifications_bundled.labels(channel).inc(notifications)

    def count_throttled_notifications(self, channel: Channel, scope: RateLimitScope, notifications: int) -> None:
        """Count notifications that a rate limit delays from now on."""
        self._definitions.notifications_throttled.labels(channel, scope).inc(notifications)

    def set_letters(self, steps: Mapping[LetterStep, int] | None, *, overdue: int) -> None:
        """Export how many letters wait in the trays at each step (queued or printed), and how many are overdue.

        *steps*: `None` if both are unknown. A tray is a directory from which a clerk prints and posts letters.
        """
        if steps is not None:
            self._has_overdue_letters = overdue > 0
            self._definitions.letters_overdue.set(overdue)
        elif not self._has_overdue_letters:
            # Overdue letters stay overdue until a posting is stored. If none was overdue, some may be by now.
            self._definitions.letters_overdue.set(math.nan)
        for step in PENDING_STEPS:
            if steps is None:
                self._definitions.letters.remove(step)
            else:
                self._definitions.letters.labels(step).set(steps.get(step, 0))

    def count_empty_rotas(self, agency: str, rotas: int) -> None:
        """Count *rotas* that had nobody on call when their escalation step started."""
        self.on_call.count_empty_rotas(agency, rotas)

    def set_gateway_up(self, channel: Channel, gateway: str, *, up: bool | None) -> None:
        """Export whether a gateway works; `None` (unknown) removes the series."""
        if up is None:
            self._definitions.gateway_up.remove(channel, gateway)
        elif (channel, gateway) in self._gateways:
            self._definitions.gateway_up.labels(channel, gateway).set(up)

    def set_receipts_overdue(self, channel: Channel, gateway: str, *, overdue: bool | None) -> None:
        """Export whether a gateway's delivery receipts are overdue.

        `None` (unknown, because no receipt has come yet) removes the series.
        """
        if overdue is None:
            self._definitions.receipts_overdue.remove(channel, gateway)
        elif (channel, gateway) in self._gateways:
            self._definitions.receipts_overdue.labels(channel, gateway).set(overdue)

    def count_rejected_callback(self, gateway: str, reason: str) -> None:
        """Count a rejected callback; *reason* is a value of `REFUSALS`.

        Both values come from unauthenticated clients: unknown values are exported as "none" and "other".
        """
        is_known = any(name == gateway for _, name in self._gateways)
        self._definitions.callbacks_refused.labels(
            gateway if is_known else NO_GATEWAY, reason if reason in REFUSAL_REASONS else OTHER_REFUSAL
        ).inc()

    def count_alerts(self, effect: AlertEffect, alerts: int) -> None:
        """Count alerts from Alertmanager by their effect."""
        self._definitions.alerts_received.labels(effect).inc(alerts)

    def count_rejected_alert_webhook(self, status: int) -> None:
        """Count a rejected webhook of Alertmanager by its status."""
        self._definitions.alert_webhooks_refused.labels(REFUSALS.get(status, OTHER_REFUSAL)).inc()

    def set_alertmanager_up(self, member: str, *, accepted: bool) -> None:
        """Export whether an Alertmanager (*member*: its host and port) has accepted our incidents."""
        self._definitions.alertmanager_up.labels(member).set(accepted)

    def remove_alertmanager(self, member: str) -> None:
        """Remove the series of an Alertmanager that is not configured any more."""
        self._definitions.alertmanager_up.remove_by_labels({"member": member})

    # The service itself

    def record_reload(self, *, ok: bool, now: datetime) -> None:
        """Export the result of reading the configuration, at start and at each reload."""
        self._definitions.reload_success.set(ok)
        self.config_rejected_at = None if ok else now
        if ok:
            self._definitions.reload_at.set(now.timestamp())

    def set_restart_needed(self, *, needed: bool) -> None:
        """Export whether settings wait for a restart."""
        self._definitions.restart_needed.set(needed)

    def set_monitor_only(self, *, on: bool) -> None:
        """Export whether the mode is monitor-only: mail is monitored and nobody is notified."""
        self._definitions.monitor_only.set(on)

    def set_audit_head(self, head: ChainHead) -> None:
        """Export the number of the last audit entry, and the fingerprint of its hash."""
        self._definitions.audit_entries.set(head.number)
        self._definitions.audit_fingerprint.set(head.fingerprint)

    def set_audit_violations(self, violations: int) -> None:
        """Export the number of violations that the verification of the whole audit log has found."""
        self._definitions.audit_chain_violations.set(violations)

    def set_paper_paused(self, paused_since: datetime | None) -> None:
        """Export since when paper (letters and faxes) is paused; `None`: it is not paused."""
        self._definitions.paper_paused.set(paused_since.timestamp() if paused_since else 0)

    def set_store_up(self, *, available: bool) -> None:
        """Export whether the database is available."""
        self._definitions.store_up.set(available)

    def set_loop_lag(self, lag: timedelta) -> None:
        """Export the maximum lag of the event loop in the last second."""
        self._definitions.loop_lag.set(lag.total_seconds())

    def record_schedule_lag(self, lag: timedelta) -> None:
        """Record the delay of the start of a run."""
        self._definitions.schedule_lag.observe(lag.total_seconds())

    def count_skipped_runs(self, runs: int) -> None:
        """Count runs that were skipped because they could not start in time."""
        self._definitions.runs_skipped.inc(runs)

    def count_discarded_run(self) -> None:
        """Count a run whose result was discarded, because the event loop was blocked or the process suspended."""
        self._definitions.runs_discarded.inc()

    def set_monitoring_faults(self, active_faults: Collection[tuple[str, str]]) -> None:
        """Export the active monitoring faults as pairs of a cause and the name of the mailbox or site, or ""."""
        names_by_cause = {
            cause: self.watchdog.sites if cause == "site" else self._references for cause in MONITORING_FAULTS
        }
        values = {
            (
                _check_label(MONITORING_FAULTS, cause),
                name if name in names_by_cause[cause] or _is_agency_mailbox(name) else "",
            )
            for cause, name in active_faults
        }
        for cause, name in values ^ self._faults:
            if _is_agency_mailbox(name) and (cause, name) not in values:
                # Nearly all of thousands of mailboxes have no fault: remove the series instead of exporting 0.
                self._definitions.monitoring_fault.remove_by_labels({"cause": cause, "reference": name})
            else:
                self._definitions.monitoring_fault.labels(cause, name).set((cause, name) in values)
        self._faults = values

    # Exposition

    def pieces(self, *, open_metrics: bool = False) -> Iterator[bytes]:
        """Yield the exposition in pieces, as `CONTENT_TYPE` or `OPEN_METRICS`.

        The first piece takes some milliseconds: fetch it with `asyncio.to_thread`. Each later piece takes well under
        one.
        """
        return self._definitions.pieces(open_metrics=open_metrics)

    def render(self, *, open_metrics: bool = False) -> bytes:
        """Return all `pieces` of the exposition as one text."""
        return b"".join(self.pieces(open_metrics=open_metrics))


def _exemplar(result: ProbeResult) -> dict[str, str] | None:
    """Return the exemplar of a run for a histogram; `None`: its route's name is too long."""
    run = {"run": result.token_id, "route": result.route}
    # OpenMetrics 1.0 allows 128 characters for all names and values together.
    return run if sum(map(len, (*run.keys(), *run.values()))) <= 128 else None


def _agency_of(mailbox: str) -> str:
    code, _, key = mailbox.partition("/")
    return code if key else NO_AGENCY


def _is_agency_mailbox(mailbox: str) -> bool:
    """Whether a mailbox belongs to an agency: its name is "CODE/key"."""
    return "/" in mailbox


def _check_label(allowed: Collection[str], value: str) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
    return value
