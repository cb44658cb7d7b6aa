"""`pantau close`: a person says that a declared outage is over."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, in_path, login_name
from monitor.cli.service import ask


def close(
    incident: Annotated[str, typer.Argument(help="Its number, as in the notices: JKR-07.")],
    *,
    why: Annotated[str, typer.Option("--why", help="How you know, for the journal and the dossier.", metavar="TEXT")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """End an outage that was declared: mail works again, and whoever was told of the outage is told so.

    If the probes see an outage, too, it goes on until they are well.
    """
    word = {"by": by or login_name(), "why": why}
    found = ask(config, "POST", f"/incidents/{in_path(incident)}/close", word)
    if found["state"] == "resolved":
        typer.echo(f"{found['number']} is over; whoever was told of it is told so.")
    else:
        typer.echo(
            f"{found['number']} GOES ON: the probes see an outage, too ({found['measured']}). It ends when they are well."
        )
