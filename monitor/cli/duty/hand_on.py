"""`pantau hand-on`: whoever has an incident does not have it any more."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, in_path, login_name
from monitor.cli.service import ask


def hand_on(
    incident: Annotated[str, typer.Argument(help="Its number, as in the notices: JKR-07.")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Hand an incident on: the next of the staff are told at once, and that it was handed on.

    Whether you have it, whoever has it cannot be reached, or nobody has taken it on yet.
    """
    found = ask(config, "POST", f"/incidents/{in_path(incident)}/hand-on", {"by": by or login_name()})
    if found["state"] == "resolved":
        typer.echo(f"{found['number']} is over: nothing to hand on.")
    else:
        typer.echo(f"{found['number']} is handed on by {found['had_by']}; the next of the staff are told.")
