"""`pantau dispatched`: a clerk has posted a letter."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, login_name
from monitor.cli.service import ask


def dispatched(
    notice: Annotated[int, typer.Argument(help="Id of the letter's notice, as `pantau notices` lists it.")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Record that a letter was posted: from now on its recipient is owed a recovery letter."""
    ask(config, "POST", f"/notices/{notice}/dispatched", {"by": by or login_name()})
    typer.echo(f"The letter of notice {notice} is recorded as posted.")
