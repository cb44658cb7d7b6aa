"""What follows from one configuration: routes, their judge, the pipeline, the prober, the inspector.

A reload makes a new one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import NoReturn

from alerts.clock import Clock
from alerts.incident import Incident
from alerts.notice import Matter
from monitor.briefs import own_brief
from monitor.config.loading import Configuration
from monitor.config.problem import Problem, Severity
from monitor.config.provider import build_providers
from monitor.judging.flapping import FlappingPolicy
from monitor.judging.health import HealthPolicy
from monitor.judging.judge import Judge
from monitor.judging.matter import can_end
from monitor.metrics import NO_AGENCY, Metrics
from monitor.pipeline import Alerting, Briefs, Pipeline
from monitor.probing.inspection import Assignment, assignments
from monitor.probing.inspector import Inspections, Inspector
from monitor.probing.kinds import ROUND_TRIP, check_kinds, probe_kinds
from monitor.probing.prober import Prober
from monitor.probing.route import WatchedRoute
from monitor.probing.window import Hours
from monitor.registry import premises
from monitor.settings import Settings
from monitor.store.history import History
from monitor.store.ledger import SqlStore
from probes.mailbox import OAuth
from probes.token import TokenSigner

_TOKENS_EVERY = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a watch is built with: all that outlives a reload."""

    signer: TokenSigner
    store: SqlStore
    history: History
    alerting: Alerting
    metrics: Metrics
    clock: Clock
    inspections: Inspections = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A configuration at work."""

    configuration: Configuration
    routes: Mapping[str, WatchedRoute]
    judge: Judge
    pipeline: Pipeline
    prober: Prober
    inspector: Inspector


async def make_watch(configuration: Configuration, around: Surroundings) -> Watch:
    """Build a watch that takes up where the store says the last one left off."""
    settings, registry = configuration.settings, configuration.registry
    routes = {route.name: route for route in registry.routes}
    flapping = settings.flapping.build()
    judge = Judge(routes.values(), _own_policy(settings), flapping)
    judge.restore(await around.history.healths())
    now, budgets = around.clock.now(), [route.probing.deferred_budget for route in registry.routes]
    # What was put off longer ago than twice its budget has used it up however long it has been.
    judge.restore_deferrals(await around.history.deferrals(now - 2 * max(budgets, default=timedelta(0))))
    judge.restore_falls(*await _falls(around.store, flapping, now))
    #: The prober puts them there, and the checks look at them.
    specimens: dict[str, bytes] = {}
    assigned = _assigned(configuration, specimens.get)
    announce(around.metrics, configuration, assigned)
    shared = settings.shared()
    pipeline = Pipeline(
        judge=judge,
        routes=routes,
        briefs=Briefs(
            agencies={code: agency.brief(shared) for code, agency in registry.agencies.items()},
            ours=lambda suspect: own_brief(settings, suspect),
        ),
        history=around.history,
        alerting=around.alerting,
        metrics=around.metrics,
        clock=around.clock,
        site=settings.site,
        open_incidents=await _open_incidents(around.store),
        open_keys=partial(_open_keys, around.store),
    )
    prober = Prober(
        routes=routes,
        kind=probe_kinds()[ROUND_TRIP],
        signer=around.signer,
        judge=judge,
        pipeline=pipeline,
        history=around.history,
        metrics=around.metrics,
        clock=around.clock,
        known_tokens=await around.history.tokens(now),
        providers=build_providers(settings.providers),
        specimens=specimens,
    )
    inspector = Inspector(assigned, latest=around.inspections, metrics=around.metrics, clock=around.clock)
    return Watch(
        configuration=configuration,
        routes=routes,
        judge=judge,
        pipeline=pipeline,
        prober=prober,
        inspector=inspector,
    )


def announce(metrics: Metrics, configuration: Configuration, assigned: Sequence[Assignment]) -> None:
    """Tell the metrics what exists; what has left is forgotten by `retire`."""
    registry, settings = configuration.registry, configuration.settings
    checks: dict[str, list[str]] = defaultdict(list)
    for each in assigned:
        checks[each.premises.agency].append(each.kind.name)
    for agency in (*registry.agencies, NO_AGENCY):
        routes = [route.name for route in registry.routes_of(agency)]
        metrics.watch_agency(agency, routes=routes, checks=checks[agency])
    for channel, entries in settings.gateways.items():
        for entry in entries:
            metrics.watch_gateway(channel, entry.name)


def show_tokens(metrics: Metrics, routes: Iterable[WatchedRoute]) -> None:
    """Tell the metrics when the access tokens expire that mailboxes are signed in with."""
    ends = (end for route in routes for end in (route.route.sender, route.route.recipient))
    for mailbox in {end.name: end for end in ends}.values():
        if isinstance(mailbox.login, OAuth):
            metrics.token_known(mailbox.name, mailbox.login.tokens.expires_at)


async def keep_showing_tokens(metrics: Metrics, watch: Callable[[], Watch]) -> NoReturn:
    """Show them as often as Prometheus looks, until cancelled: they are renewed whenever somebody signs in."""
    while True:
        show_tokens(metrics, watch().routes.values())
        await asyncio.sleep(_TOKENS_EVERY.total_seconds())


def retire(metrics: Metrics, before: Configuration, after: Configuration) -> None:
    """Make the metrics forget what *after* no longer has."""
    for agency in before.registry.agencies.keys() - after.registry.agencies.keys():
        metrics.forget_agency(agency)
    kept = {(channel, entry.name) for channel, entries in after.settings.gateways.items() for entry in entries}
    for channel, entries in before.settings.gateways.items():
        for entry in entries:
            if (channel, entry.name) not in kept:
                metrics.forget_gateway(channel, entry.name)


def abandoned(incidents: Iterable[Incident], configuration: Configuration) -> Sequence[Problem]:
    """Return a warning for each of the open *incidents* of which *configuration* does not watch what could end it."""
    registry, place = configuration.registry, str(configuration.settings.agencies)
    return [
        Problem(
            file=place,
            key=agency,
            message=f"what failed is watched no more, and {incident.number} is open: nobody finds out when it works again",
            instead="what was there until it does",
            severity=Severity.WARNING,
        )
        for incident in incidents
        if (agency := incident.brief.agency)
        and not (
            agency in registry.agencies
            and can_end(incident.matter, {route.direction for route in registry.routes_of(agency)})
        )
    ]


def _assigned(configuration: Configuration, specimen: Callable[[str], bytes | None]) -> Sequence[Assignment]:
    settings, registry = configuration.settings, configuration.registry
    return assignments(
        check_kinds(),
        [
            premises(agency, registry, settings, specimen=partial(specimen, agency))
            for agency in (*registry.agencies, NO_AGENCY)
        ],
        settings.checks.kinds,
        {code: agency.checks.kinds for code, agency in registry.agencies.items()},
        # Maintenance is a whole agency's, and hours only say when mail is probed.
        {r.agency: Hours(maintenance=r.probing.hours.maintenance) for r in registry.routes},
    )


def _own_policy(settings: Settings) -> HealthPolicy:
    probing = settings.probing
    return HealthPolicy(failures_to_down=probing.failures_to_down, successes_to_up=probing.successes_to_up)


async def _falls(store: SqlStore, policy: FlappingPolicy, now: datetime) -> tuple[dict[str, list[datetime]], set[str]]:
    """Return when agencies fell lately, by the incidents that were opened, and which have one still."""
    async with store.reading() as ledger:
        opened = await ledger.opened_since(now - policy.within)
        still = await ledger.open_incidents()
    falls: dict[str, list[datetime]] = {}
    for key, at in opened:
        falls.setdefault(key, []).append(at)
    # One that was held open hides how often it fell meanwhile: until it has been quiet, it is not believed.
    falls |= {incident.dedup_key: [now] * policy.falls for incident in still if incident.unsteady}
    return falls, {incident.dedup_key for incident in still}


async def _open_incidents(store: SqlStore) -> dict[str, Matter]:
    async with store.reading() as ledger:
        return {incident.dedup_key: incident.matter for incident in await ledger.open_incidents()}


async def _open_keys(store: SqlStore) -> Collection[str]:
    async with store.reading() as ledger:
        return await ledger.open_keys()
