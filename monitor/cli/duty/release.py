"""`pantau release`: a duty officer lets announcements go out."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, in_path, login_name
from monitor.cli.service import ask, fail


def release(
    incidents: Annotated[list[str] | None, typer.Argument(help="Their numbers, as in the notices: JKR-07.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that wait for their release, once confirmed.")] = False,
    confirm: Annotated[
        int | None, typer.Option("--confirm", help="How many that are, as the command says without it.", min=1)
    ] = None,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Release the announcements of outages: their fax pages and letters go out to the agencies' recipients."""
    if bool(incidents) == everything:
        raise typer.BadParameter("name the incidents, or say --all")
    numbers = incidents or _waiting(config, confirm)
    refused = []
    for number in numbers:
        found = ask(config, "POST", f"/incidents/{in_path(number)}/release", {"by": by or login_name()})
        if found["announcement"] == "released":
            typer.echo(f"{found['number']}: announcement released by {found['released_by']}.")
        else:
            refused.append(f"{found['number']} has nothing to announce: it is {found['matter']}, {found['state']}")
    if refused:
        fail("\n".join(refused))


def _waiting(config: Config, confirm: int | None) -> list[str]:
    """Return the numbers of all that wait; or say which they are, and end the command, where that was not confirmed."""
    waiting = ask(config, "GET", "/releases")
    if not waiting:
        fail("No announcement waits for its release.")
    if confirm != len(waiting):
        for each in waiting:
            typer.echo(f"{each['number']} {each['matter']}, since {each['began_at']}")
        typer.echo(f"{len(waiting)} announcements wait. Nothing is released yet; repeat with --confirm {len(waiting)}")
        raise typer.Exit(0)
    return [each["number"] for each in waiting]
