"""`pantau incident-record`, `pantau monthly-report` and `pantau purge`.

Purging deletes old records, for which the law (Act 629) requires a written consent.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket, url_part
from monitor.cli.private import open_private
from monitor.cli.service import LONG_TIMEOUT, call_service, fail
from monitor.cli.table import MALAYSIA

#: Maximum number of incidents that are listed.
_MAX_LISTED = 20


def incident_record(
    incident: Annotated[str, typer.Argument(help="Its number, as in notifications: JKR-07.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A directory for the files; default: incident-record-NUMBER here."),
    ] = None,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Write an incident's record: a PDF/A, and the data with the hashes of the audit log.

    It has people's names and telephone numbers, so it is classified TERHAD (restricted), and only you can read the files.
    """
    files = call_service(
        config, socket, "POST", f"/incidents/{url_part(incident)}/record", {"by": by}, timeout=LONG_TIMEOUT
    )
    directory = output or Path(f"incident-record-{incident.strip().upper()}")
    _write_files(directory, files)
    typer.echo(f"{directory}: {', '.join(files)}. TERHAD: keep it where only authorised people can read it.")
    entry = json.loads(b64decode(files["seal.json"]))["entry"]
    typer.echo(f"Its head: {entry['number']}:{entry['hash']}. Keep this elsewhere: it proves that no file was changed.")


def monthly_report(
    agency: Annotated[str, typer.Argument(help="Its code: JKR.")],
    month: Annotated[str, typer.Argument(help="Year and month: 2026-11.", metavar="MONTH")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A directory for the files; default: this one.")
    ] = None,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Write an agency's monthly report for its head: one page of PDF/A in Malay, and tables.

    It has the availability of sending and receiving, time without data, outages with cause and duration, who was notified,
    drills and checks. It has people's names, and no telephone numbers.
    """
    body = {"agency": agency, "month": month, "by": by}
    files = call_service(config, socket, "POST", "/monthly-reports", body, timeout=LONG_TIMEOUT)
    directory = output or Path()
    _write_files(directory, files)
    typer.echo(f"{directory}: {', '.join(files)}")


def _write_files(directory: Path, files: Mapping[str, str]) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in files.items():
            with open_private(directory / Path(name).name) as file:
                file.write(b64decode(content))
    except OSError as error:
        fail(f"{directory} cannot be written: {error.strerror}")


def _parse_day(text: str) -> datetime:
    """Return the beginning of a day in Malaysia. Raise `typer.BadParameter`."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=MALAYSIA)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is not a date; write 2019-12-31") from None


def purge(
    *,
    before: Annotated[
        datetime,
        typer.Option("--before", parser=_parse_day, help="Delete what ended before this day.", metavar="DATE"),
    ],
    authority: Annotated[
        str,
        typer.Option(
            "--authority",
            help="Reference of the consent of the Director General of the National Archives (Act 629).",
            metavar="REF",
        ),
    ],
    by: Annotated[str, typer.Option("--by", help="Who does this.", metavar="NAME")],
    confirm: Annotated[
        str,
        typer.Option("--confirm", help="Carry it out: repeat the counts of the dry run.", metavar="COUNTS"),
    ] = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Show which incidents, notifications and audit log entries would be deleted; --confirm deletes them.

    Nothing is deleted without a reference. The audit log keeps who deleted what, when and on whose authority, and its hash
    chain stays valid.
    """
    if before > datetime.now(MALAYSIA):
        fail("--before: must not be in the future", 2)
    body = {"before": before.isoformat(), "authority": authority, "by": by, "confirm": confirm}
    result = call_service(config, socket, "POST", "/purge", body, timeout=LONG_TIMEOUT)
    incidents, notifications, entries = result["counts"].split("/")
    counts_text = f"{incidents} incidents, {notifications} notifications, {entries} audit log entries"
    if result["purged"]:
        typer.echo(f"Purged on the authority of {authority}: {counts_text}.")
        return
    numbers = result["incidents"]
    if not any(int(count) for count in (incidents, notifications, entries)):
        typer.echo(f"Nothing ended before {before:%d/%m/%Y}.")
        return
    more_text = f" and {len(numbers) - _MAX_LISTED} more" if len(numbers) > _MAX_LISTED else ""
    if numbers:
        typer.echo(f"Incidents: {' '.join(numbers[:_MAX_LISTED])}{more_text}")
    typer.echo(f"To be deleted: {counts_text}. Nothing is deleted yet.")
    typer.echo(
        f"Write the incident records first (`pantau incident-record`), then repeat the command with --confirm {result['counts']}"
    )
