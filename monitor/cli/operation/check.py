"""`pantau check`: validate the configuration, and print each problem with its remedy.

The checks themselves are in `monitor.config`; those of this module need the database or the running service.
"""

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
from monitor.config.agency.contact import find_unknown_users
from monitor.config.files.document import parse_document, read_document
from monitor.config.files.problem import Problem, Severity
from monitor.config.files.section import IN_DATABASE
from monitor.config.loading import Configuration, LoadResult, load, stored_document_label
from monitor.config.model.settings import Settings
from monitor.config.validation.capacity import estimate_store_size
from monitor.config.validation.duplicate import detect_renames
from monitor.model.document import WrittenDocument
from monitor.runtime.control_socket import CONTROL_SOCKET
from monitor.store.admin.connections import connection_budget
from monitor.store.admin.duty import DutyRecords, read_duty
from monitor.store.admin.unopened import StoreUnreadableError, has_store, read_unopened
from monitor.store.schema.tables import portal_user, record

_RECORDS: Final = TypeAdapter(DutyRecords)
#: Time limit for the response of the service, in seconds.
_TIMEOUT: Final = 5.0
#: The most severe first. With a LOSS, such as an unreadable secret, the service runs without what depends on it.
_SEVERITIES: Final = (Severity.ERROR, Severity.LOSS, Severity.WARNING)


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

    Warnings also predict faults: days of the next week with nobody on call, numbers that nobody has answered, a store that
    outgrows its disk, a server with too few connections for its processes, an agency whose changed code would lose its
    history, and a contact whose `user` may not sign in. Overrides and drills are read from the service, or from its store.
    """
    now = datetime.now(UTC)
    loaded = load(config, os.environ, now=now, read_duty_records=partial(duty_records, now=now))
    if (configuration := loaded.configuration) is not None:
        rename_problems = detect_renames(
            applied_domains(configuration.settings),
            configuration.registry.agencies,
            str(configuration.settings.agencies),
        )
        further_problems = (
            *rename_problems,
            *connection_problems(config, configuration.settings),
            *contact_problems(config, configuration),
        )
        loaded = replace(loaded, problems=(*loaded.problems, *further_problems))
    severities = _SEVERITIES[: _SEVERITIES.index(severity) + 1]
    reported = [each for each in loaded.problems if each.severity in severities]
    if as_json:
        typer.echo(json.dumps([_problem_json(each) for each in reported], ensure_ascii=False, indent=2))
    else:
        print_check_result(config, loaded, reported)
    raise typer.Exit(_exit_code(reported))


def _exit_code(problems: Sequence[Problem]) -> int:
    """Return 2 if the service would refuse the configuration, 1 if there are less severe problems, else 0."""
    if any(each.severity is Severity.ERROR for each in problems):
        return 2
    return 1 if problems else 0


def _problem_json(problem: Problem) -> Mapping[str, str | int | None]:
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
    """Return the on-call overrides and drills (test notifications) that the running service has recorded.

    If the service does not answer, read them from its store (the database).
    """
    socket = settings.state_dir.absolute() / CONTROL_SOCKET
    try:
        answer = request(socket, "GET", "/on-call/records", timeout=_TIMEOUT).raise_for_status()
        return _RECORDS.validate_json(answer.content)
    except (httpx.HTTPError, OSError, ValidationError):
        server = None if settings.store is None else settings.store.build()
        return read_duty(settings.state_dir, server, now)


def applied_domains(settings: Settings) -> Mapping[str, Collection[str]]:
    """Return the domains of each agency in the configuration that the service last applied, by agency code.

    They are read from an SQLite store. Return an empty mapping if the store is unreadable or on a PostgreSQL server.
    """
    if settings.store is not None:
        return {}
    agencies = select(record.c.key, record.c.document).where(record.c.kind == "agency")
    try:
        rows = read_unopened(settings.state_dir, None, agencies, record.name)
    except StoreUnreadableError:
        return {}
    return {row.key: json.loads(row.document).get("domains", ()) for row in rows}


def contact_problems(config: Path, configuration: Configuration) -> Sequence[Problem]:
    """Return a warning for each contact whose `user` cannot sign in; none if the users in the store are unreadable."""
    settings = configuration.settings
    server = None if settings.store is None else settings.store.build()
    # Parse only the documents that may name a user.
    with_user = [each for each in configuration.documents if "user:" in each.text]
    documents = [
        read_document(config),
        *(parse_document(each.text, _document_name(each, settings)) for each in with_user),
    ]
    if server is None and not has_store(settings.state_dir):
        return ()
    enabled_users = select(portal_user.c.name).where(portal_user.c.disabled_at.is_(None))
    try:
        users = {row.name for row in read_unopened(settings.state_dir, server, enabled_users, portal_user.name)}
    except StoreUnreadableError:
        return ()
    return [problem for document in documents for problem in find_unknown_users(document, users)]


def _document_name(document: WrittenDocument, settings: Settings) -> str:
    """Return the name by which problems refer to an agency's document: a label in the database, or the file's path."""
    if settings.agencies == IN_DATABASE:
        return stored_document_label(document.agency)
    return str(settings.agencies / document.name)


def connection_problems(config: Path, settings: Settings) -> Sequence[Problem]:
    """Return a warning if the processes that use a PostgreSQL store may need more connections than the server has."""
    if settings.store is None or (budget := connection_budget(settings.store.build(), settings.state_dir)) is None:
        return ()
    site_count = len(settings.hub.sites) if settings.hub else 0
    needed = budget.needed(own=settings.process_name, sites=site_count)
    if needed <= budget.available:
        return ()
    processes = len(budget.processes | {settings.process_name})
    message = (
        f"{_count(processes, 'process', 'processes')} on it may open {needed} connections, including those of other clients, "
        f"and the server has {budget.available} for them"
    )
    max_connections = needed + budget.reserved
    remedy = f"max_connections = {max_connections} or more in its postgresql.conf, then restart it; or fewer processes"
    return [read_document(config).problem(("store",), message, remedy, Severity.WARNING)]


def print_check_result(config: Path, loaded: LoadResult, problems: Sequence[Problem]) -> None:
    """Print *problems* of a configuration, and a summary."""
    for problem in problems:
        typer.echo(str(problem))
    if (configuration := loaded.configuration) is not None:
        typer.echo(
            f"{config}: the store grows to {estimate_store_size(configuration.settings, configuration.registry.routes)}"
        )
        if not configuration.settings.notifies:
            typer.echo(f"{config}: NOBODY IS NOTIFIED: mode is monitor_only; write mode: notify to notify people")
    typer.echo(f"{config}: {_summary(loaded)}")


def _summary(loaded: LoadResult) -> str:
    loss_text = f", {_count(len(loaded.losses), 'loss', 'losses')}" if loaded.losses else ""
    problems = f"{_count(len(loaded.errors), 'error')}{loss_text}, {_count(len(loaded.warnings), 'warning')}"
    if (configuration := loaded.configuration) is None:
        return f"refused: {problems} in {_count(loaded.files, 'file')}"
    agencies, routes = len(configuration.registry.agencies), len(configuration.registry.routes)
    gateways = sum(len(entries) for entries in configuration.settings.gateways.values())
    parts = f"{_count(agencies, 'agency', 'agencies')}, {_count(routes, 'route')}, {_count(gateways, 'gateway')}"
    return f"accepted: {parts}; {problems}"


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
