"""`pantau token`: API tokens of programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import call_service
from monitor.cli.table import Columns, format_day_and_time, print_table

app = typer.Typer(help="API tokens of programs.", no_args_is_help=True)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The name of the program: konsol-noc.", metavar="NAME")],
    *,
    role: Annotated[
        list[str],
        typer.Option(
            "--role",
            help="viewer, officer, clerk, duty, noc or admin; append an agency's code to limit it to that: viewer:JCONTOH.",
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
    body = {"name": name, "roles": role, "duration": duration, "by": by}
    created = call_service(config, socket, "POST", "/tokens", body)
    token = created["token"]
    typer.echo(
        f"Token {token['id']} for {token['name']}: {', '.join(token['roles'])}, until {format_day_and_time(token['ends_at'])}. "
        "It is not shown again:",
        err=True,
    )
    # Standard output has only the secret, so that it can be redirected to a file.
    typer.echo(created["secret"])


@app.command("list")
def list_(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """List tokens, newest first, with their last use. Times are Malaysian."""
    columns: Columns = {
        "No.": "id",
        "Program": "name",
        "Roles": lambda each: ", ".join(each["roles"]),
        "By": "made_by",
        "Used": lambda each: format_day_and_time(each["used_at"]) if each["used_at"] else "never",
        "State": _state,
    }
    print_table(
        call_service(config, socket, "GET", "/tokens"), columns, nothing="There are no tokens: pantau token add NAME"
    )


@app.command()
def revoke(
    number: Annotated[int, typer.Argument(help="As `pantau token list` shows it.")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Revoke a token."""
    revoked = call_service(config, socket, "POST", f"/tokens/{number}/revoke", {"by": by})
    typer.echo(f"Token {revoked['id']} of {revoked['name']} is revoked.")


def _state(token: Any) -> str:
    if token["revoked_at"]:
        return f"revoked {format_day_and_time(token['revoked_at'])}"
    is_expired = datetime.fromisoformat(token["ends_at"]) <= datetime.now(UTC)
    return f"{'expired' if is_expired else 'until'} {format_day_and_time(token['ends_at'])}"
