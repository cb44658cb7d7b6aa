"""`pantau check`: is the configuration right, and if not, what should be written instead."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import typer
from sqlalchemy import select

from monitor.cli.option import DEFAULT_CONFIG, Config
from monitor.config.files.document import read_document
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Problem
from monitor.config.loading import Loaded, load
from monitor.config.model.settings import Settings
from monitor.config.sense.capacity import size_of
from monitor.config.sense.duplicate import perhaps_renamed
from monitor.store.schema.tables import record
from monitor.store.upkeep.connections import connection_budget
from monitor.store.upkeep.unopened import DocumentsAwayError, read_unopened


def check(config: Config = DEFAULT_CONFIG) -> None:
    """Check the whole configuration and print everything that is wrong with it, a line each.

    Also what is going to be wrong: days in the next week on which nobody is on call, numbers where nobody has answered,
    a store that becomes larger than its disk, a server with too few connections for its processes, and an agency that would lose its history with its code. Ends with 2 when there is an error, otherwise with 0, also when there are warnings. With a lost key of the
    secrets in the store the service starts all the same.
    """
    loaded = load(config, os.environ, now=datetime.now(UTC))
    if (found := loaded.configuration) is not None:
        renamed = perhaps_renamed(in_force(found.settings), found.registry.agencies, str(found.settings.agencies))
        loaded = replace(loaded, problems=(*loaded.problems, *renamed, *crowded(config, found.settings)))
    print_checked(config, loaded)
    if loaded.errors or loaded.losses:
        raise typer.Exit(2)


def in_force(settings: Settings) -> Mapping[str, Collection[str]]:
    """Return the domains of the agencies that the service last took up, by their codes, as its store has them.

    Nothing where the store is on a server, which a check does not knock at, or cannot be read.
    """
    if settings.store is not None:
        return {}
    agencies = select(record.c.key, record.c.document).where(record.c.kind == "agency")
    try:
        rows = read_unopened(settings.state, None, agencies, record.name)
    except DocumentsAwayError:
        return {}
    return {row.key: json.loads(row.document).get("domains", ()) for row in rows}


def crowded(config: Path, settings: Settings) -> Sequence[Problem]:
    """Return a warning where the processes on a store may want more connections than its server has."""
    if settings.store is None or (budget := connection_budget(settings.store.build(), settings.state)) is None:
        return ()
    sites = len(settings.hub.sites) if settings.hub else 0
    needed = budget.needed(own=settings.process_name, sites=sites)
    if needed <= budget.room:
        return ()
    findings = Findings(read_document(config))
    processes = len(budget.processes | {settings.process_name})
    findings["store"].warning(
        f"{_count(processes, 'process', 'processes')} on it may open {needed} connections together with others, and the "
        f"server has {budget.room} for them",
        f"max_connections = {needed + budget.reserved} or more in its postgresql.conf, then restart it; or fewer processes",
    )
    return findings.problems


def print_checked(config: Path, loaded: Loaded) -> None:
    """Print what was found of a configuration, and what it comes down to."""
    for problem in loaded.problems:
        typer.echo(str(problem))
    if (found := loaded.configuration) is not None:
        typer.echo(f"{config}: the store grows to {size_of(found.settings, found.registry.routes)}")
        if not found.settings.tells:
            typer.echo(
                f"{config}: NOBODY IS TOLD of anything: mode is watch; write mode: tell when people are to be told"
            )
    typer.echo(f"{config}: {_summary(loaded)}")


def _summary(loaded: Loaded) -> str:
    found = f"{_count(len(loaded.errors) + len(loaded.losses), 'error')}, {_count(len(loaded.warnings), 'warning')}"
    if (accepted := loaded.configuration) is None:
        return f"refused: {found} in {_count(loaded.files, 'file')}"
    agencies, routes = len(accepted.registry.agencies), len(accepted.registry.routes)
    gateways = sum(len(entries) for entries in accepted.settings.gateways.values())
    what = f"{_count(agencies, 'agency', 'agencies')}, {_count(routes, 'route')}, {_count(gateways, 'gateway')}"
    return f"accepted: {what}; {found}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
