"""`pantau letters`: list the letters in the tray, the directory from which clerks post them, and record their posting."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import call_service
from monitor.cli.table import Columns, format_day_and_time, print_table

app = typer.Typer(help="Letters in the tray: list them, and record printing and posting.", no_args_is_help=True)

Notification = Annotated[int, typer.Argument(help="As `pantau letters list` shows it.")]


@app.command("list")
def list_(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """List the letters in the tray, oldest first, and those that left it recently. Times are Malaysian."""
    columns: Columns = {
        "Id": "id",
        "Incident": "incident",
        "Purpose": "purpose",
        "To": "to",
        "Queued": lambda each: format_day_and_time(each["queued_at"]),
        "Post by": lambda each: format_day_and_time(each["post_by"]),
        "State": _state,
    }
    print_table(call_service(config, socket, "GET", "/letters"), columns, nothing="The tray is empty.")


@app.command()
def printed(notification: Notification, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Record that a letter was printed."""
    _record("printed", notification, by, config, socket)


@app.command()
def posted(
    notification: Notification,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
    *,
    already_posted: Annotated[
        bool,
        typer.Option(
            "--already-posted", help="It was posted before it was withdrawn: its recipient gets a recovery letter."
        ),
    ] = False,
    unprinted: Annotated[bool, typer.Option("--unprinted", help="Nobody has recorded that it was printed.")] = False,
    day: Annotated[
        str, typer.Option("--on", help="The day of posting: 2026-12-01; default: today.", metavar="DAY")
    ] = "",
) -> None:
    """Record that a letter was posted. Its recipient gets a recovery letter when the outage ends."""
    step = "posted-already" if already_posted else "posted-unprinted" if unprinted else "posted"
    _record(step, notification, by, config, socket, day=day)


@app.command("not-posted")
def not_posted(notification: Notification, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Undo the record that a letter was posted: it is in the tray again.

    Refused once a later letter to the same recipient cites it.
    """
    call_service(config, socket, "POST", f"/notifications/{notification}/not-posted", {"by": by})
    typer.echo(f"The letter of notification {notification} is not posted: it is in the tray again.")


def _record(step: str, notification: int, by: str, config: Config, socket: Socket, *, day: str = "") -> None:
    body = {"by": by, **({"day": day} if day else {})}
    record = call_service(config, socket, "POST", f"/notifications/{notification}/{step}", body)
    step = step.partition("-")[0]  # For instance "posted" for "posted-already".
    if record["anew"]:  # Whether this request made the record; false: it existed before.
        typer.echo(f"The letter of notification {notification} is recorded as {step}.")
    else:
        recorded = f"{record['by']} at {format_day_and_time(record['at'])}"
        typer.echo(
            f"The letter of notification {notification} was recorded as {step} before, by {recorded}. Nothing is changed."
        )


def _state(letter: dict[str, Any]) -> str:
    match letter["step"]:
        case "posted" if letter["posted_by"]:
            return f"posted by {letter['posted_by']}, {date.fromisoformat(letter['posted_on']):%d/%m/%Y}"
        case "taken_back" if letter["printed_by"]:
            return f"withdrawn: do not post what {letter['printed_by']} has printed"
        case "taken_back":
            return "withdrawn"
        case "printed":
            state = f"printed by {letter['printed_by']}, {format_day_and_time(letter['printed_at'])}"
        case step:
            state = str(step)
    return f"OVERDUE: {state}" if letter["overdue"] else state
