"""`pantau drill`: try people's numbers and the gateways, and see what became of it."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import ask, fail
from monitor.cli.table import Columns, clock, show


def drill(
    contact: Annotated[
        str,
        typer.Argument(
            help="A contact's key, or all; JCONTOH/siti or JCONTOH/all of one agency; or results.", show_default=False
        ),
    ] = "",
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Try a contact's numbers, or everybody's: SMS, calls and faxes that say that they are a drill.

    It gives way to anything real, and rings no office outside of its hours. Times are Malaysian.
    """
    if contact == "results":
        _show(config, socket)
        return
    if not contact:
        # Nobody is to wake everybody by typing too little.
        fail("name whom to drill: `pantau drill CONTACT`, or `pantau drill all`", 2)
    begun = ask(config, socket, "POST", "/drills", {"contact": contact, "by": by})
    number, count = begun["number"], begun["notifications"]
    typer.echo(f"Drill {number} has begun: {count} to try, until {clock(begun['ends_at'])}.")
    typer.echo("What becomes of it: pantau drill results")


def _show(config: Config, socket: Socket) -> None:
    columns: Columns = {
        "Drill": "drill",
        "When": lambda each: clock(each["begun_at"]),
        "Agency": lambda each: each["agency"] or "NOC",
        "Whom": "name",
        "Channel": "channel",
        "Gateway": "gateway",
        "State": "state",
        "Confirmed": lambda each: clock(each["confirmed_at"]),
        "Reason": "reason",
    }
    show(ask(config, socket, "GET", "/drills"), columns, nothing="No drill has been held.")
