"""Metrics: records events and exports them to Prometheus.

Every label is bounded: agencies, routes and gateways are registered before they get a series and lose it when they are
removed; all other labels are closed sets, or a bounded number of names from an agency's configuration and DNS. A value
is absent until it is proven.
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
from alerts.decide.paper import WAITING, LetterStep
from alerts.engine.processing_result import OpenIncident
from alerts.model.alert import AlertEffect
from alerts.model.channel import Channel
from alerts.model.delivery import NotificationState
from alerts.model.notification import IncidentType, Purpose
from alerts.persistence.audit import ChainHead
from monitor.evaluation.agency import PresentCause
from monitor.evaluation.attribution import RunVerdict
from monitor.evaluation.incident_type import WAYS
from monitor.metrics.checks import CheckSeries
from monitor.metrics.definition import (
    AGENCY_DIRECTIONS,
    DIRECTIONS,
    HOPS,
    MONITORING_FAULTS,
    NO_GATEWAY,
    OF_A_REFERENCE,
    OTHER_REFUSAL,
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

#: Content type of `render`: the text format.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
#: On request, as by Prometheus itself: the same, with exemplars.
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

#: Agency label of control routes between reference mailboxes, and of incidents about Pantau itself.
NO_AGENCY: Final = ""

#: Default limit of routes with phase series. They are seven lines per route: with ten thousand routes as much as all
#: else.
MAX_PHASE_ROUTES: Final = 500

_ARRIVED: Final = frozenset({Outcome.DELIVERED, Outcome.JUNK})

#: The only part of an agency in a family with one series per agency.
_WHOLE: Final = ""


class Metrics:
    """All metrics. Called from the event loop; `pieces` and `render` may be read in another thread."""

    def __init__(self, *, version: str, now: Callable[[], datetime]) -> None:
        self._now = now
        self._pending_since: datetime | None = None
        self._routes: dict[str, set[str]] = {}
        self._phases_of = MAX_PHASE_ROUTES
        #: Routes with phase series.
        self._phased: set[str] = set()
        self._gateways: set[tuple[Channel, str]] = set()
        self._references: set[str] = set()
        #: Active monitoring faults, by cause and reference.
        self._faults: set[tuple[str, str]] = set()
        #: By agency and direction.
        self._evaluated: dict[tuple[str, str], Counter[RunVerdict]] = {}
        #: Open incidents by agency.
        self._open: dict[str, Sequence[OpenIncident]] = {}
        #: By agency, including those that are not monitored: one may come back during its outage.
        self._declared: Mapping[str, IncidentType] = {}
        #: Restored declarations, until the engine has processed all incidents.
        self._declared_before: Mapping[str, IncidentType] = {}
        self._all = Definitions()
        self._checks = CheckSeries(self._all)
        #: On-call metrics.
        self.duty = OnCallSeries(self._all)
        #: Self-monitoring metrics.
        self.watchdog = WatchdogSeries(self._all)
        #: When a configuration was rejected; `None`: the last one was accepted.
        self.refused_at: datetime | None = None
        self._letters_are_late = False
        self._all.oldest_pending.set_function(self._pending_age)
        self._all.build_info.labels(version, platform.python_version()).set(1)
        self.watch_agency(NO_AGENCY, routes=())

    # Subjects

    def watch_agency(self, agency: str, *, routes: Collection[str], checks: Collection[str] | None = None) -> None:
        """Register an agency with its routes and checks, at start and after each reload; others are removed.

        Events of an unregistered agency or route, such as a run that was in flight, get no series. Control routes
        belong to `NO_AGENCY`. *checks*: `None` keeps all.
        """
        had_none = agency in self._routes and not self._routes[agency]
        for route in self._routes.get(agency, set()) - set(routes):
            self.forget_route(agency, route)
        self._routes[agency] = set(routes)
        if not routes and agency != NO_AGENCY:
            # Nothing can be probed yet, which must not cause an alert.
            self.off_hours(agency, active=True)
        elif had_none:
            self._all.off_hours.drop(agency)
        if checks is not None:
            self._checks.keep(agency, checks)
        # Mailboxes may have been replaced; the others report again at their next sign-in.
        self._all.token_expiry.drop(agency)
        self._all.credential_unavailable.drop(agency)
        self._all.used.drop(agency)
        self._show_open(agency, self._open.get(agency, ()))
        self._show_declared(agency)
        self.duty.watch(agency)
        for direction in AGENCY_DIRECTIONS if agency != NO_AGENCY else ("control",):
            self._evaluated.setdefault((agency, direction), Counter())
            self._show_runs(agency, direction)
        self._count_routes()

    def forget_agency(self, agency: str) -> None:
        """Remove every series of an agency."""
        self._phased -= self._routes.pop(agency, set())
        self._open.pop(agency, None)
        self._checks.forget(agency)
        self.duty.forget(agency)
        for direction in DIRECTIONS:
            self._evaluated.pop((agency, direction), None)
        for family in self._all.families:
            family.drop(agency)
        self._count_routes()

    def watch_references(self, names: Collection[str]) -> None:
        """Register the reference mailboxes; others are removed."""
        for gone in self._references - set(names):
            for cause in OF_A_REFERENCE:
                self._all.monitoring_fault.remove_by_labels({"cause": cause, "reference": gone})
        self._faults = {
            (cause, name)
            for cause, name in self._faults
            if cause == "site" or name in {"", *names} or _is_agencys(name)
        }
        self._references = set(names)
        start_at_zero(self._all.monitoring_fault, OF_A_REFERENCE, names)

    def forget_route(self, agency: str, route: str) -> None:
        """Remove every series of a route."""
        self._routes.get(agency, set()).discard(route)
        self._phased.discard(route)
        for family in (self._all.success, self._all.last_success, self._all.last_run, self._all.phase_duration):
            family.drop(agency, route)
        self._count_routes()

    def _count_routes(self) -> None:
        self._watched = sum(map(len, self._routes.values()))
        self._all.routes.set(self._watched)

    def limit_phase_routes(self, routes: int) -> None:
        """Export phases of at most so many routes: of all if there are no more, otherwise of unhealthy ones.

        Effective for each route from its next run on.
        """
        self._phases_of = routes

    def watch_gateway(self, channel: Channel, gateway: str) -> None:
        """Register a gateway for its health and its rejected callbacks."""
        self._gateways.add((channel, gateway))
        start_at_zero(self._all.callbacks_refused, [gateway], REFUSAL_REASONS)
        start_at_zero(self._all.notification_latency, [channel], [gateway], Milestone)

    def forget_gateway(self, channel: Channel, gateway: str) -> None:
        """Remove every series of a gateway."""
        self._gateways.discard((channel, gateway))
        self._all.gateway_up.remove(channel, gateway)
        self._all.receipts_overdue.remove(channel, gateway)
        self._all.notification_latency.remove_by_labels({"channel": channel, "gateway": gateway})
        if all(name != gateway for _, name in self._gateways):
            self._all.callbacks_refused.remove_by_labels({"gateway": gateway})

    # Ownership

    def agencies_shared(self, *, owned: int, unowned: int = 0) -> None:
        """Export how many agencies this process probes, and how many it should and does not yet."""
        self._all.owned.set(owned)
        self._all.takeover_pending.set(unowned)

    def agencies_lacking(self, count: int) -> None:
        """Export for how many agencies other processes have documents that this one lacks."""
        self._all.config_missing.set(count)

    def agencies_taken_over(self, count: int) -> None:
        """Count agencies taken over from another process."""
        self._all.takeovers.inc(count)

    # Probe results

    def probe_finished(
        self, result: ProbeResult, *, agency: str, direction: str, site: str, went_well: bool = True
    ) -> None:
        """Count a run. An inconclusive one leaves the route's series unchanged.

        *went_well*: its message arrived in time, and was accepted in time.
        """
        self._all.outcomes.labels(_one_of(DIRECTIONS, direction), result.outcome).inc()
        transit = result.phases.get(Phase.TRANSIT)
        if result.outcome in _ARRIVED and transit is not None:
            self._all.transit.labels(direction).observe(transit.total_seconds(), _exemplar(result))
        if (data := result.phases.get(Phase.DATA)) is not None:
            self._all.smtp_data.labels(direction).observe(data.total_seconds(), _exemplar(result))
        route = result.route
        if route not in self._routes.get(agency, ()):
            return
        ended_at = int((result.started_at + result.duration).timestamp())
        self._all.last_run.put(agency, route, [((agency, route), ended_at)])
        if result.outcome is Outcome.INCONCLUSIVE:
            return
        delivered = result.outcome is Outcome.DELIVERED
        self._all.success.put(agency, route, [((agency, route, direction, site), delivered)])
        if delivered:
            self._all.last_success.put(agency, route, [((agency, route), ended_at)])
        self._show_phases(result, agency, went_well=delivered and went_well)

    def _show_phases(self, result: ProbeResult, agency: str, *, went_well: bool) -> None:
        route = result.route
        told_of = len(self._phased) - (route in self._phased)
        if self._watched > self._phases_of and (went_well or told_of >= self._phases_of):
            self._phased.discard(route)
            self._all.phase_duration.drop(agency, route)
            return
        self._phased.add(route)
        # Unfinished phases have no value, not that of an earlier run. The answer to the message is part of the
        # submission, and has a histogram.
        handed_over = [span for phase in (Phase.SUBMIT, Phase.DATA) if (span := result.phases.get(phase)) is not None]
        told = {
            **result.phases,
            Phase.SUBMIT: sum(handed_over, timedelta(0)) if handed_over else None,
            Phase.DATA: None,
        }
        spans = [(phase, span) for phase in Phase if (span := told.get(phase)) is not None]
        self._all.phase_duration.put(agency, route, [((route, phase), span.total_seconds()) for phase, span in spans])

    def expected(self, agency: str, *, run_by: datetime, proof_by: datetime) -> None:
        """Export by when a run of an agency's next route must end, and by when a delivery must succeed."""
        if agency in self._routes:
            self._all.run_overdue.put(agency, _WHOLE, [((agency,), int(run_by.timestamp()))])
            self._all.success_overdue.put(agency, _WHOLE, [((agency,), int(proof_by.timestamp()))])

    def nothing_expected(self, agency: str) -> None:
        """Export that no run of an agency is due."""
        self._all.run_overdue.drop(agency)
        self._all.success_overdue.drop(agency)

    def runs_judged(self, agency: str, direction: str, verdict: RunVerdict, runs: int) -> None:
        """Count runs by verdict: monitoring faults are no failures of an agency."""
        if (evaluated := self._evaluated.get((agency, _one_of(DIRECTIONS, direction)))) is not None:
            evaluated[verdict] += runs
            self._show_runs(agency, direction)

    def _show_runs(self, agency: str, direction: str) -> None:
        evaluated = self._evaluated[agency, direction]
        shown = [((agency, direction, verdict), evaluated[verdict]) for verdict in RunVerdict]
        self._all.runs.put(agency, direction, shown)

    def path_known(self, agency: str, direction: str, path: Path) -> None:
        """Export the delay between relays, and the difference of their clocks to ours.

        For one agency also the slowest relay, if it was slow. Relays without a noticeable difference have a skew of 0;
        headers without times change nothing.
        """
        _one_of(DIRECTIONS, direction)
        for place, hop in enumerate(path.hops):
            name = HOPS[min(place, len(HOPS) - 1)]
            self._all.hop_delay.labels(direction, name).observe(hop.delay.total_seconds())
        if agency in self._routes and path.hops:
            place, slowest = max(enumerate(path.hops), key=lambda each: each[1].delay)
            labels = (agency, direction, HOPS[min(place, len(HOPS) - 1)])
            is_slow = slowest.delay >= SLOW_HOP
            self._all.slowest_hop.put(agency, direction, [(labels, slowest.delay.total_seconds())] if is_slow else [])
        if agency in self._routes and (path.hops or path.skew is not None):
            skew = path.skew.total_seconds() if path.skew is not None else 0.0
            self._all.relay_clock_skew.put(agency, direction, [((agency, direction), skew)])

    def arrived(self, arrival: Arrival, *, direction: str | None = None, transit: timedelta | None = None) -> None:
        """Count a message without a waiting run; of a late one also its delay."""
        self._all.arrivals.labels(arrival).inc()
        if arrival is Arrival.LATE and direction is not None and transit is not None:
            self._all.transit.labels(_one_of(DIRECTIONS, direction)).observe(transit.total_seconds())

    def mail_judged(self, agency: str, direction: str, *, up: bool | None, degraded: bool = False) -> None:
        """Export an agency's health; `None` (unknown) removes the series."""
        _one_of(AGENCY_DIRECTIONS, direction)
        if up is None or (up and not degraded):
            self._all.failure_cause.drop(agency, direction)
        if up is None:
            self._all.mail_up.drop(agency, direction)
            self._all.mail_degraded.drop(agency, direction)
        elif agency in self._routes:
            self._all.mail_up.put(agency, direction, [((agency, direction), up)])
            self._all.mail_degraded.put(agency, direction, [((agency, direction), up and degraded)])

    def cause_known(self, agency: str, direction: str, cause: PresentCause) -> None:
        """Export why mail is down or degraded in a direction, until it is healthy or unknown."""
        if agency in self._routes:
            labels = (agency, _one_of(AGENCY_DIRECTIONS, direction), cause.outcome, cause.party)
            self._all.failure_cause.put(agency, direction, [(labels, 1)])

    def restore_declared(self, declared: Mapping[str, IncidentType]) -> None:
        """Export declarations from before the start, until the engine has processed all incidents."""
        self._declared_before = declared
        self.outages_declared({}, all_known=False)

    def outages_declared(self, declared: Mapping[str, IncidentType], *, all_known: bool) -> None:
        """Export declared outages in the directions of their type, and remove all others.

        *all_known*: every open incident has been processed; otherwise restored ones stay.
        """
        unseen = {} if all_known else {a: said for a, said in self._declared_before.items() if a not in declared}
        self._declared_before = unseen
        before, self._declared = self._declared, {**unseen, **declared}
        for agency in before.keys() | self._declared.keys():
            if before.get(agency) is not self._declared.get(agency):
                self._show_declared(agency)

    def _show_declared(self, agency: str) -> None:
        said = self._declared.get(agency)
        self._all.declared.drop(agency)
        if said is not None and agency in self._routes:
            self._all.declared.put(agency, _WHOLE, [((agency, way), 1) for way in WAYS.get(said, ())])

    def ended_by_hand(self, agency: str, *, is_so: bool) -> None:
        """Export whether a person has closed an incident that is still detected."""
        self._all.closed_manually.drop(agency)
        if is_so and agency in self._routes:
            self._all.closed_manually.put(agency, _WHOLE, [((agency,), 1)])

    def outage_agreed(self, agency: str, ways: Collection[Direction], *, is_known: bool) -> None:
        """Export the *ways* that are down by a quorum of sites; removed unless *is_known*."""
        self._all.quorum_outage.drop(agency)
        if is_known and agency in self._routes:
            shown = [((agency, way), way in ways) for way in WAYS[IncidentType.BOTH]]
            self._all.quorum_outage.put(agency, _WHOLE, shown)

    def disputed(self, agency: str, *, is_so: bool | None) -> None:
        """Export whether sites contradict each other about an agency; `None` removes the series."""
        self._all.disputed.drop(agency)
        if is_so is not None and agency in self._routes:
            self._all.disputed.put(agency, _WHOLE, [((agency,), is_so)])

    def incidents_departed(self, count: int) -> None:
        """Export how many incidents of removed agencies are open."""
        self._all.orphaned.set(count)

    def maintenance(self, agency: str, *, active: bool) -> None:
        """Export whether an agency is in maintenance."""
        if agency in self._routes:
            self._all.maintenance.put(agency, _WHOLE, [((agency,), active)])

    def off_hours(self, agency: str, *, active: bool) -> None:
        """Export whether an agency is outside its active hours."""
        if agency in self._routes:
            self._all.off_hours.put(agency, _WHOLE, [((agency,), active)])

    def checks_finished(self, agency: str, kind: str, findings: Sequence[Finding], at: datetime) -> None:
        """Replace the findings of a kind of check.

        Unknown ones are counted and have no state. Of one kind and agency at most `FINDINGS_AT_MOST` are exported, the
        worst.
        """
        if agency not in self._routes:
            return
        self._checks.show(agency, kind, findings, at)

    def token_known(self, mailbox: str, expires_at: datetime | None) -> None:
        """Export when the access token of *mailbox* expires; `None`: its issuer does not say.

        An agency's mailbox is called "CODE/key", a reference mailbox by its key.
        """
        agency = _owner_of(mailbox)
        if expires_at is None:
            self._all.token_expiry.drop(agency, mailbox)
        elif agency in self._routes:
            self._all.token_expiry.put(agency, mailbox, [((agency, mailbox), expires_at.timestamp())])

    def mailbox_seen(self, mailbox: str, *, locked: bool) -> None:
        """Export whether the secret of *mailbox*, called as in `token_known`, is unavailable."""
        agency = _owner_of(mailbox)
        if not locked:
            self._all.credential_unavailable.drop(agency, mailbox)
        elif agency in self._routes:
            self._all.credential_unavailable.put(agency, mailbox, [((agency, mailbox), 1)])

    def mail_undeleted(self, mailbox: str, count: int) -> None:
        """Export how many of our messages remain in *mailbox*, called as in `token_known`, after their deletion."""
        agency = _owner_of(mailbox)
        self._all.undeleted.drop(agency, mailbox)
        if count and agency in self._routes:
            self._all.undeleted.put(agency, mailbox, [((agency, mailbox), count)])

    def mailbox_used(self, mailbox: str, share: float | None) -> None:
        """Export the used share of the quota of *mailbox*, called as in `token_known`; 1: full, `None`: unknown."""
        agency = _owner_of(mailbox)
        self._all.used.drop(agency, mailbox)
        if share is not None and agency in self._routes:
            self._all.used.put(agency, mailbox, [((agency, mailbox), share)])

    # Notifications

    def notice_entered(self, channel: Channel, purpose: Purpose, state: NotificationState) -> None:
        """Count a notification that has reached *state*, once that is stored."""
        self._all.notifications.labels(channel, purpose, state).inc()

    def told(self, telling: NotificationLatency) -> None:
        """Record the latency of a milestone, for a registered gateway."""
        channel, gateway = telling.channel, telling.gateway
        if (channel, gateway) in self._gateways:
            series = self._all.notification_latency.labels(channel, gateway, telling.milestone)
            series.observe(telling.took.total_seconds(), {"incident": telling.incident})

    def cycle_finished(
        self, now: datetime, oldest_pending: datetime | None, open_incidents: Collection[OpenIncident]
    ) -> None:
        """Record that the engine is alive, the open incidents by agency, and the age of the oldest notification.

        Incidents about Pantau belong to `NO_AGENCY`. The age is computed at each scrape, so that it grows when the
        engine stops.
        """
        is_first = self.watchdog.cycled_at is None
        self._all.cycle_at.set(now.timestamp())
        self.watchdog.cycled_at = now
        self._pending_since = oldest_pending
        by_agency: dict[str, list[OpenIncident]] = {agency: [] for agency in self._open}
        for incident in open_incidents:
            if incident.agency in self._routes:
                by_agency.setdefault(incident.agency, []).append(incident)
        for agency, theirs in by_agency.items():
            if is_first or self._open.get(agency) != theirs:
                self._show_open(agency, theirs)

    @property
    def open_incidents(self) -> int | None:
        """Number of open incidents; `None`: the engine has not run since the start."""
        return None if self.watchdog.cycled_at is None else sum(map(len, self._open.values()))

    def _show_open(self, agency: str, incidents: Sequence[OpenIncident]) -> None:
        self._open[agency] = incidents
        # Unknown until the engine has run.
        count = math.nan if self.watchdog.cycled_at is None else len(incidents)
        self._all.incidents_open.put(agency, _WHOLE, [((agency,), count)])
        opened = [((agency, each.number), each.opened_at.timestamp()) for each in incidents]
        self._all.incident_opened.put(agency, _WHOLE, opened)

    def _pending_age(self) -> float:
        if self.watchdog.cycled_at is None:
            return math.nan  # Unknown until the engine has run.
        since = self._pending_since
        return 0.0 if since is None else max(0.0, (self._now() - since).total_seconds())

    def notices_bundled(self, channel: Channel, notices: int) -> None:
        """Count notifications that joined a bundle."""
        self._all.notifications_bundled.labels(channel).inc(notices)

    def notices_held(self, channel: Channel, brake: RateLimitScope, notices: int) -> None:
        """Count notifications that a rate limit delays from now on."""
        self._all.notifications_throttled.labels(channel, brake).inc(notices)

    def letters_known(self, steps: Mapping[LetterStep, int] | None, *, overdue: int) -> None:
        """Export how many letters wait in the trays, and how many are late; `None`: unknown."""
        if steps is not None:
            self._letters_are_late = overdue > 0
            self._all.letters_overdue.set(overdue)
        elif not self._letters_are_late:
            # The number of late letters is unknown until postings can be recorded.
            self._all.letters_overdue.set(math.nan)
        for step in WAITING:
            if steps is None:
                self._all.letters.remove(step)
            else:
                self._all.letters.labels(step).set(steps.get(step, 0))

    def nobody_on_call(self, agency: str, rotas: int) -> None:
        """Count rotas of a started step without anybody on call."""
        self.duty.deserted(agency, rotas)

    def gateway_judged(self, channel: Channel, gateway: str, *, up: bool | None) -> None:
        """Export whether a gateway works; `None` (unknown) removes the series."""
        if up is None:
            self._all.gateway_up.remove(channel, gateway)
        elif (channel, gateway) in self._gateways:
            self._all.gateway_up.labels(channel, gateway).set(up)

    def gateway_doubted(self, channel: Channel, gateway: str, *, doubted: bool | None) -> None:
        """Export whether a gateway's receipts are overdue; `None` (no baseline) removes the series."""
        if doubted is None:
            self._all.receipts_overdue.remove(channel, gateway)
        elif (channel, gateway) in self._gateways:
            self._all.receipts_overdue.labels(channel, gateway).set(doubted)

    def callback_refused(self, gateway: str, reason: str) -> None:
        """Count a rejected callback; *reason* is one of `REFUSALS`.

        Both values come from unauthenticated clients: unknown ones become "none" and "other", never a label.
        """
        known = any(name == gateway for _, name in self._gateways)
        self._all.callbacks_refused.labels(
            gateway if known else NO_GATEWAY, reason if reason in REFUSAL_REASONS else OTHER_REFUSAL
        ).inc()

    def alerts_received(self, news: AlertEffect, alerts: int) -> None:
        """Count the effects of alerts from Alertmanager."""
        self._all.alerts_received.labels(news).inc(alerts)

    def alert_webhook_refused(self, status: int) -> None:
        """Count a rejected webhook of Alertmanager by its status."""
        self._all.alert_webhooks_refused.labels(REFUSALS.get(status, OTHER_REFUSAL)).inc()

    def alertmanager_notified(self, member: str, *, taken: bool) -> None:
        """Export whether an Alertmanager has accepted our incidents."""
        self._all.alertmanager_up.labels(member).set(taken)

    def forget_alertmanager(self, member: str) -> None:
        """Remove the series of an Alertmanager that is not configured any more."""
        self._all.alertmanager_up.remove_by_labels({"member": member})

    # The service itself

    def reload_finished(self, *, ok: bool, now: datetime) -> None:
        """Export the result of reading the configuration, at start and at each reload."""
        self._all.reload_success.set(ok)
        self.refused_at = None if ok else now
        if ok:
            self._all.reload_at.set(now.timestamp())

    def restart_needed(self, *, needed: bool) -> None:
        """Export whether settings wait for a restart."""
        self._all.restart_needed.set(needed)

    def monitor_only(self, *, on: bool) -> None:
        """Export monitor-only mode."""
        self._all.monitor_only.set(on)

    def audit_head(self, head: ChainHead) -> None:
        """Export the head of the audit log."""
        self._all.audit_entries.set(head.number)
        self._all.audit_fingerprint.set(head.fingerprint)

    def audit_followed(self, flaws: int) -> None:
        """Export the result of verifying the audit log from its beginning."""
        self._all.audit_chain_violations.set(flaws)

    def paper_judged(self, held_since: datetime | None) -> None:
        """Export since when paper is paused; `None`: it is not."""
        self._all.paper_paused.set(held_since.timestamp() if held_since else 0)

    def store_judged(self, *, there: bool) -> None:
        """Export whether the database is available."""
        self._all.store_up.set(there)

    def loop_lagged(self, lag: timedelta) -> None:
        """Export the maximum lag of the event loop in the last second."""
        self._all.loop_lag.set(lag.total_seconds())

    def schedule_lagged(self, lag: timedelta) -> None:
        """Count a run by the delay of its start."""
        self._all.schedule_lag.observe(lag.total_seconds())

    def runs_skipped(self, runs: int) -> None:
        """Count runs that were skipped because they could not start in time."""
        self._all.runs_skipped.inc(runs)

    def run_disbelieved(self) -> None:
        """Count a run that was inconclusive because this process was suspended."""
        self._all.runs_discarded.inc()

    def own_faults(self, present: Collection[tuple[str, str]]) -> None:
        """Export the active monitoring faults: causes, each with the name of the mailbox or site, or ""."""
        named = {cause: self.watchdog.sites if cause == "site" else self._references for cause in MONITORING_FAULTS}
        shown = {
            (_one_of(MONITORING_FAULTS, cause), name if name in named[cause] or _is_agencys(name) else "")
            for cause, name in present
        }
        for cause, name in shown ^ self._faults:
            if _is_agencys(name) and (cause, name) not in shown:
                # Nearly all of thousands are healthy, and are removed.
                self._all.monitoring_fault.remove_by_labels({"cause": cause, "reference": name})
            else:
                self._all.monitoring_fault.labels(cause, name).set((cause, name) in shown)
        self._faults = shown

    # Exposition

    def pieces(self, *, open_metrics: bool = False) -> Iterator[bytes]:
        """Return the exposition (`CONTENT_TYPE`, or `OPEN_METRICS` with exemplars), a piece at a time.

        The first piece takes some milliseconds: fetch it with `asyncio.to_thread`. The others take well under one.
        """
        return self._all.pieces(open_metrics=open_metrics)

    def render(self, *, open_metrics: bool = False) -> bytes:
        """Return the exposition as one text, as `pieces`."""
        return b"".join(self.pieces(open_metrics=open_metrics))


def _exemplar(result: ProbeResult) -> dict[str, str] | None:
    """Return the exemplar of a run for a histogram; `None`: its route's name is too long."""
    run = {"run": result.token_id, "route": result.route}
    # OpenMetrics 1.0: 128 characters, of all names and values.
    return run if sum(map(len, (*run.keys(), *run.values()))) <= 128 else None


def _owner_of(mailbox: str) -> str:
    code, _, key = mailbox.partition("/")
    return code if key else NO_AGENCY


def _is_agencys(mailbox: str) -> bool:
    """Whether a mailbox belongs to an agency: its name is "CODE/key"."""
    return "/" in mailbox


def _one_of(closed: Collection[str], value: str) -> str:
    if value not in closed:
        raise ValueError(f"{value!r} is none of {', '.join(closed)}")
    return value
