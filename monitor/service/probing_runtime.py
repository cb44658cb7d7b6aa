"""Objects that probe and evaluate mail by one configuration, and the transition to the next configuration.

A *route* is mail from one mailbox to another; a *run* is one probe message on it. Control routes, between the reference
mailboxes of Pantau, belong to the agency "". A *shard* is the set of agencies that one process probes; a change of
shards changes only which process probes which agency (docs/adr/0061). A reload affects only the objects whose settings
have changed (docs/adr/0026).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache, partial
from typing import NoReturn

import structlog

from alerts.model.incident import Incident
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.bridge.incident_policy import agency_of, monitoring_fault_policy
from monitor.bridge.incident_reporter import (
    HUB_FAULT_PREFIXES,
    QUORUM_FAULT_KEY,
    SITE_FAULT_PREFIX,
    Alerting,
    IncidentPolicies,
    IncidentReporter,
    outages_of,
)
from monitor.bridge.pipeline import ResultPipeline
from monitor.config.files.problem import Problem, Severity
from monitor.config.loading import Configuration
from monitor.config.model.registry import Agency, Registry, build_check_scope
from monitor.config.model.settings import Settings
from monitor.config.service.mail_provider import build_mail_providers
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.flapping import FlappingPolicy
from monitor.evaluation.health_tracker import GradedRun
from monitor.evaluation.incident_type import can_prove_end
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.metrics import NO_AGENCY, Metrics
from monitor.model.difference import Difference, difference
from monitor.model.health import Health, HealthPolicy
from monitor.model.route import MonitoredRoute
from monitor.model.window import Hours
from monitor.planning.check_run import CheckAssignment, assignments
from monitor.planning.ownership import UNSHARDED, Shard
from monitor.probing.check_runner import CheckRunner
from monitor.probing.lag import LagMeter
from monitor.probing.prober import Prober
from monitor.runtime.cooperative import yielding
from monitor.runtime.plugins import ROUND_TRIP, check_kinds, probe_kinds
from monitor.service.orphaned_incidents import CLOSING_DELAY
from monitor.store.engine.incidents import OpenIncidentSummary
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.history import History, SentToken
from probes.mail.token import TokenSigner
from probes.model.mailbox import Mailbox, OAuth, UnavailableLogin

log = structlog.get_logger()

#: Interval at which the metrics of mailboxes are exported.
_METRICS_INTERVAL = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeContext:
    """Dependencies of a runtime. They live longer than a runtime."""

    signer: TokenSigner
    store: SqlStore
    history: History
    #: Processes incident events, and notifies people.
    alerting: Alerting
    metrics: Metrics
    clock: Clock
    #: Whether a hub, which decides by the statuses of several sites, may read the statuses of this site.
    is_read_by_hub: bool = False
    #: Since when the site has evaluated health without interruption
    #: (`monitor.evaluation.joint.freshness.continuous_since`).
    continuous_since: Callable[[], datetime | None] = lambda: None
    #: Lag of the event loop, measured by its owner.
    lag: LagMeter = field(default_factory=LagMeter)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbingRuntime:
    """An applied configuration with the objects that work by it. The next runtime has the same objects, adapted."""

    configuration: Configuration
    #: The routes that this process probes, by name.
    routes: Mapping[str, MonitoredRoute]
    #: Evaluator of these routes: from runs to health.
    evaluator: HealthEvaluator
    #: Opens and resolves incidents by the health of agencies.
    reporter: IncidentReporter
    #: Passes each result of the prober to the history, the evaluator and the reporter.
    pipeline: ResultPipeline
    #: Sends and receives the probe messages.
    prober: Prober
    #: Runs the checks, such as DKIM, of agencies and reference mailboxes.
    check_runner: CheckRunner
    #: Newest received message of each agency, by code, for the DKIM check. The prober writes it; the checks read it.
    sample_messages: MutableMapping[str, bytes]
    shard: Shard
    #: The agencies that this process probes, by code.
    owned: AbstractSet[str]
    #: Evaluator of the routes that other processes probe. It has the health that they have stored, and no runs.
    peer_evaluator: HealthEvaluator

    def evaluator_of(self, agency: str) -> HealthEvaluator:
        """Return the evaluator of an agency's routes; for "", of the control routes of this process."""
        # Do not use `owned`: during a change of shards it still contains the old set of agencies.
        return self.peer_evaluator if self.peer_evaluator.has_agency(agency) else self.evaluator

    def probed_by(self, agency: str) -> str:
        """Return the name of the other process that probes an agency; "": this process probes it."""
        return "" if agency in self.owned else self.shard.owner(agency)

    def is_unevaluated(self, agency: str) -> bool:
        """Whether this process has not evaluated an agency's mail since its start."""
        return agency not in self.owned or not self.evaluator.mail(agency).is_current

    def failing_routes(self, agency: str) -> AbstractSet[str]:
        """Return the routes of an agency that are unhealthy at this site, or at another site whose vote counts."""
        return {*self.evaluator_of(agency).mail(agency).unhealthy_routes(), *self.reporter.failing_routes(agency)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredState:
    """Stored state of routes and agencies that this process begins to monitor."""

    #: By subject (the name of a route or of a component of Pantau): health, and since when.
    healths: Mapping[str, tuple[Health, datetime]] = field(default_factory=dict)
    #: By subject: its latest runs, for the failure and success thresholds.
    streaks: Mapping[str, Sequence[GradedRun]] = field(default_factory=dict)
    #: By route: since when its server has deferred messages (a temporary rejection, such as greylisting).
    deferrals: Mapping[str, datetime] = field(default_factory=dict)
    #: Recent falls (beginnings of detected incidents), by dedup key.
    falls: Mapping[str, Sequence[datetime]] = field(default_factory=dict)
    #: Dedup keys of the incidents that stay open until flapping stops.
    flapping: AbstractSet[str] = frozenset()
    #: Detected types of the open incidents, by dedup key.
    open_incidents: Mapping[str, IncidentType] = field(default_factory=dict)
    #: Open detected incidents by dedup key: since when each has its reported type, and when that was first reported.
    outages: Mapping[str, tuple[datetime, datetime]] = field(default_factory=dict)
    #: By agency: the type of its open incident that a person has declared, independently of the probes.
    declared: Mapping[str, IncidentType] = field(default_factory=dict)
    #: Messages that were sent before, by the token that identifies each.
    sent_tokens: Mapping[str, SentToken] = field(default_factory=dict)
    #: Since when the site has evaluated health without interruption.
    continuous_since: datetime | None = None

    def restore_to(
        self, evaluator: HealthEvaluator, routes: Iterable[MonitoredRoute], agencies: Collection[str], now: datetime
    ) -> None:
        """Restore the state of *routes* and *agencies* in *evaluator*, which has just gained them."""
        names = {route.name for route in routes}
        evaluator.restore_continuity([route.name for route in routes if route.agency], self.continuous_since, now)
        # Subjects that are not routes are the components of Pantau itself.
        component_healths = {name: health for name, health in self.healths.items() if name not in evaluator.routes}
        evaluator.restore({name: health for name, health in self.healths.items() if name in names} | component_healths)
        evaluator.restore_streaks({name: runs for name, runs in self.streaks.items() if name in names}, now)
        arrivals = {
            sent.route: sent.at for sent in self.sent_tokens.values() if sent.has_arrived and sent.route in names
        }
        evaluator.restore_arrivals(arrivals)
        evaluator.restore_deferrals({name: since for name, since in self.deferrals.items() if name in names})
        # Keys with a slash are components of Pantau. If the evaluator has newer falls of a component, it keeps them.
        falls = {key: at for key, at in self.falls.items() if key in agencies or "/" in key}
        evaluator.restore_falls(falls, self.open_incidents.keys(), self.flapping)


async def make_runtime(
    configuration: Configuration, context: RuntimeContext, shard: Shard = UNSHARDED
) -> ProbingRuntime:
    """Build the runtime of a shard. It continues from the stored state. Raise `StoreUnavailable`."""
    settings, registry = configuration.settings, configuration.registry
    owned = shard.owned(registry.agencies)
    routes = {route.name: route for route in registry.routes if _is_probed(route, owned)}
    state = await _read_stored_state(routes.values(), settings, context)
    evaluator = HealthEvaluator(routes.values(), _health_policy(settings), settings.flapping.build())
    state.restore_to(evaluator, routes.values(), owned, context.clock.now())
    # Subjects that are not routes are the components of Pantau; only a start restores their streaks.
    component_streaks = {name: runs for name, runs in state.streaks.items() if name not in routes}
    evaluator.restore_streaks(component_streaks, context.clock.now())
    sample_messages: dict[str, bytes] = {}
    agencies = (*(code for code in registry.agencies if code in owned), NO_AGENCY)
    check_assignments = _assign_checks(configuration, agencies, sample_messages)
    # Create all metrics now, before they can be scraped.
    context.metrics.restore_declared(state.declared)
    await register_metrics(context.metrics, configuration, check_assignments, agencies)
    _log_pool_members(registry)
    context.metrics.set_agency_ownership(owned=len(owned))
    context.metrics.set_agencies_without_config(0)
    reporter = IncidentReporter(
        policies=_policies(configuration, owned),
        alerting=context.alerting,
        metrics=context.metrics,
        clock=context.clock,
        site=settings.site,
        open_incidents=_own_open_incidents(state.open_incidents, owned),
        open_keys=partial(_detected_keys, context.store),
        quorum=settings.hub.build(settings.site) if settings.hub else None,
        other_sites=settings.hub.sites.keys() if settings.hub else frozenset(),
        flapping=settings.flapping.build(),
    )
    reporter.restore_falls(state.falls, state.flapping)
    reporter.restore_outages(state.outages)
    _resolve_removed_sites(reporter, settings, context.clock.now())
    pipeline = ResultPipeline(
        evaluator=evaluator,
        routes=evaluator.routes,
        history=context.history,
        reporter=reporter,
        metrics=context.metrics,
        clock=context.clock,
        site=settings.site,
        process=settings.process_name,
        writes_all=context.is_read_by_hub,
    )
    prober = Prober(
        routes=routes,
        kind=probe_kinds()[ROUND_TRIP],
        signer=context.signer,
        evaluator=evaluator,
        pipeline=pipeline,
        history=context.history,
        metrics=context.metrics,
        clock=context.clock,
        known_tokens=state.sent_tokens,
        # If other processes are alive, continue after their last runs. Otherwise start each route at its own offset.
        last_runs=_last_runs(routes.values(), context.history) if len(shard.alive) > 1 else {},
        mail_providers=build_mail_providers(settings.mail_providers),
        sample_messages=sample_messages,
        lag=context.lag,
    )
    check_runner = CheckRunner(check_assignments, latest={}, metrics=context.metrics, clock=context.clock)
    other_routes = [route for route in registry.routes if not _is_probed(route, owned)]
    peer_evaluator = HealthEvaluator(other_routes, _health_policy(settings), settings.flapping.build())
    peer_evaluator.restore(state.healths)
    return ProbingRuntime(
        configuration=configuration,
        routes=routes,
        evaluator=evaluator,
        reporter=reporter,
        pipeline=pipeline,
        prober=prober,
        check_runner=check_runner,
        sample_messages=sample_messages,
        shard=shard,
        owned=owned,
        peer_evaluator=peer_evaluator,
    )


def _log_pool_members(registry: Registry) -> None:
    """Log which mailbox of each pool this process uses. A pool gives each process its own mailbox of a reference."""
    for name, configured in registry.mailboxes.items():
        if configured.mailbox.pooled:
            log.info("pool mailbox selected", reference=name, address=configured.mailbox.address)


def _resolve_removed_sites(reporter: IncidentReporter, settings: Settings, now: datetime) -> None:
    """Resolve the hub's incidents about sites that are no longer configured: nothing else would resolve them."""
    configured_sites = settings.hub.sites if settings.hub else {}
    monitored_keys = {f"{SITE_FAULT_PREFIX}{name}" for name in configured_sites}
    if configured_sites:
        monitored_keys.add(QUORUM_FAULT_KEY)
    for key in list(reporter.reported_types):
        if key.startswith(HUB_FAULT_PREFIXES) and key not in monitored_keys:
            reporter.record_status(settings.site, key, SiteStatus(up_since=now))


def _is_probed(route: MonitoredRoute, owned: AbstractSet[str]) -> bool:
    # Every process probes the control routes: they depend on its machine and network.
    return route.agency == NO_AGENCY or route.agency in owned


def _own_open_incidents(reported: Mapping[str, IncidentType], owned: AbstractSet[str]) -> Mapping[str, IncidentType]:
    """Return the reported problems that this process resolves: of its agencies, and of Pantau itself."""
    return {
        key: incident_type
        for key, incident_type in reported.items()
        if (agency := agency_of(key)) is None or agency in owned
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationChange:
    """Prepared change to another configuration or shard. `apply_change` applies it, and cannot fail."""

    configuration: Configuration
    #: The routes, and the codes of the agencies, that this process probes after the change.
    routes: Mapping[str, MonitoredRoute]
    shard: Shard
    owned: AbstractSet[str]
    #: Difference between the present routes of this process and *routes*.
    difference: Difference
    #: Stored state of the gained routes and agencies.
    stored_state: _StoredState
    #: Codes of the agencies that may have changed; "" stands for the control routes.
    affected_agencies: Collection[str]
    #: Assignments of checks to the agencies in `affected_agencies`.
    check_assignments: Sequence[CheckAssignment]
    #: Start of the latest run of each route that is taken over from another process, by route name.
    last_runs: Mapping[str, datetime] = field(default_factory=dict)


async def prepare_change(
    runtime: ProbingRuntime,
    configuration: Configuration,
    context: RuntimeContext,
    shard: Shard | None = None,
    limit: int | None = None,
) -> ConfigurationChange:
    """Return what *configuration* and *shard* change, with the stored state of the gained routes.

    *limit*: the maximum number of agencies that this change gains. Raise `StoreUnavailable`.
    """
    shard = shard or runtime.shard
    # Compare in a thread: thousands of agencies may have changed.
    change = await asyncio.to_thread(_compute_change, runtime, configuration, shard, limit)
    if not (gained := change.difference.added):
        return change
    # With several live processes, read only the gained routes: most of the stored state belongs to other processes.
    route_names = None if len(shard.alive) == len(runtime.shard.alive) == 1 else {route.name for route in gained}
    state = await _read_stored_state(gained, configuration.settings, context, route_names)
    last_runs: Mapping[str, datetime] = {}
    known_agencies = runtime.configuration.registry.agencies.keys()
    taken_over = {route.agency for route in gained} & configuration.registry.agencies.keys() - runtime.owned
    if len(shard.alive) == 1:
        # No other process is alive, so agencies that are new in the configuration have no runs.
        taken_over &= known_agencies
    if taken_over:
        await context.history.refresh_latest(taken_over)
        last_runs = _last_runs(gained, context.history)
    return replace(change, stored_state=state, last_runs=last_runs)


def _last_runs(routes: Iterable[MonitoredRoute], history: History) -> Mapping[str, datetime]:
    known = history.known()
    return {route.name: known[route.name].started_at for route in routes if route.name in known}


def _compute_change(
    runtime: ProbingRuntime, configuration: Configuration, shard: Shard, limit: int | None
) -> ConfigurationChange:
    owned = shard.owned(configuration.registry.agencies)
    if limit is not None:
        owned = (owned & runtime.owned) | {*sorted(owned - runtime.owned)[:limit]}
    routes = {route.name: route for route in configuration.registry.routes if _is_probed(route, owned)}
    changed_routes = difference(runtime.routes, routes)
    affected_agencies = [
        code
        for code in _affected_agencies(runtime.configuration, configuration, changed_routes)
        if code == NO_AGENCY or code in owned
    ]
    return ConfigurationChange(
        configuration=configuration,
        routes=routes,
        shard=shard,
        owned=owned,
        difference=changed_routes,
        stored_state=_StoredState(),
        affected_agencies=affected_agencies,
        check_assignments=_assign_checks(configuration, affected_agencies, runtime.sample_messages),
    )


async def apply_change(runtime: ProbingRuntime, change: ConfigurationChange, context: RuntimeContext) -> ProbingRuntime:
    """Apply a change to the objects of *runtime*, and return the new runtime.

    Unchanged routes continue: their runs in progress, mailbox watchers, streaks, quotas, and places in the schedule.
    """
    before, after, changed_routes = runtime.configuration, change.configuration, change.difference
    owned_before, owned_after = runtime.owned, change.owned
    # Agencies that stay configured, and that another process probes from now on.
    handed_over = (owned_before - owned_after) & after.registry.agencies.keys()
    evaluator, reporter, prober = runtime.evaluator, runtime.reporter, runtime.prober
    own_healths = evaluator.healths() if handed_over else {}
    if changed_routes.removed:
        await prober.remove_routes(changed_routes.removed)
        evaluator.remove_routes(changed_routes.removed)
        # Remove their latest runs from memory, too: if another process probes these routes, the runs become outdated.
        context.history.forget(route.name for route in changed_routes.removed)
    _update_peer_evaluator(runtime.peer_evaluator, change, own_healths)
    # Await nothing between the removal from the evaluator and this transfer: meanwhile the reporter would resolve the
    # problems of these agencies.
    reporter.transfer_agencies(handed_over)
    for agency in handed_over:
        context.metrics.unregister_agency(agency)
    if before.settings.mail_providers != after.settings.mail_providers:
        prober.set_mail_providers(build_mail_providers(after.settings.mail_providers))
    if changed_routes.changed:
        # Replace them in the prober first: until then, runs that end are evaluated by the old settings.
        await prober.replace_routes(changed_routes.changed)
        evaluator.replace_routes(changed_routes.changed)
    if changed_routes.added:
        evaluator.add_routes(changed_routes.added)
    evaluator.set_policies(_health_policy(after.settings), after.settings.flapping.build())
    change.stored_state.restore_to(evaluator, changed_routes.added, owned_after - owned_before, context.clock.now())
    unregister_metrics(context.metrics, before, after)
    await register_metrics(context.metrics, after, change.check_assignments, change.affected_agencies)
    context.metrics.set_agency_ownership(owned=len(owned_after))
    if owned_after - owned_before:
        # The previous owner may have overwritten the statuses that this process wrote earlier: write them again.
        context.history.rewrite_statuses()
    reporter.set_policies(_policies(after))
    reporter.remove_agencies(owned_before - owned_after - handed_over)
    reporter.set_flapping_policy(after.settings.flapping.build())
    reporter.add_agencies(owned_after - owned_before, change.stored_state.open_incidents)
    reporter.restore_falls(change.stored_state.falls, change.stored_state.flapping)
    reporter.restore_outages(change.stored_state.outages)
    runtime.pipeline.apply_routes(owned_after - owned_before)
    runtime.check_runner.release(owned_before - owned_after)
    await runtime.check_runner.assign_cooperatively(change.check_assignments, change.affected_agencies)
    if changed_routes.added:
        await prober.add_routes(changed_routes.added, change.stored_state.sent_tokens, change.last_runs)
    return replace(runtime, configuration=after, routes=change.routes, shard=change.shard, owned=owned_after)


def _update_peer_evaluator(
    peer_evaluator: HealthEvaluator, change: ConfigurationChange, evaluated: Mapping[str, tuple[Health, datetime]]
) -> None:
    """Give *peer_evaluator* the routes that other processes probe from now on.

    *evaluated*: health of the routes that this process has probed until now, by route name.
    """
    other_routes = {
        route.name: route for route in change.configuration.registry.routes if route.name not in change.routes
    }
    changed_routes = difference(peer_evaluator.routes, other_routes)
    peer_evaluator.remove_routes(changed_routes.removed)
    peer_evaluator.replace_routes(changed_routes.changed)
    peer_evaluator.add_routes(changed_routes.added)
    peer_evaluator.restore(
        {route.name: evaluated[route.name] for route in changed_routes.added if route.name in evaluated}
    )


def _affected_agencies(before: Configuration, after: Configuration, changed_routes: Difference) -> Collection[str]:
    """Return the agencies, and "" for the control routes, that may have changed, in the order of their files."""
    agencies = (*after.registry.agencies, NO_AGENCY)
    old_settings, new_settings = before.settings, after.settings
    if (old_settings.checks, old_settings.references) != (new_settings.checks, new_settings.references):
        return agencies  # The checks of every agency use these name servers and reference addresses.
    known_agencies, with_changed_routes = before.registry.agencies, changed_routes.agencies
    return [
        agency
        for agency in agencies
        if agency in with_changed_routes or known_agencies.get(agency) is not after.registry.agencies.get(agency)
    ]


async def _read_stored_state(
    routes: Collection[MonitoredRoute],
    settings: Settings,
    context: RuntimeContext,
    route_names: AbstractSet[str] | None = None,
) -> _StoredState:
    """Read the stored state of *routes*. Raise `StoreUnavailable`.

    *route_names*: their names, if most of the stored state belongs to other routes; `None`: read all of it.
    """
    history, now = context.history, context.clock.now()
    if await history.catch_up():
        raise StoreUnavailable("buffered results are not written yet")
    deferral_timeouts = [route.probing.deferral_timeout for route in routes]
    falls, open_incidents = await _read_falls(context.store, settings.flapping.build(), now)
    return _StoredState(
        # No time may be later than now: the clock may have been ahead when the time was written.
        healths={name: (health, min(at, now)) for name, (health, at) in (await history.healths(route_names)).items()},
        streaks={
            name: [run.with_start(min(run.started_at, now)) for run in runs]
            for name, runs in (await history.streaks(route_names)).items()
        },
        # Read deferrals of the last two timeouts: any longer deferral has exceeded the timeout anyway.
        deferrals={
            name: min(at, now)
            for name, at in (await history.deferrals(now - 2 * max(deferral_timeouts, default=timedelta(0)))).items()
        },
        falls=falls,
        flapping={incident.dedup_key for incident in open_incidents if incident.flapping},
        open_incidents={incident.dedup_key: incident.detected for incident in open_incidents if incident.detected},
        outages=outages_of(open_incidents),
        declared={
            incident.policy.agency: incident.declared_type for incident in open_incidents if incident.declared_type
        },
        sent_tokens=await history.tokens(now, route_names),
        continuous_since=context.continuous_since(),
    )


class _LazyPolicies(Mapping[str, PolicySnapshot]):
    """Policies of agencies, each built on first use: few of thousands are needed."""

    def __init__(self, agencies: Mapping[str, Agency], settings: Settings) -> None:
        self._agencies = agencies
        self._settings = settings
        self._shared = cache(settings.build_shared)
        self._built: dict[str, PolicySnapshot] = {}

    def __getitem__(self, agency: str) -> PolicySnapshot:
        if agency not in self._built:
            self._built[agency] = self._settings.effective_policy(self._agencies[agency].build_policy(self._shared()))
        return self._built[agency]

    def __iter__(self) -> Iterator[str]:
        return iter(self._agencies)

    def __len__(self) -> int:
        return len(self._agencies)


def _policies(configuration: Configuration, owned: AbstractSet[str] | None = None) -> IncidentPolicies:
    """Return the policies of all agencies, or only of *owned* ones, and of monitoring faults (Pantau's own faults)."""
    settings, agencies = configuration.settings, configuration.registry.agencies
    if owned is not None:
        agencies = {code: agency for code, agency in agencies.items() if code in owned}
    return IncidentPolicies(
        agencies=_LazyPolicies(agencies, settings),
        monitoring_fault=lambda suspect: settings.effective_policy(monitoring_fault_policy(settings, suspect)),
    )


async def register_metrics(
    metrics: Metrics,
    configuration: Configuration,
    check_assignments: Sequence[CheckAssignment],
    agencies: Iterable[str],
) -> None:
    """Create the metrics of *agencies* and gateways; `unregister_metrics` removes them."""
    checks: dict[str, list[str]] = {}
    for each in check_assignments:
        checks.setdefault(each.check_scope.agency, []).append(each.kind.name)
    async for agency in yielding(agencies):
        routes = [route.name for route in configuration.registry.routes_for(agency)]
        metrics.register_agency(agency, routes=routes, checks=checks.get(agency, ()))
    settings = configuration.settings
    metrics.register_references(settings.references)
    metrics.limit_phase_routes(settings.metrics.max_phase_routes)
    for channel, entries in settings.gateways.items():
        for entry in entries:
            metrics.register_gateway(channel, entry.name)


def export_token_expiry(metrics: Metrics, routes: Iterable[MonitoredRoute]) -> None:
    """Export when the access tokens of mailboxes expire."""
    mailboxes = (mailbox for route in routes for mailbox in (route.route.sender, route.route.recipient))
    for mailbox in {mailbox.name: mailbox for mailbox in mailboxes}.values():
        if isinstance(mailbox.login, OAuth):
            metrics.set_token_expiry(mailbox.name, mailbox.login.tokens.expires_at)


def export_unavailable_credentials(metrics: Metrics, mailboxes: Iterable[Mailbox]) -> None:
    """Export for which mailboxes no sign-in is possible, because their secrets are unavailable."""
    for mailbox in mailboxes:
        metrics.set_credential_unavailable(mailbox.name, unavailable=isinstance(mailbox.login, UnavailableLogin))


async def export_mailbox_metrics(metrics: Metrics, runtime: Callable[[], ProbingRuntime]) -> NoReturn:
    """Update the metrics of mailboxes at an interval, until cancelled.

    There are no events of renewed tokens and of successful or failed deletions, so the values are polled.
    """
    while True:
        export_token_expiry(metrics, runtime().routes.values())
        export_unavailable_credentials(
            metrics, (each.mailbox for each in runtime().configuration.registry.mailboxes.values())
        )
        for mailbox, count in runtime().prober.undeleted_counts().items():
            metrics.set_undeleted_messages(mailbox, count)
        for mailbox, quota in runtime().prober.quotas().items():
            metrics.set_mailbox_usage(mailbox, None if quota is None else quota.share)
        await asyncio.sleep(_METRICS_INTERVAL.total_seconds())


def unregister_metrics(metrics: Metrics, before: Configuration, after: Configuration) -> None:
    """Remove the metrics of agencies and gateways that *after* does not contain any more."""
    for agency in before.registry.agencies.keys() - after.registry.agencies.keys():
        metrics.unregister_agency(agency)
    remaining = {(channel, entry.name) for channel, entries in after.settings.gateways.items() for entry in entries}
    for channel, entries in before.settings.gateways.items():
        for entry in entries:
            if (channel, entry.name) not in remaining:
                metrics.unregister_gateway(channel, entry.name)


def find_unresolvable_incidents(
    incidents: Mapping[str, OpenIncidentSummary], configuration: Configuration
) -> Sequence[Problem]:
    """Return a warning for each of *incidents* that no probe of *configuration* can resolve any more.

    *incidents*: the open incidents by dedup key, which is an agency's code or, for a component of Pantau, has a slash.
    """
    registry, file = configuration.registry, str(configuration.settings.agencies)
    problems: list[Problem] = []
    for key, incident in incidents.items():
        number, detected = incident.number, incident.detected
        if "/" in key:
            continue
        if key not in registry.agencies:
            minutes = CLOSING_DELAY // timedelta(minutes=1)
            message = (
                f"{number} is open, but its agency is no longer monitored: in {minutes} minutes it is closed, and the "
                "notified staff are informed"
            )
            remedy = f"the agency again, or close it yourself: pantau close {number} (in a shell)"
        elif detected is None or can_prove_end(detected, {route.direction for route in registry.routes_for(key)}):
            continue
        else:
            message = f"{number} is open, but the routes that failed are no longer monitored: no probe detects its end"
            remedy = f"these routes until it ends, or close it yourself: pantau close {number} (in a shell)"
        problems.append(Problem(file=file, key=key, message=message, instead=remedy, severity=Severity.WARNING))
    return problems


def _assign_checks(
    configuration: Configuration, agencies: Iterable[str], sample_messages: Mapping[str, bytes]
) -> Sequence[CheckAssignment]:
    settings, registry = configuration.settings, configuration.registry
    scopes = [
        build_check_scope(code, registry, settings, sample_message=partial(sample_messages.get, code))
        for code in agencies
    ]
    codes = [scope.agency for scope in scopes if scope.agency in registry.agencies]
    return assignments(
        check_kinds(),
        scopes,
        settings.checks.kinds,
        {code: registry.agencies[code].checks.kinds for code in codes},
        # Checks observe maintenance, which applies to the whole agency, but not active hours, which limit only probes.
        {
            scope.agency: Hours(maintenance=routes[0].probing.hours.maintenance)
            for scope in scopes
            if (routes := registry.routes_for(scope.agency))
        },
    )


def _health_policy(settings: Settings) -> HealthPolicy:
    probing = settings.probing
    return HealthPolicy(failure_threshold=probing.failure_threshold, success_threshold=probing.success_threshold)


async def _read_falls(
    store: SqlStore, policy: FlappingPolicy, now: datetime
) -> tuple[Mapping[str, Sequence[datetime]], Sequence[Incident]]:
    """Return the recent falls (beginnings of detected incidents) by dedup key, and the open incidents."""
    async with store.reading() as uow:
        opened = await uow.opened_since(now - policy.window)
        incidents = await uow.open_incidents()
    falls: dict[str, list[datetime]] = {i.dedup_key: [i.opened_at] for i in incidents if i.detected}
    for key, at in opened:
        falls[key] = sorted({*falls.get(key, ()), at})
    return falls, incidents


async def _detected_keys(store: SqlStore) -> Collection[str]:
    async with store.reading() as uow:
        return await uow.detected_keys()
