"""`pantau drill`: test numbers and gateways, and list the results."""

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
            help="A contact's key, or all; JCONTOH/siti or JCONTOH/all of one agency; or results, to list the last five.",
            show_default=False,
        ),
    ] = "",
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Test a contact's numbers, or everybody's, by SMS, calls and faxes that are marked as a drill.

    Real notifications go first, and no office is called outside its hours. Times are Malaysian.
    """
    if contact == "results":
        _show(config, socket)
        return
    if not contact:
        # Without a name it calls nobody, rather than everybody.
        fail("name a contact: `pantau drill CONTACT`, or `pantau drill all`", 2)
    begun = ask(config, socket, "POST", "/drills", {"contact": contact, "by": by})
    number, count = begun["number"], begun["notifications"]
    typer.echo(f"Drill {number} has started: {count} notifications, until {clock(begun['ends_at'])}.")
    typer.echo("Results: pantau drill results")


def _show(config: Config, socket: Socket) -> None:
    columns: Columns = {
        "Drill": "drill",
        "When": lambda each: clock(each["started_at"]),
        "Agency": lambda each: each["agency"] or "NOC",
        "Contact": "name",
        "Channel": "channel",
        "Gateway": "gateway",
        "State": "state",
        "Confirmed": lambda each: clock(each["confirmed_at"]),
        "Reason": "reason",
    }
    show(ask(config, socket, "GET", "/drills"), columns, nothing="There have been no drills.")
