"""`pantau paper`: paper that waits because the store may be an older copy, and which numbers are not given."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, LastNumbers, Socket
from monitor.cli.service import ask
from monitor.cli.table import Columns, day_and_time, show

app = typer.Typer(
    help="Letters and faxes that wait because the store may be an older copy, and numbers that are not given.",
    no_args_is_help=True,
)

#: By `alerts.persistence.restoration.DetectionMethod`.
HOW = {
    "restored": "an older copy was put back by {by}",
    "older": "the store knew less than what was noted outside of it",
    "empty": "the store was empty, and what was noted outside of it was not",
    "silent": "nothing was written into the store for longer than an hour",
}


@app.command()
def status(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Show what waits, why, and which letters in the trays the store does not know. Times are Malaysian."""
    found = ask(config, socket, "GET", "/paper")
    if not found["restorations"]:
        typer.echo("No paper waits: the store was never an older copy.")
        return
    restorations: Columns = {
        "Noticed": lambda each: day_and_time(each["noticed_at"]),
        "What": lambda each: HOW[each["how"]].format(by=each["by"]),
        "It knew until": lambda each: day_and_time(each["since"]) if each["since"] else "",
        "Numbers left out": _left_out,
        "Confirmed": lambda each: (
            f"{day_and_time(each['confirmed_at'])} by {each['confirmed_by']}" if each["confirmed_at"] else "NO"
        ),
    }
    pages: Columns = {
        "Id": "id",
        "Incident": "incident",
        "Page": lambda each: str(each["page"] or ""),
        "Channel": "channel",
        "Purpose": "purpose",
        "To": "to",
    }
    show(found["restorations"], restorations, nothing="")
    show(found["pages"], pages, nothing="No page waits.")
    for unknown in found["unknown"]:
        typer.echo(f"not known to the store: {unknown}")


def _left_out(of: dict[str, Any]) -> str:
    return ", ".join(_range(prefix, *both) for prefix, both in (of["left_out"] or {}).items())


def _range(prefix: str, first: int, last: int) -> str:
    one = f"{prefix}-{first:02d}"
    return one if first == last else f"{one} to {prefix}-{last:02d}"


@app.command()
def resume(
    *,
    reason: Annotated[str, typer.Option("--reason", help="What was found out, for the journal.", metavar="TEXT")],
    last_number: LastNumbers = None,
    nothing_lost: Annotated[
        bool, typer.Option("--nothing-lost", help="The machine was off, and the store is no copy: give all numbers.")
    ] = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Let paper go out again. First settle each page that was posted before: `pantau set-status ID --delivered`."""
    word = {"by": by, "reason": reason, "last_numbers": " ".join(last_number or [])}
    done: Any = ask(config, socket, "POST", "/paper/resume", word | ({"nothing_lost": "yes"} if nothing_lost else {}))
    typer.echo(f"Letters and faxes go out again. Numbers that are not given: {_left_out(done) or 'none'}.")
