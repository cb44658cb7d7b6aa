"""Runtime of one configuration (routes, evaluator, reporter, prober), and the transition to the next.

A reload changes what the configuration changes, and nothing else (docs/adr/0026); a change of shards changes only who
probes which agency (docs/adr/0061).
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
from monitor.bridge.incident_reporter import OF_HUB, QUORUM, SITES, Alerting, Briefs, IncidentReporter, outages_of
from monitor.bridge.noc_brief import agency_of, own_brief
from monitor.bridge.pipeline import ResultPipeline
from monitor.config.files.problem import Problem, Severity
from monitor.config.loading import Configuration
from monitor.config.model.registry import Agency, Registry, check_scope
from monitor.config.model.settings import Settings
from monitor.config.service.mail_provider import build_mail_providers
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.flapping import FlappingPolicy
from monitor.evaluation.health_tracker import GradedRun
from monitor.evaluation.incident_type import can_end
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.metrics import NO_AGENCY, Metrics
from monitor.model.difference import Difference, difference
from monitor.model.health import Health, HealthPolicy
from monitor.model.route import MonitoredRoute
from monitor.model.window import Hours
from monitor.planning.check_run import CheckAssignment, assignments
from monitor.planning.ownership import WHOLE, Shard
from monitor.probing.check_runner import CheckRunner
from monitor.probing.lag import LagMeter
from monitor.probing.prober import Prober
from monitor.runtime.cooperative import yielding
from monitor.runtime.plugins import ROUND_TRIP, check_kinds, probe_kinds
from monitor.service.orphaned_incidents import STAYS
from monitor.store.engine.incidents import OpenNumber
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.history import History, SentToken
from probes.mail.token import TokenSigner
from probes.model.mailbox import Mailbox, OAuth, UnavailableLogin

log = structlog.get_logger()

_TOKENS_EVERY = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeContext:
    """Dependencies of a runtime."""

    signer: TokenSigner
    store: SqlStore
    history: History
    alerting: Alerting
    metrics: Metrics
    clock: Clock
    #: A hub may read our statuses.
    is_read: bool = False
    #: Since when the site has evaluated health without interruption
    #: (`monitor.evaluation.joint.freshness.continuous_since`).
    continuous_since: Callable[[], datetime | None] = lambda: None
    #: Measured by the owner of the event loop.
    lag: LagMeter = field(default_factory=LagMeter)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbingRuntime:
    """An applied configuration. The next one has the same parts, which are given the changes."""

    configuration: Configuration
    #: The routes that this process probes.
    routes: Mapping[str, MonitoredRoute]
    evaluator: HealthEvaluator
    consensus: IncidentReporter
    pipeline: ResultPipeline
    prober: Prober
    inspector: CheckRunner
    #: Written by the prober, and read by the checks.
    specimens: MutableMapping[str, bytes]
    share: Shard
    #: The agencies that this process probes, by code.
    owned: AbstractSet[str]
    #: Evaluator of all other routes, by the health that their processes have stored. It processes no run.
    elsewhere: HealthEvaluator

    def evaluator_of(self, agency: str) -> HealthEvaluator:
        """Return the evaluator of an agency's routes; "": of our own routes, whichever process probes them."""
        # Not by `owned`: during a change of shards that is the old set.
        return self.elsewhere if self.elsewhere.knows(agency) else self.evaluator

    def probed_by(self, agency: str) -> str:
        """Return the process that probes an agency, if it is another one; else ""."""
        return "" if agency in self.owned else self.share.owner(agency)

    def is_unseen(self, agency: str) -> bool:
        """Whether this process has not evaluated an agency's mail since its start."""
        return agency not in self.owned or not self.evaluator.mail(agency).is_current

    def troubled(self, agency: str) -> AbstractSet[str]:
        """Return the routes of an agency that are in trouble, here or at another site that has a vote."""
        return {*self.evaluator_of(agency).mail(agency).troubled(), *self.consensus.troubled(agency)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Past:
    """Stored state of routes and agencies from before this process monitors them."""

    healths: Mapping[str, tuple[Health, datetime]] = field(default_factory=dict)
    streaks: Mapping[str, Sequence[GradedRun]] = field(default_factory=dict)
    deferrals: Mapping[str, datetime] = field(default_factory=dict)
    falls: Mapping[str, Sequence[datetime]] = field(default_factory=dict)
    #: Agencies whose incident stays open until they stop flapping.
    flapping: AbstractSet[str] = frozenset()
    open_incidents: Mapping[str, IncidentType] = field(default_factory=dict)
    #: By dedup key: since when each has the notified state, and when it was notified.
    outages: Mapping[str, tuple[datetime, datetime]] = field(default_factory=dict)
    #: Declared and unresolved incident types, by agency.
    declared: Mapping[str, IncidentType] = field(default_factory=dict)
    tokens: Mapping[str, SentToken] = field(default_factory=dict)
    #: Since when the site has evaluated health without interruption.
    continuous_since: datetime | None = None

    def tell(
        self, evaluator: HealthEvaluator, routes: Iterable[MonitoredRoute], agencies: Collection[str], now: datetime
    ) -> None:
        """Restore the state of the *routes* and *agencies* that *evaluator* has gained."""
        names = {route.name for route in routes}
        evaluator.restore_continuity([route.name for route in routes if route.agency], self.continuous_since, now)
        ours = {name: evaluated for name, evaluated in self.healths.items() if name not in evaluator.routes}
        evaluator.restore({name: evaluated for name, evaluated in self.healths.items() if name in names} | ours)
        evaluator.restore_streaks({name: runs for name, runs in self.streaks.items() if name in names}, now)
        came = {sent.route: sent.at for sent in self.tokens.values() if sent.came and sent.route in names}
        evaluator.restore_arrivals(came)
        evaluator.restore_deferrals({name: since for name, since in self.deferrals.items() if name in names})
        # With them those of our own parts, of which the evaluator keeps newer ones.
        falls = {key: at for key, at in self.falls.items() if key in agencies or "/" in key}
        evaluator.restore_falls(falls, self.open_incidents.keys(), self.flapping)


async def make_runtime(configuration: Configuration, around: RuntimeContext, share: Shard = WHOLE) -> ProbingRuntime:
    """Build the runtime of a shard that continues where the stored state ends."""
    settings, registry = configuration.settings, configuration.registry
    owned = share.of(registry.agencies)
    routes = {route.name: route for route in registry.routes if _is_probed(route, owned)}
    past = await _past(routes.values(), settings, around)
    evaluator = HealthEvaluator(routes.values(), _own_policy(settings), settings.flapping.build())
    past.tell(evaluator, routes.values(), owned, around.clock.now())
    # Those of our own parts, which a reload does not interrupt.
    ours = {name: runs for name, runs in past.streaks.items() if name not in routes}
    evaluator.restore_streaks(ours, around.clock.now())
    specimens: dict[str, bytes] = {}
    agencies = (*(code for code in registry.agencies if code in owned), NO_AGENCY)
    assigned = _assigned(configuration, agencies, specimens)
    # Before metrics can be scraped.
    around.metrics.restore_declared(past.declared)
    await announce(around.metrics, configuration, assigned, agencies)
    _say_members(registry)
    around.metrics.agencies_shared(owned=len(owned))
    around.metrics.agencies_lacking(0)
    consensus = IncidentReporter(
        briefs=_briefs(configuration, owned),
        alerting=around.alerting,
        metrics=around.metrics,
        clock=around.clock,
        site=settings.site,
        open_incidents=_ours(past.open_incidents, owned),
        open_keys=partial(_measured_keys, around.store),
        quorum=settings.hub.build(settings.site) if settings.hub else None,
        others=settings.hub.sites.keys() if settings.hub else frozenset(),
        flapping=settings.flapping.build(),
    )
    consensus.restore_falls(past.falls, past.flapping)
    consensus.restore_outages(past.outages)
    _let_go_of_sites(consensus, settings, around.clock.now())
    pipeline = ResultPipeline(
        evaluator=evaluator,
        routes=evaluator.routes,
        history=around.history,
        consensus=consensus,
        metrics=around.metrics,
        clock=around.clock,
        site=settings.site,
        process=settings.process_name,
        is_read=around.is_read,
    )
    prober = Prober(
        routes=routes,
        kind=probe_kinds()[ROUND_TRIP],
        signer=around.signer,
        evaluator=evaluator,
        pipeline=pipeline,
        history=around.history,
        metrics=around.metrics,
        clock=around.clock,
        known_tokens=past.tokens,
        # Others have run them until now. A process alone starts each route at its own phase.
        last_runs=_last_runs(routes.values(), around.history) if len(share.alive) > 1 else {},
        mail_providers=build_mail_providers(settings.mail_providers),
        specimens=specimens,
        lag=around.lag,
    )
    inspector = CheckRunner(assigned, latest={}, metrics=around.metrics, clock=around.clock)
    others = [route for route in registry.routes if not _is_probed(route, owned)]
    elsewhere = HealthEvaluator(others, _own_policy(settings), settings.flapping.build())
    elsewhere.restore(past.healths)
    return ProbingRuntime(
        configuration=configuration,
        routes=routes,
        evaluator=evaluator,
        consensus=consensus,
        pipeline=pipeline,
        prober=prober,
        inspector=inspector,
        specimens=specimens,
        share=share,
        owned=owned,
        elsewhere=elsewhere,
    )


def _say_members(registry: Registry) -> None:
    for name, fitted in registry.mailboxes.items():
        if fitted.mailbox.pooled:
            log.info("pool mailbox selected", reference=name, address=fitted.mailbox.address)


def _let_go_of_sites(consensus: IncidentReporter, settings: Settings, now: datetime) -> None:
    """Resolve the problems of sites that are no longer configured: no site reports on them any more."""
    known = settings.hub.sites if settings.hub else {}
    watched = {f"{SITES}{name}" for name in known} | ({QUORUM} if known else set())
    for key in [key for key in consensus.told if key.startswith(OF_HUB) and key not in watched]:
        consensus.hear(settings.site, key, SiteStatus(up_since=now))


def _is_probed(route: MonitoredRoute, owned: AbstractSet[str]) -> bool:
    # Our own parts belong to every process: they depend on its machine and network.
    return route.agency == NO_AGENCY or route.agency in owned


def _ours(told: Mapping[str, IncidentType], owned: AbstractSet[str]) -> Mapping[str, IncidentType]:
    """Return the notified problems that this process must resolve."""
    return {key: matter for key, matter in told.items() if (agency := agency_of(key)) is None or agency in owned}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationChange:
    """A configuration that can be applied. Nothing has changed yet, and no further step can fail."""

    configuration: Configuration
    routes: Mapping[str, MonitoredRoute]
    share: Shard
    owned: AbstractSet[str]
    difference: Difference
    past: _Past
    #: The agencies, and "" for our own parts, that may have changed; and the assignments of checks for them.
    touched: Collection[str]
    assigned: Sequence[CheckAssignment]
    #: Latest runs at other processes of the routes that are taken over, by name.
    last_runs: Mapping[str, datetime] = field(default_factory=dict)


async def prepare(
    runtime: ProbingRuntime,
    configuration: Configuration,
    around: RuntimeContext,
    share: Shard | None = None,
    most: int | None = None,
) -> ConfigurationChange:
    """Return what *configuration* and *share* change, with the stored state of what is new.

    *most*: the maximum of agencies gained now. Raise `StoreUnavailable`.
    """
    share = share or runtime.share
    # In a thread: thousands of agencies may have changed.
    change = await asyncio.to_thread(_changed, runtime, configuration, share, most)
    if not (gained := change.difference.gained):
        return change
    # The agencies that another process owned.
    among = None if len(share.alive) == len(runtime.share.alive) == 1 else {route.name for route in gained}
    past = await _past(gained, configuration.settings, around, among)
    last_runs: Mapping[str, datetime] = {}
    known_before = runtime.configuration.registry.agencies.keys()
    taken_over = {route.agency for route in gained} & configuration.registry.agencies.keys() - runtime.owned
    if len(share.alive) == 1:
        # Other processes may have had documents of some that are new here.
        taken_over &= known_before
    if taken_over:
        await around.history.look_up(taken_over)
        last_runs = _last_runs(gained, around.history)
    return replace(change, past=past, last_runs=last_runs)


def _last_runs(routes: Iterable[MonitoredRoute], history: History) -> Mapping[str, datetime]:
    known = history.known()
    return {route.name: known[route.name].started_at for route in routes if route.name in known}


def _changed(
    runtime: ProbingRuntime, configuration: Configuration, share: Shard, most: int | None
) -> ConfigurationChange:
    owned = share.of(configuration.registry.agencies)
    if most is not None:
        owned = (owned & runtime.owned) | {*sorted(owned - runtime.owned)[:most]}
    routes = {route.name: route for route in configuration.registry.routes if _is_probed(route, owned)}
    found = difference(runtime.routes, routes)
    touched = [
        code for code in _touched(runtime.configuration, configuration, found) if code == NO_AGENCY or code in owned
    ]
    return ConfigurationChange(
        configuration=configuration,
        routes=routes,
        share=share,
        owned=owned,
        difference=found,
        past=_Past(),
        touched=touched,
        assigned=_assigned(configuration, touched, runtime.specimens),
    )


async def take_up(runtime: ProbingRuntime, change: ConfigurationChange, around: RuntimeContext) -> ProbingRuntime:
    """Apply a change to the parts of *runtime*, and return the new runtime.

    Whatever the change does not name continues: runs, watchers, streaks, budgets, places in the schedule.
    """
    before, after, found = runtime.configuration, change.configuration, change.difference
    old, new = runtime.owned, change.owned
    # The agencies that another process monitors from now on.
    handed_over = (old - new) & after.registry.agencies.keys()
    evaluator, consensus, prober = runtime.evaluator, runtime.consensus, runtime.prober
    judged_here = evaluator.healths() if handed_over else {}
    if found.released:
        await prober.release(found.released)
        evaluator.release(found.released)
        # Their latest runs are read from the database: those in memory would become outdated, and never be freed.
        around.history.forget(route.name for route in found.released)
    _follow(runtime.elsewhere, change, judged_here)
    # At once: the evaluator has dropped the account, whose problem would otherwise be resolved.
    consensus.hand_over(handed_over)
    for agency in handed_over:
        around.metrics.forget_agency(agency)
    if before.settings.mail_providers != after.settings.mail_providers:
        prober.allow(build_mail_providers(after.settings.mail_providers))
    if found.altered:
        # Their runs in progress have reported with the old settings until now.
        await prober.alter(found.altered)
        evaluator.alter(found.altered)
    if found.gained:
        evaluator.gain(found.gained)
    evaluator.govern(_own_policy(after.settings), after.settings.flapping.build())
    change.past.tell(evaluator, found.gained, new - old, around.clock.now())
    retire(around.metrics, before, after)
    await announce(around.metrics, after, change.assigned, change.touched)
    around.metrics.agencies_shared(owned=len(new))
    if new - old:
        # The previous owner has stored their statuses, and this process may have done so earlier.
        around.history.say_again()
    consensus.brief(_briefs(after))
    consensus.release(old - new - handed_over)
    consensus.believe(after.settings.flapping.build())
    consensus.gain(new - old, change.past.open_incidents)
    consensus.restore_falls(change.past.falls, change.past.flapping)
    consensus.restore_outages(change.past.outages)
    runtime.pipeline.look_again(new - old)
    runtime.inspector.release(old - new)
    await runtime.inspector.assign_in_turn(change.assigned, change.touched)
    if found.gained:
        await prober.gain(found.gained, change.past.tokens, change.last_runs)
    return replace(runtime, configuration=after, routes=change.routes, share=change.share, owned=new)


def _follow(
    elsewhere: HealthEvaluator, change: ConfigurationChange, evaluated: Mapping[str, tuple[Health, datetime]]
) -> None:
    """Give *elsewhere* the routes that are not probed here, with the health *evaluated* of those that were until now."""
    others = {route.name: route for route in change.configuration.registry.routes if route.name not in change.routes}
    found = difference(elsewhere.routes, others)
    elsewhere.release(found.released)
    elsewhere.alter(found.altered)
    elsewhere.gain(found.gained)
    elsewhere.restore({route.name: evaluated[route.name] for route in found.gained if route.name in evaluated})


def _touched(before: Configuration, after: Configuration, found: Difference) -> Collection[str]:
    """Return the agencies, and "" for our own parts, that may have changed, in the order of their files."""
    agencies = (*after.registry.agencies, NO_AGENCY)
    was, becomes = before.settings, after.settings
    if (was.checks, was.references) != (becomes.checks, becomes.references):
        return agencies  # The name servers and addresses of checks.
    known, moved = before.registry.agencies, found.agencies
    return [
        agency for agency in agencies if agency in moved or known.get(agency) is not after.registry.agencies.get(agency)
    ]


async def _past(
    routes: Collection[MonitoredRoute],
    settings: Settings,
    around: RuntimeContext,
    among: AbstractSet[str] | None = None,
) -> _Past:
    """Read the stored state of *routes*; *among*: their names, if far more is stored."""
    history, now = around.history, around.clock.now()
    if await history.catch_up():
        raise StoreUnavailable("results still wait to be written")
    budgets = [route.probing.deferral_timeout for route in routes]
    falls, still = await _falls(around.store, settings.flapping.build(), now)
    return _Past(
        # Limited to the present: the clock may have been ahead when it was written.
        healths={name: (health, min(at, now)) for name, (health, at) in (await history.healths(among)).items()},
        streaks={
            name: [run.at(min(run.started_at, now)) for run in runs]
            for name, runs in (await history.streaks(among)).items()
        },
        # A deferral of more than twice the budget has used it up, however long it has lasted.
        deferrals={
            name: min(at, now)
            for name, at in (await history.deferrals(now - 2 * max(budgets, default=timedelta(0)))).items()
        },
        falls=falls,
        flapping={incident.dedup_key for incident in still if incident.flapping},
        open_incidents={incident.dedup_key: incident.detected for incident in still if incident.detected},
        outages=outages_of(still),
        declared={incident.policy.agency: incident.declared_type for incident in still if incident.declared_type},
        tokens=await history.tokens(now, among),
        continuous_since=around.continuous_since(),
    )


class _Briefs(Mapping[str, PolicySnapshot]):
    """Policies of agencies, built on first use: of thousands few are needed."""

    def __init__(self, agencies: Mapping[str, Agency], settings: Settings) -> None:
        self._agencies = agencies
        self._settings = settings
        self._shared = cache(settings.shared)
        self._made: dict[str, PolicySnapshot] = {}

    def __getitem__(self, agency: str) -> PolicySnapshot:
        if agency not in self._made:
            self._made[agency] = self._settings.heeded(self._agencies[agency].brief(self._shared()))
        return self._made[agency]

    def __iter__(self) -> Iterator[str]:
        return iter(self._agencies)

    def __len__(self) -> int:
        return len(self._agencies)


def _briefs(configuration: Configuration, owned: AbstractSet[str] | None = None) -> Briefs:
    """Return the policies; *owned*: of these agencies only."""
    settings, agencies = configuration.settings, configuration.registry.agencies
    if owned is not None:
        agencies = {code: agency for code, agency in agencies.items() if code in owned}
    return Briefs(
        agencies=_Briefs(agencies, settings),
        ours=lambda suspect: settings.heeded(own_brief(settings, suspect)),
    )


async def announce(
    metrics: Metrics, configuration: Configuration, assigned: Sequence[CheckAssignment], agencies: Iterable[str]
) -> None:
    """Create the metrics of *agencies* and gateways; `retire` removes those of what has left."""
    checks: dict[str, list[str]] = {}
    for each in assigned:
        checks.setdefault(each.check_scope.agency, []).append(each.kind.name)
    async for agency in yielding(agencies):
        routes = [route.name for route in configuration.registry.routes_of(agency)]
        metrics.watch_agency(agency, routes=routes, checks=checks.get(agency, ()))
    settings = configuration.settings
    metrics.watch_references(settings.references)
    metrics.limit_phase_routes(settings.metrics.max_phase_routes)
    for channel, entries in settings.gateways.items():
        for entry in entries:
            metrics.watch_gateway(channel, entry.name)


def show_tokens(metrics: Metrics, routes: Iterable[MonitoredRoute]) -> None:
    """Export when the access tokens of mailboxes expire."""
    ends = (end for route in routes for end in (route.route.sender, route.route.recipient))
    for mailbox in {end.name: end for end in ends}.values():
        if isinstance(mailbox.login, OAuth):
            metrics.token_known(mailbox.name, mailbox.login.tokens.expires_at)


def show_locked(metrics: Metrics, mailboxes: Iterable[Mailbox]) -> None:
    """Export which mailboxes cannot be signed in to because their secrets are unavailable."""
    for mailbox in mailboxes:
        metrics.mailbox_seen(mailbox.name, locked=isinstance(mailbox.login, UnavailableLogin))


async def keep_showing_mailboxes(metrics: Metrics, runtime: Callable[[], ProbingRuntime]) -> NoReturn:
    """Update the metrics of mailboxes at every scrape interval, until cancelled.

    Tokens are renewed at any sign-in, and deletions succeed or fail, without an event.
    """
    while True:
        show_tokens(metrics, runtime().routes.values())
        show_locked(metrics, (each.mailbox for each in runtime().configuration.registry.mailboxes.values()))
        for mailbox, count in runtime().prober.undeleted().items():
            metrics.mail_undeleted(mailbox, count)
        for mailbox, quota in runtime().prober.quotas().items():
            metrics.mailbox_used(mailbox, None if quota is None else quota.share)
        await asyncio.sleep(_TOKENS_EVERY.total_seconds())


def retire(metrics: Metrics, before: Configuration, after: Configuration) -> None:
    """Remove the metrics of what *after* does not contain any more."""
    for agency in before.registry.agencies.keys() - after.registry.agencies.keys():
        metrics.forget_agency(agency)
    kept = {(channel, entry.name) for channel, entries in after.settings.gateways.items() for entry in entries}
    for channel, entries in before.settings.gateways.items():
        for entry in entries:
            if (channel, entry.name) not in kept:
                metrics.forget_gateway(channel, entry.name)


def abandoned(incidents: Mapping[str, OpenNumber], configuration: Configuration) -> Sequence[Problem]:
    """Return a warning for each of the open *incidents*, by key, that *configuration* cannot resolve any more."""
    registry, place = configuration.registry, str(configuration.settings.agencies)
    found: list[Problem] = []
    for agency, incident in incidents.items():
        number, measured = incident.number, incident.detected
        if "/" in agency:
            continue  # It is about one of our own parts.
        if agency not in registry.agencies:
            message = (
                f"{number} is open, and its agency is watched no more: in {STAYS // timedelta(minutes=1)} minutes it is closed, "
                "and the staff who were told hear so"
            )
            instead = f"what was there, or close it yourself: pantau close {number} (in a shell)"
        elif measured is None or can_end(measured, {route.direction for route in registry.routes_of(agency)}):
            continue
        else:
            message = f"what failed is watched no more, and {number} is open: nobody finds out when it works again"
            instead = f"what was there until it does; or end it: pantau close {number} (in a shell)"
        found.append(Problem(file=place, key=agency, message=message, instead=instead, severity=Severity.WARNING))
    return found


def _assigned(
    configuration: Configuration, agencies: Iterable[str], specimens: Mapping[str, bytes]
) -> Sequence[CheckAssignment]:
    settings, registry = configuration.settings, configuration.registry
    places = [check_scope(code, registry, settings, sample_message=partial(specimens.get, code)) for code in agencies]
    known = [code for code in (place.agency for place in places) if code in registry.agencies]
    return assignments(
        check_kinds(),
        places,
        settings.checks.kinds,
        {code: registry.agencies[code].checks.kinds for code in known},
        # Maintenance applies to the whole agency; active hours only decide when mail is probed.
        {
            place.agency: Hours(maintenance=routes[0].probing.hours.maintenance)
            for place in places
            if (routes := registry.routes_of(place.agency))
        },
    )


def _own_policy(settings: Settings) -> HealthPolicy:
    probing = settings.probing
    return HealthPolicy(failure_threshold=probing.failure_threshold, success_threshold=probing.success_threshold)


async def _falls(
    store: SqlStore, policy: FlappingPolicy, now: datetime
) -> tuple[Mapping[str, Sequence[datetime]], Sequence[Incident]]:
    """Return the recent falls of agencies, by their detected incidents, and the open ones."""
    async with store.reading() as ledger:
        opened = await ledger.opened_since(now - policy.window)
        still = await ledger.open_incidents()
    falls: dict[str, list[datetime]] = {i.dedup_key: [i.opened_at] for i in still if i.detected}
    for key, at in opened:
        falls[key] = sorted({*falls.get(key, ()), at})
    return falls, still


async def _measured_keys(store: SqlStore) -> Collection[str]:
    async with store.reading() as ledger:
        return await ledger.measured_keys()
