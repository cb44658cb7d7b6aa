"""`pantau correct`: a person declares an incident a false alarm."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, in_path, login_name
from monitor.cli.service import ask


def correct(
    incident: Annotated[str, typer.Argument(help="Its number, as in the notices: JKR-07.")],
    why: Annotated[str, typer.Option("--why", help="What was found, for the journal.", metavar="TEXT")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """End an incident as a false alarm: whoever was told of it gets a correction, by the same way.

    While it is open, and within 24 hours of its end. It cannot be undone.
    """
    word = {"by": by or login_name(), "why": why}
    found = ask(config, "POST", f"/incidents/{in_path(incident)}/correct", word)
    typer.echo(f"{found['number']} is declared a false alarm by {found['corrected_by']}; corrections go out.")
