"""`pantau paper`: status and resumption of letters and faxes that a restored store has paused."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, LastNumbers, Socket
from monitor.cli.service import ask
from monitor.cli.table import Columns, day_and_time, show

app = typer.Typer(
    help="Letters and faxes that are paused because the store may be an older copy.",
    no_args_is_help=True,
)

#: By `alerts.persistence.restoration.DetectionMethod`.
HOW = {
    "restored": "{by} restored an older copy",
    "older": "the store is older than its high-water mark",
    "empty": "the store was empty, and its high-water mark was not",
    "silent": "nothing was written to the store for more than an hour",
}


@app.command()
def status(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Show what is paused and why, and letters in the trays that the store does not have. Times are Malaysian."""
    found = ask(config, socket, "GET", "/paper")
    if not found["restorations"]:
        typer.echo("Nothing is paused: the store was never restored.")
        return
    restorations: Columns = {
        "Detected": lambda each: day_and_time(each["noticed_at"]),
        "Reason": lambda each: HOW[each["how"]].format(by=each["by"]),
        "Last write": lambda each: day_and_time(each["since"]) if each["since"] else "",
        "Skipped numbers": _left_out,
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
    show(found["pages"], pages, nothing="No page is paused.")
    for unknown in found["unknown"]:
        typer.echo(f"not in the store: {unknown}")


def _left_out(of: dict[str, Any]) -> str:
    return ", ".join(_range(prefix, *both) for prefix, both in (of["skipped"] or {}).items())


def _range(prefix: str, first: int, last: int) -> str:
    one = f"{prefix}-{first:02d}"
    return one if first == last else f"{one} to {prefix}-{last:02d}"


@app.command()
def resume(
    *,
    reason: Annotated[str, typer.Option("--reason", help="What you found out, for the audit log.", metavar="TEXT")],
    last_number: LastNumbers = None,
    nothing_lost: Annotated[
        bool, typer.Option("--nothing-lost", help="The machine was off and the store is not a copy: skip no numbers.")
    ] = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Resume letters and faxes. First set each page that was posted before: `pantau set-status ID --delivered`."""
    word = {"by": by, "reason": reason, "last_numbers": " ".join(last_number or [])}
    done: Any = ask(config, socket, "POST", "/paper/resume", word | ({"nothing_lost": "yes"} if nothing_lost else {}))
    typer.echo(f"Letters and faxes are sent again. Skipped numbers: {_left_out(done) or 'none'}.")
