"""What follows from one configuration: routes, their judge, the pipeline, the prober. A reload makes a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alerts.clock import Clock
from alerts.notice import Matter
from monitor.briefs import own_brief
from monitor.config.loading import Configuration
from monitor.health import HealthPolicy
from monitor.judge import Judge
from monitor.kinds import ROUND_TRIP, probe_kinds
from monitor.metrics import NO_AGENCY, Metrics
from monitor.pipeline import Alerting, Briefs, Pipeline
from monitor.prober import Prober
from monitor.route import WatchedRoute
from monitor.settings import Settings
from monitor.store.history import History
from monitor.store.ledger import SqlStore
from probes.token import TokenSigner


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a watch is built with: all that outlives a reload."""

    signer: TokenSigner
    store: SqlStore
    history: History
    alerting: Alerting
    metrics: Metrics
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A configuration at work."""

    configuration: Configuration
    routes: Mapping[str, WatchedRoute]
    judge: Judge
    prober: Prober


async def make_watch(configuration: Configuration, around: Surroundings) -> Watch:
    """Build a watch that takes up where the store says the last one left off."""
    settings, registry = configuration.settings, configuration.registry
    routes = {route.name: route for route in registry.routes}
    judge = Judge(routes.values(), _own_policy(settings))
    judge.restore(await around.history.healths())
    announce(around.metrics, configuration)
    pipeline = Pipeline(
        judge=judge,
        routes=routes,
        briefs=Briefs(
            agencies={code: agency.brief(settings.contacts) for code, agency in registry.agencies.items()},
            ours=lambda suspect: own_brief(settings, suspect),
        ),
        history=around.history,
        alerting=around.alerting,
        metrics=around.metrics,
        clock=around.clock,
        site=settings.site,
        open_incidents=await _open_incidents(around.store),
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
        known_tokens=await around.history.tokens(around.clock.now()),
    )
    return Watch(configuration=configuration, routes=routes, judge=judge, prober=prober)


def announce(metrics: Metrics, configuration: Configuration) -> None:
    """Tell the metrics what exists; what has left is forgotten by `retire`."""
    registry, settings = configuration.registry, configuration.settings
    for agency in (*registry.agencies, NO_AGENCY):
        metrics.watch_agency(agency, routes=[route.name for route in registry.routes_of(agency)])
    for channel, entries in settings.gateways.items():
        for entry in entries:
            metrics.watch_gateway(channel, entry.name)


def retire(metrics: Metrics, before: Configuration, after: Configuration) -> None:
    """Make the metrics forget what *after* no longer has."""
    for agency in before.registry.agencies.keys() - after.registry.agencies.keys():
        metrics.forget_agency(agency)
    kept = {(channel, entry.name) for channel, entries in after.settings.gateways.items() for entry in entries}
    for channel, entries in before.settings.gateways.items():
        for entry in entries:
            if (channel, entry.name) not in kept:
                metrics.forget_gateway(channel, entry.name)


def _own_policy(settings: Settings) -> HealthPolicy:
    probing = settings.probing
    return HealthPolicy(failures_to_down=probing.failures_to_down, successes_to_up=probing.successes_to_up)


async def _open_incidents(store: SqlStore) -> dict[str, Matter]:
    async with store.reading() as ledger:
        return {incident.dedup_key: incident.matter for incident in await ledger.open_incidents()}
