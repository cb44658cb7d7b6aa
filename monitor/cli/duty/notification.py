"""The commands about notices: who was told what, and what became of one whose fate no machine knows."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import ask
from monitor.cli.table import Columns, clock, show


def notifications(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """List the newest notices, newest first. Times are Malaysian."""
    columns: Columns = {
        "Id": "id",
        "When": lambda each: clock(each["created_at"]),
        "Incident": "incident",
        "Channel": "channel",
        "Purpose": "purpose",
        "To": "person",
        "State": "state",
        "Attempts": "attempts",
        "Why": "why",
    }
    show(ask(config, socket, "GET", "/notifications"), columns, nothing="No notices have been sent.")


#: By ruling (`alerts.engine.manual_status.ManualStatus`).
DONE = {
    "delivered": "is recorded as delivered",
    "lost": "is recorded as lost; it is not sent again",
    "resend": "is recorded as lost, and goes out once more",
}


def set_status(
    notification: Annotated[int, typer.Argument(help="Its id, as `pantau notifications` lists it.")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="How that was found out, for the journal.", metavar="TEXT")],
    delivered: Annotated[bool, typer.Option("--delivered", help="Its reader has it.")] = False,
    lost: Annotated[bool, typer.Option("--lost", help="Its reader never got it; leave it at that.")] = False,
    resend: Annotated[bool, typer.Option("--resend", help="Its reader never got it; send it once more.")] = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Say what became of a notice whose fate is unknown: ask its reader first."""
    said = [ruling for ruling, is_so in zip(DONE, (delivered, lost, resend), strict=True) if is_so]
    if len(said) != 1:
        raise typer.BadParameter("say one of --delivered, --lost and --resend")
    word = {"by": by, "reason": reason, "status": said[0]}
    ask(config, socket, "POST", f"/notifications/{notification}/set-status", word)
    typer.echo(f"Notification {notification} {DONE[said[0]]}.")
