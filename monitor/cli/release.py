"""`pantau release`: a duty officer lets an announcement go out."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, in_path, login_name
from monitor.cli.service import ask, fail


def release(
    incident: Annotated[str, typer.Argument(help="Its number, as in the notices: JKR-07.")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Release the announcement of an outage: its fax pages and letters go out to the agency's recipients."""
    found = ask(config, "POST", f"/incidents/{in_path(incident)}/release", {"by": by or login_name()})
    if found["announcement"] != "released":
        fail(f"{found['number']} has nothing to announce: it is {found['matter']}, {found['state']}")
    typer.echo(f"{found['number']}: announcement released by {found['released_by']}.")
