"""`pantau check`: every problem of the configuration, and what to write instead."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select

from monitor.cli.option import DEFAULT_CONFIG, Config
from monitor.cli.service import request
from monitor.config.agency.contact import unknown_users
from monitor.config.files.document import parse_document, read_document
from monitor.config.files.problem import Problem, Severity
from monitor.config.files.section import IN_DATABASE
from monitor.config.loading import Configuration, Loaded, called_in_store, load
from monitor.config.model.settings import Settings
from monitor.config.validation.capacity import size_of
from monitor.config.validation.duplicate import perhaps_renamed
from monitor.model.document import WrittenDocument
from monitor.runtime.place import CONTROL_SOCKET
from monitor.store.admin.connections import connection_budget
from monitor.store.admin.duty import DutyRecords, read_duty
from monitor.store.admin.unopened import DocumentsAwayError, has_store, read_unopened
from monitor.store.schema.tables import portal_user, record

_RECORDS: Final = TypeAdapter(DutyRecords)
#: In seconds, for the answer of the service.
_WITHIN: Final = 5.0
#: The most severe first.
_GRAVITY: Final = (Severity.ERROR, Severity.LOSS, Severity.WARNING)


def check(
    config: Config = DEFAULT_CONFIG,
    *,
    severity: Annotated[
        Severity,
        typer.Option("--severity", help="Lowest severity to report: error reports only what the service refuses."),
    ] = Severity.WARNING,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the problems as JSON: severity, file, line, key, message, remedy.")
    ] = False,
) -> None:
    """Check the configuration and print every problem, one a line.

    Exit code 2: the service would refuse it at its start or a reload. 1: it is usable, with warnings. 0: there are no problems.
    `--severity error` neither prints nor counts warnings: `pantau check --severity error && pantau reload`.

    Warnings also name what will become wrong: days of the next week with nobody on call, numbers that nobody has answered, a
    store that outgrows its disk, a server with too few connections for its processes, an agency that would lose its history
    with its code, and a contact whose `user` may not sign in. Overrides and drills are read from the service, or from its store.
    """
    now = datetime.now(UTC)
    loaded = load(config, os.environ, now=now, duty=partial(duty_records, now=now))
    if (found := loaded.configuration) is not None:
        renamed = perhaps_renamed(in_force(found.settings), found.registry.agencies, str(found.settings.agencies))
        also = (*renamed, *crowded(config, found.settings), *without_user(config, found))
        loaded = replace(loaded, problems=(*loaded.problems, *also))
    grave = _GRAVITY[: _GRAVITY.index(severity) + 1]
    counted = [each for each in loaded.problems if each.severity in grave]
    if as_json:
        typer.echo(json.dumps([_listed(each) for each in counted], ensure_ascii=False, indent=2))
    else:
        print_checked(config, loaded, counted)
    raise typer.Exit(_exit_code(counted))


def _exit_code(problems: Sequence[Problem]) -> int:
    """Return 2 if the service would refuse the configuration, 1 if there are warnings, else 0."""
    if any(each.severity is Severity.ERROR for each in problems):
        return 2
    return 1 if problems else 0


def _listed(problem: Problem) -> Mapping[str, str | int | None]:
    return {
        "severity": problem.severity,
        "file": problem.file,
        "line": problem.line or None,
        "column": problem.column or None,
        "key": problem.key,
        "message": problem.message,
        "remedy": problem.instead,
    }


def duty_records(settings: Settings, now: datetime) -> DutyRecords:
    """Return the overrides and drills of the running service; if none answers, those in its store."""
    socket = settings.state_dir.absolute() / CONTROL_SOCKET
    try:
        answer = request(socket, "GET", "/on-call/records", within=_WITHIN).raise_for_status()
        return _RECORDS.validate_json(answer.content)
    except (httpx.HTTPError, OSError, ValidationError):
        server = None if settings.store is None else settings.store.build()
        return read_duty(settings.state_dir, server, now)


def in_force(settings: Settings) -> Mapping[str, Collection[str]]:
    """Return the domains of the agencies that the service last applied, by their codes, from its store.

    Empty if the store is on a server, which a check does not connect to, or is unreadable.
    """
    if settings.store is not None:
        return {}
    agencies = select(record.c.key, record.c.document).where(record.c.kind == "agency")
    try:
        rows = read_unopened(settings.state_dir, None, agencies, record.name)
    except DocumentsAwayError:
        return {}
    return {row.key: json.loads(row.document).get("domains", ()) for row in rows}


def without_user(config: Path, found: Configuration) -> Sequence[Problem]:
    """Return a warning for each contact whose `user` may not sign in; empty if the users in the store are unreadable."""
    settings = found.settings
    server = None if settings.store is None else settings.store.build()
    named = [each for each in found.documents if "user:" in each.text]
    documents = [read_document(config), *(parse_document(each.text, _called(each, settings)) for each in named)]
    if server is None and not has_store(settings.state_dir):
        return ()
    enabled = select(portal_user.c.name).where(portal_user.c.disabled_at.is_(None))
    try:
        users = {row.name for row in read_unopened(settings.state_dir, server, enabled, portal_user.name)}
    except DocumentsAwayError:
        return ()
    return [problem for document in documents for problem in unknown_users(document, users)]


def _called(document: WrittenDocument, settings: Settings) -> str:
    """Return the name of an agency's document in problems."""
    if settings.agencies == IN_DATABASE:
        return called_in_store(document.agency)
    return str(settings.agencies / document.name)


def crowded(config: Path, settings: Settings) -> Sequence[Problem]:
    """Return a warning if the processes on a store may need more connections than its server has."""
    if settings.store is None or (budget := connection_budget(settings.store.build(), settings.state_dir)) is None:
        return ()
    sites = len(settings.hub.sites) if settings.hub else 0
    needed = budget.needed(own=settings.process_name, sites=sites)
    if needed <= budget.room:
        return ()
    processes = len(budget.processes | {settings.process_name})
    message = (
        f"{_count(processes, 'process', 'processes')} on it may open {needed} connections together with others, and the "
        f"server has {budget.room} for them"
    )
    most = needed + budget.reserved
    instead = f"max_connections = {most} or more in its postgresql.conf, then restart it; or fewer processes"
    return [read_document(config).problem(("store",), message, instead, Severity.WARNING)]


def print_checked(config: Path, loaded: Loaded, problems: Sequence[Problem]) -> None:
    """Print *problems* of a configuration, and a summary."""
    for problem in problems:
        typer.echo(str(problem))
    if (found := loaded.configuration) is not None:
        typer.echo(f"{config}: the store grows to {size_of(found.settings, found.registry.routes)}")
        if not found.settings.notifies:
            typer.echo(f"{config}: NOBODY IS NOTIFIED: mode is monitor_only; write mode: notify to notify people")
    typer.echo(f"{config}: {_summary(loaded)}")


def _summary(loaded: Loaded) -> str:
    lost = f", {_count(len(loaded.losses), 'loss', 'losses')}" if loaded.losses else ""
    found = f"{_count(len(loaded.errors), 'error')}{lost}, {_count(len(loaded.warnings), 'warning')}"
    if (accepted := loaded.configuration) is None:
        return f"refused: {found} in {_count(loaded.files, 'file')}"
    agencies, routes = len(accepted.registry.agencies), len(accepted.registry.routes)
    gateways = sum(len(entries) for entries in accepted.settings.gateways.values())
    what = f"{_count(agencies, 'agency', 'agencies')}, {_count(routes, 'route')}, {_count(gateways, 'gateway')}"
    return f"accepted: {what}; {found}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
