"""`pantau probe`: run one probe (a message on a route) or one check (a test without a message), and explain the outcome."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, NoReturn

import structlog
import typer

from monitor.cli.configured import load_configuration
from monitor.cli.operation.report import format_report
from monitor.cli.operation.trip import new_signer, run_round_trip
from monitor.cli.option import DEFAULT_CONFIG, Config
from monitor.cli.service import fail
from monitor.cli.table import Columns, print_table
from monitor.config.model.registry import build_check_scope
from monitor.evaluation.evidence import was_confirmed_in_time
from monitor.model.route import MonitoredRoute
from monitor.planning.check_run import printable
from monitor.runtime.plugins import check_kinds
from monitor.runtime.token_key import token_key
from probes.mail.token import TokenSigner
from probes.model.check import CheckKind, CheckScope, Finding, Verdict
from probes.model.result import Outcome
from probes.run.trace import TraceRecorder

#: By outcome of the message. 2 means an invalid configuration, as in every command.
EXIT_CODES: dict[Outcome, int] = {
    Outcome.DELIVERED: 0,
    Outcome.JUNK: 10,
    Outcome.BOUNCED: 11,
    Outcome.REJECTED: 12,
    Outcome.DEFERRED: 13,
    Outcome.CORRUPTED: 14,
    Outcome.LOST: 15,
    Outcome.AUTH: 16,
    Outcome.TLS: 17,
    Outcome.DNS: 18,
    Outcome.CONNECT: 19,
    Outcome.TIMEOUT: 20,
    Outcome.INCONCLUSIVE: 21,
}

#: Exit code: the message was delivered, but the sender's server did not acknowledge it in time.
BAD_SUBMISSION = 9

#: Exit code: a check found a fault.
CHECK_FAILED = 22


def probe(
    agency: Annotated[str, typer.Argument(help="Short code, such as JKR.")],
    route: Annotated[
        str | None, typer.Argument(help="Routes whose name contains this; default: the internal route.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    *,
    explain: Annotated[bool, typer.Option("--explain", "-e", help="List what to check, and who can do it.")] = False,
    check: Annotated[
        str | None, typer.Option("--check", help="Run this check instead, such as certificate.", metavar="KIND")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the dialogue, with secrets masked, and the relays.")
    ] = False,
) -> None:
    """Send one real message now, show the duration of each phase, and explain the outcome.

    It does not change the health that the service records. Exit code: 0 delivered, 9 delivered although the sender's server
    acknowledged it late or not at all, 10 junk, 11 bounced, 12 rejected, 13 deferred,
    14 corrupted, 15 lost, 16 auth, 17 tls, 18 dns, 19 connect, 20 timeout, 21 inconclusive; of several, the highest.
    With --check: 0 nothing failed, 22 something failed, 21 nothing could be checked, or the check timed out.
    """
    configuration = load_configuration(config)
    if check is not None:
        if agency.upper() not in configuration.registry.agencies:
            fail(f"there is no agency {agency} in the configuration", 2)
        if route is not None:
            fail(f"a check covers the whole agency: leave out the route {route}, or --check", 2)
        _run_check(
            _find_check(check), build_check_scope(agency.upper(), configuration.registry, configuration.settings)
        )
    routes = _select_routes(configuration.registry.routes_for(agency.upper()), agency, route)
    try:
        signer = new_signer(token_key(configuration.settings.state_dir))
    except (OSError, ValueError) as error:
        fail(f"the key that signs probe messages cannot be used: {error}")
    exit_codes = []
    for number, each in enumerate(routes):
        if number:
            typer.echo()
        with suppress_log_events(verbose=verbose):
            exit_codes.append(asyncio.run(_run_probe(each, signer, explain=explain, verbose=verbose)))
    raise typer.Exit(max(exit_codes))


def _select_routes(routes: Sequence[MonitoredRoute], agency: str, name_part: str | None) -> Sequence[MonitoredRoute]:
    if not routes:
        fail(f"there is no agency {agency} in the configuration", 2)
    if name_part is None:
        return routes[:1]
    matches = [each for each in routes if name_part.lower() in each.name.lower()]
    if not matches:
        fail(f"{agency} has no route {name_part}; it has {', '.join(each.name for each in routes)}", 2)
    return matches


def _find_check(name: str) -> CheckKind:
    kinds = check_kinds()
    if name not in kinds:
        fail(f"there is no check {name}; there are {', '.join(kinds)}", 2)
    return kinds[name]


def _run_check(kind: CheckKind, scope: CheckScope) -> NoReturn:
    async def run() -> tuple[Finding, ...]:
        async with asyncio.timeout(kind.within.total_seconds()):  # `within` is the check's time limit.
            return printable(await kind.build(scope, lambda: datetime.now(UTC)).run())

    try:
        findings = asyncio.run(run())
    except TimeoutError:
        fail(f"the check did not end within {kind.within.total_seconds():.0f} s", EXIT_CODES[Outcome.INCONCLUSIVE])
    columns: Columns = {
        "": lambda each: each.verdict.upper(),
        "what": lambda each: each.aspect,
        "of": lambda each: each.subject,
        "found": lambda each: each.detail,
    }
    print_table(findings, columns, nothing=f"{scope.agency} has nothing for this check")
    verdicts = {each.verdict for each in findings}
    if verdicts == {Verdict.UNKNOWN}:
        # Nothing could be checked.
        raise typer.Exit(EXIT_CODES[Outcome.INCONCLUSIVE])
    raise typer.Exit(CHECK_FAILED if Verdict.FAIL in verdicts else 0)


@contextmanager
def suppress_log_events(*, verbose: bool) -> Iterator[None]:
    """Suppress log events in the block unless *verbose*, because the report has the same information."""
    previous = structlog.get_config()
    if not verbose:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**previous)


async def _run_probe(route: MonitoredRoute, signer: TokenSigner, *, explain: bool, verbose: bool) -> int:
    recorder = TraceRecorder(keep_dialogue=verbose)
    result = await run_round_trip(route, signer, recorder)
    width = shutil.get_terminal_size((80, 24)).columns
    typer.echo(format_report(route, result, recorder.dialogue, explain=explain, verbose=verbose, width=width))
    if result.outcome is Outcome.DELIVERED and not was_confirmed_in_time(route, result):
        return BAD_SUBMISSION
    return EXIT_CODES[result.outcome]
