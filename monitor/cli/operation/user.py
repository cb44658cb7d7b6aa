"""`pantau user`: who may sign in to the portal, and as what."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import ask
from monitor.cli.table import Columns, day_and_time, show

app = typer.Typer(help="Say who may sign in to the portal, and as what.", no_args_is_help=True)

_Login = Annotated[str, typer.Argument(help="The name that is typed to sign in.", metavar="NAME")]
_Roles = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        help="viewer, officer, clerk, duty, noc or admin; for one agency alone with its code: officer:JCONTOH.",
        metavar="ROLE[:CODE]",
    ),
]
_Letter = Annotated[
    bool, typer.Option("--by-letter", help="A longer code, good for two weeks, to be sent in a letter.")
]


@app.command()
def add(
    name: _Login,
    full_name: Annotated[str, typer.Argument(help="As people are called.", metavar="'FULL NAME'")],
    *,
    role: _Roles = None,
    by_letter: _Letter = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Make a user, and show the code by which the person chooses a password. Tell it by telephone or letter, not by mail."""
    order = {"name": name, "full_name": full_name, "roles": role or [], "by": by}
    made = ask(config, socket, "POST", "/users", order)
    typer.echo(f"{made['full_name']} may sign in as {made['name']}: {', '.join(made['roles']) or 'no role yet'}.")
    _invite(made["name"], by_letter=by_letter, by=by, config=config, socket=socket)


@app.command("list")
def list_(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """List the users. Times are Malaysian."""
    columns: Columns = {
        "Name": "name",
        "Full name": "full_name",
        "Roles": lambda each: ", ".join(each["roles"]),
        "State": _state,
    }
    show(ask(config, socket, "GET", "/users"), columns, nothing="There are no users: pantau user add NAME 'FULL NAME'")


@app.command()
def invite(
    name: _Login,
    *,
    by_letter: _Letter = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Show a new code by which a password is chosen, also by somebody who has forgotten theirs. The code before is void."""
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
    """Let a user have these roles, and no others; without any, none."""
    made = ask(config, socket, "POST", f"/users/{name}/roles", {"roles": role or [], "by": by})
    typer.echo(f"{made['name']} has {', '.join(made['roles']) or 'no role'}.")


@app.command()
def disable(name: _Login, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Let a user sign in no more; whoever is signed in so is signed out."""
    made = ask(config, socket, "POST", f"/users/{name}/disable", {"by": by})
    typer.echo(f"{made['name']} may not sign in any more.")


@app.command()
def enable(name: _Login, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Let a user sign in again, with the password that there was."""
    made = ask(config, socket, "POST", f"/users/{name}/enable", {"by": by})
    typer.echo(f"{made['name']} may sign in again.")


@app.command()
def unlock(name: _Login, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Let a user sign in without waiting, for ten minutes: where strangers guess at the password, new browsers may have to wait."""
    made = ask(config, socket, "POST", f"/users/{name}/unlock", {"by": by})
    typer.echo(f"{made['name']} signs in without waiting, for ten minutes.")


@app.command("reset-second-factor")
def reset_second_factor(name: _Login, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Take a user's second factor away, who has lost the telephone and the recovery codes. Be sure that it is they who ask."""
    made = ask(config, socket, "POST", f"/users/{name}/reset-second-factor", {"by": by})
    typer.echo(f"{made['name']} signs in with the password alone, or sets up another second factor.")


def _invite(name: str, *, by_letter: bool, by: str, config: Config, socket: Socket) -> None:
    order = {"way": "letter" if by_letter else "telephone", "by": by}
    made = ask(config, socket, "POST", f"/users/{name}/invite", order)
    how = "in a letter" if by_letter else "over the telephone"
    typer.echo(f"Code, good once until {day_and_time(made['ends_at'])}, to be told {how}: {made['code']}")
    typer.echo(f"{made['full_name']} opens /welcome at the portal's address and chooses a password with it.")


def _state(user: Any) -> str:
    if user["disabled_at"]:
        return f"disabled since {day_and_time(user['disabled_at'])}"
    if not user["has_password"]:
        return "no password yet"
    return "active, with a second factor" if user["has_second_factor"] else "active"
