"""`pantau letters`: what lies in the tray, and who has printed and posted it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import ask
from monitor.cli.table import Columns, day_and_time, show

app = typer.Typer(help="The letters in the tray: print, sign and post them, and record it here.", no_args_is_help=True)

Notice = Annotated[int, typer.Argument(help="As `pantau letters list` shows it.")]


@app.command("list")
def list_(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """List what lies in the tray, oldest first, and what has left it of late. Times are Malaysian."""
    columns: Columns = {
        "Id": "id",
        "Incident": "incident",
        "Purpose": "purpose",
        "To": "to",
        "Laid": lambda each: day_and_time(each["laid_at"]),
        "Post by": lambda each: day_and_time(each["post_by"]),
        "State": _state,
    }
    show(ask(config, socket, "GET", "/letters"), columns, nothing="No letter lies in the tray.")


@app.command()
def printed(notice: Notice, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Record that a letter was printed."""
    _record("printed", notice, by, config, socket)


@app.command()
def posted(
    notice: Notice,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
    *,
    already_posted: Annotated[
        bool,
        typer.Option("--already-posted", help="It was posted before it was taken back: its recipient will be told."),
    ] = False,
    unprinted: Annotated[
        bool, typer.Option("--unprinted", help="It was printed elsewhere, and nobody has recorded that.")
    ] = False,
    day: Annotated[
        str, typer.Option("--on", help="The day of posting: 2026-12-01; default: today.", metavar="DAY")
    ] = "",
) -> None:
    """Record that a letter was posted: from now on its recipient is owed a recovery letter."""
    deed = "posted-already" if already_posted else "posted-unprinted" if unprinted else "posted"
    _record(deed, notice, by, config, socket, day=day)


@app.command("not-posted")
def not_posted(notice: Notice, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Take back that a letter was posted: it lies in the tray again.

    Refused once a later letter to the same reader cites it.
    """
    ask(config, socket, "POST", f"/notifications/{notice}/not-posted", {"by": by})
    typer.echo(f"The letter of notice {notice} is not posted after all: it lies in the tray again.")


def _record(deed: str, notice: int, by: str, config: Config, socket: Socket, *, day: str = "") -> None:
    word = {"by": by, **({"day": day} if day else {})}
    noted = ask(config, socket, "POST", f"/notifications/{notice}/{deed}", word)
    deed = deed.partition("-")[0]
    if noted["anew"]:
        typer.echo(f"The letter of notice {notice} is recorded as {deed}.")
    else:
        before = f"{noted['by']} at {day_and_time(noted['at'])}"
        typer.echo(f"The letter of notice {notice} was recorded as {deed} before, by {before}. Nothing is changed.")


def _state(letter: dict[str, Any]) -> str:
    match letter["step"]:
        case "posted" if letter["posted_by"]:
            return f"posted by {letter['posted_by']}, {date.fromisoformat(letter['posted_on']):%d/%m/%Y}"
        case "taken_back" if letter["printed_by"]:
            return f"taken back: do not post what {letter['printed_by']} has printed"
        case "taken_back":
            return "taken back"
        case "printed":
            state = f"printed by {letter['printed_by']}, {day_and_time(letter['printed_at'])}"
        case step:
            state = str(step)
    return f"OVERDUE: {state}" if letter["overdue"] else state
