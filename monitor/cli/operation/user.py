"""`pantau user`: users of the portal, their roles and their sign-in."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import call_service
from monitor.cli.table import Columns, format_day_and_time, print_table

app = typer.Typer(help="Users of the portal, their roles and their sign-in.", no_args_is_help=True)

_Login = Annotated[str, typer.Argument(help="The user name of the sign-in.", metavar="NAME")]
_Roles = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        help="viewer, officer, clerk, duty, noc or admin; append an agency's code to limit it to that: officer:JCONTOH.",
        metavar="ROLE[:CODE]",
    ),
]
_Letter = Annotated[bool, typer.Option("--by-letter", help="A longer code, valid for two weeks, to send by letter.")]


@app.command()
def add(
    name: _Login,
    full_name: Annotated[str, typer.Argument(help="The person's name.", metavar="'FULL NAME'")],
    *,
    role: _Roles = None,
    by_letter: _Letter = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Create a user and print a code to choose a password with. Give it by telephone or letter, not by mail."""
    body = {"name": name, "full_name": full_name, "roles": role or [], "by": by}
    user = call_service(config, socket, "POST", "/users", body)
    typer.echo(f"{user['full_name']} may sign in as {user['name']}: {', '.join(user['roles']) or 'no role yet'}.")
    _invite(user["name"], by_letter=by_letter, by=by, config=config, socket=socket)


@app.command("list")
def list_(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """List the users. Times are Malaysian."""
    columns: Columns = {
        "Name": "name",
        "Full name": "full_name",
        "Roles": lambda each: ", ".join(each["roles"]),
        "State": _state,
    }
    print_table(
        call_service(config, socket, "GET", "/users"),
        columns,
        nothing="There are no users: pantau user add NAME 'FULL NAME'",
    )


@app.command()
def invite(
    name: _Login,
    *,
    by_letter: _Letter = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Print a new code to choose a password with, also after a password was forgotten. An older code becomes invalid."""
    _invite(name, by_letter=by_letter, by=by, config=config, socket=socket)


@app.command()
def roles(
    name: _Login,
    *,
    role: _Roles = None,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Set a user's roles. Without --role, remove all."""
    user = call_service(config, socket, "POST", f"/users/{name}/roles", {"roles": role or [], "by": by})
    typer.echo(f"{user['name']} has {', '.join(user['roles']) or 'no role'}.")


@app.command()
def disable(name: _Login, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Disable a user: end their sessions and refuse their sign-in."""
    user = call_service(config, socket, "POST", f"/users/{name}/disable", {"by": by})
    typer.echo(f"{user['name']} is disabled.")


@app.command()
def enable(name: _Login, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Enable a user again, with the old password."""
    user = call_service(config, socket, "POST", f"/users/{name}/enable", {"by": by})
    typer.echo(f"{user['name']} is enabled.")


@app.command()
def unlock(name: _Login, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Lift a user's sign-in delay for ten minutes. Failed sign-ins of others may delay new browsers."""
    user = call_service(config, socket, "POST", f"/users/{name}/unlock", {"by": by})
    typer.echo(f"{user['name']} can sign in without delay for ten minutes.")


@app.command("reset-second-factor")
def reset_second_factor(name: _Login, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Remove a user's second factor, when the device and the recovery codes are lost. Verify who asks first."""
    user = call_service(config, socket, "POST", f"/users/{name}/reset-second-factor", {"by": by})
    typer.echo(f"{user['name']} signs in with the password, or sets up a new second factor.")


def _invite(name: str, *, by_letter: bool, by: str, config: Config, socket: Socket) -> None:
    body = {"kind": "letter" if by_letter else "telephone", "by": by}
    invitation = call_service(config, socket, "POST", f"/users/{name}/invite", body)
    medium = "by letter" if by_letter else "by telephone"
    typer.echo(
        f"Code, valid once until {format_day_and_time(invitation['ends_at'])}, to give {medium}: {invitation['code']}"
    )
    typer.echo(f"{invitation['full_name']} opens /welcome at the portal's address and chooses a password with it.")


def _state(user: Any) -> str:
    if user["disabled_at"]:
        return f"disabled since {format_day_and_time(user['disabled_at'])}"
    if not user["has_password"]:
        return "no password yet"
    return "active, with a second factor" if user["has_second_factor"] else "active"
