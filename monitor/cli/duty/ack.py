"""`pantau ack`: a person takes an incident on."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, in_path, login_name
from monitor.cli.service import ask
from monitor.cli.table import clock


def ack(
    incident: Annotated[str, typer.Argument(help="Its number, as in the notices: JKR-07.")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Acknowledge an incident: the escalation to staff stops, the announcement does not.

    For a while (`acknowledge_for`, an hour): do it again, remark on it or release its announcement, and it lasts as long
    again. Who is not heard of is reminded by SMS, and then the next of the staff are told.
    """
    found = ask(config, "POST", f"/incidents/{in_path(incident)}/acknowledge", {"by": by or login_name()})
    if found["state"] == "resolved":
        typer.echo(f"{found['number']} is over: nothing to acknowledge.")
    else:
        # What it is about now: it may have got worse since it was read.
        until = clock(found["acknowledged_until"])
        typer.echo(
            f"{found['number']} ({found['matter']}) is acknowledged by {found['acknowledged_by']} until {until}."
        )
