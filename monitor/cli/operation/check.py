"""`pantau check`: is the configuration right, and if not, what should be written instead."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import typer

from monitor.cli.option import DEFAULT_CONFIG, Config
from monitor.config.loading import Loaded, load
from monitor.config.sense.capacity import size_of


def check(config: Config = DEFAULT_CONFIG) -> None:
    """Check the whole configuration and print everything that is wrong with it, a line each.

    Also what is going to be wrong: days in the next week on which nobody is on call, numbers where nobody has answered,
    and a store that becomes larger than its disk. Ends with 2 when there is an error, otherwise with 0, also when there are warnings.
    """
    loaded = load(config, os.environ, now=datetime.now(UTC))
    print_checked(config, loaded)
    if loaded.errors:
        raise typer.Exit(2)


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
    found = f"{_count(len(loaded.errors), 'error')}, {_count(len(loaded.warnings), 'warning')}"
    if (accepted := loaded.configuration) is None:
        return f"refused: {found} in {_count(loaded.files, 'file')}"
    agencies, routes = len(accepted.registry.agencies), len(accepted.registry.routes)
    gateways = sum(len(entries) for entries in accepted.settings.gateways.values())
    what = f"{_count(agencies, 'agency', 'agencies')}, {_count(routes, 'route')}, {_count(gateways, 'gateway')}"
    return f"accepted: {what}; {found}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
