"""`pantau silence`: suppress notifications for a while."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import call_service
from monitor.cli.table import Columns, format_day_and_time, print_table

app = typer.Typer(help="Suppress notifications about an agency or a route for a while.", no_args_is_help=True)


@app.command()
def add(
    target: Annotated[str, typer.Argument(help="An agency's code, or a route as the status page names it.")],
    *,
    duration: Annotated[str, typer.Option("--for", help="How long: 2h, 30m; 7 days at most.", metavar="TIME")],
    reason: Annotated[str, typer.Option("--reason", help="For the audit log and for other users.", metavar="TEXT")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Start a silence. Probing and evaluation go on; a running escalation continues when the silence ends."""
    silence = call_service(
        config, socket, "POST", "/silences", {"target": target, "duration": duration, "reason": reason, "by": by}
    )
    typer.echo(
        f"Notifications about {silence['target']} are suppressed until {format_day_and_time(silence['ends_at'])}: silence {silence['id']}."
    )


@app.command("list")
def list_(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """List the silences that have not ended. Times are Malaysian."""
    columns: Columns = {
        "No.": "id",
        "Target": "target",
        "Since": lambda each: format_day_and_time(each["starts_at"]),
        "Until": lambda each: format_day_and_time(each["ends_at"]),
        "Reason": "reason",
        "By": "by",
    }
    print_table(call_service(config, socket, "GET", "/silences"), columns, nothing="There are no silences.")


@app.command()
def remove(
    number: Annotated[int, typer.Argument(help="As `pantau silence list` shows it.")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """End a silence now. Notifications of faults that still exist are sent at once."""
    silence = call_service(config, socket, "POST", f"/silences/{number}/remove", {"by": by})
    typer.echo(f"Silence {silence['id']} about {silence['target']} has ended.")
