"""`pantau drill`: start a drill, or list the results. A drill tests numbers and gateways with marked test messages."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import call_service, fail
from monitor.cli.table import Columns, format_time, print_table


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
        _print_results(config, socket)
        return
    if not contact:
        # The default is not `all`, because a drill sends real messages.
        fail("name a contact: `pantau drill CONTACT`, or `pantau drill all`", 2)
    started = call_service(config, socket, "POST", "/drills", {"contact": contact, "by": by})
    number, count = started["number"], started["notifications"]
    typer.echo(f"Drill {number} has started: {count} notifications, until {format_time(started['ends_at'])}.")
    typer.echo("Results: pantau drill results")


def _print_results(config: Config, socket: Socket) -> None:
    columns: Columns = {
        "Drill": "drill",
        "When": lambda each: format_time(each["started_at"]),
        "Agency": lambda each: each["agency"] or "NOC",
        "Contact": "name",
        "Channel": "channel",
        "Gateway": "gateway",
        "State": "state",
        "Confirmed": lambda each: format_time(each["confirmed_at"]),
        "Reason": "reason",
    }
    print_table(call_service(config, socket, "GET", "/drills"), columns, nothing="There have been no drills.")
