"""`pantau token`: API tokens of programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import ask
from monitor.cli.table import Columns, day_and_time, show

app = typer.Typer(help="API tokens of programs.", no_args_is_help=True)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The name of the program: konsol-noc.", metavar="NAME")],
    *,
    role: Annotated[
        list[str],
        typer.Option(
            "--role",
            help="viewer, officer, clerk, duty, noc or admin; for one agency alone with its code: viewer:JCONTOH.",
            metavar="ROLE[:CODE]",
        ),
    ],
    duration: Annotated[
        str, typer.Option("--for", help="How long it is valid: 90d; 366 days at most.", metavar="TIME")
    ],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Create a token and print it. It is not shown again."""
    order = {"name": name, "roles": role, "duration": duration, "by": by}
    made = ask(config, socket, "POST", "/tokens", order)
    token = made["token"]
    typer.echo(
        f"Token {token['id']} for {token['name']}: {', '.join(token['roles'])}, until {day_and_time(token['ends_at'])}. "
        "It is not shown again:",
        err=True,
    )
    # Alone, so that it can be redirected to a file.
    typer.echo(made["secret"])


@app.command("list")
def list_(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """List tokens, newest first, with their last use. Times are Malaysian."""
    columns: Columns = {
        "No.": "id",
        "Program": "name",
        "Roles": lambda each: ", ".join(each["roles"]),
        "By": "made_by",
        "Used": lambda each: day_and_time(each["used_at"]) if each["used_at"] else "never",
        "State": _state,
    }
    show(ask(config, socket, "GET", "/tokens"), columns, nothing="There are no tokens: pantau token add NAME")


@app.command()
def revoke(
    number: Annotated[int, typer.Argument(help="As `pantau token list` shows it.")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Revoke a token."""
    gone = ask(config, socket, "POST", f"/tokens/{number}/revoke", {"by": by})
    typer.echo(f"Token {gone['id']} of {gone['name']} is revoked.")


def _state(token: Any) -> str:
    if token["revoked_at"]:
        return f"revoked {day_and_time(token['revoked_at'])}"
    is_over = datetime.fromisoformat(token["ends_at"]) <= datetime.now(UTC)
    return f"{'expired' if is_over else 'until'} {day_and_time(token['ends_at'])}"
