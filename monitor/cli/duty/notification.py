"""Commands on notifications: list them, and set a delivery status that is unknown."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import call_service
from monitor.cli.table import Columns, format_time, print_table


def notifications(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """List notifications, newest first. Times are Malaysian."""
    columns: Columns = {
        "Id": "id",
        "When": lambda each: format_time(each["created_at"]),
        "Incident": "incident",
        "Channel": "channel",
        "Purpose": "purpose",
        "To": "person",
        "State": "state",
        "Attempts": "attempts",
        "Reason": "reason",
    }
    print_table(
        call_service(config, socket, "GET", "/notifications"), columns, nothing="No notifications have been sent."
    )


#: Texts of the values of `alerts.engine.manual_status.ManualStatus`.
STATUS_TEXTS = {
    "delivered": "is recorded as delivered",
    "lost": "is recorded as lost; it is not sent again",
    "resend": "is recorded as lost, and is sent once more",
}


def set_status(
    notification: Annotated[int, typer.Argument(help="Its id, as `pantau notifications` lists it.")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="How you found out, for the audit log.", metavar="TEXT")],
    delivered: Annotated[bool, typer.Option("--delivered", help="The recipient has it.")] = False,
    lost: Annotated[bool, typer.Option("--lost", help="The recipient did not get it; do not send it again.")] = False,
    resend: Annotated[bool, typer.Option("--resend", help="The recipient did not get it; send it once more.")] = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Set the delivery status of a notification where it is unknown. Ask the recipient first."""
    statuses = [status for status, is_chosen in zip(STATUS_TEXTS, (delivered, lost, resend), strict=True) if is_chosen]
    if len(statuses) != 1:
        raise typer.BadParameter("give one of --delivered, --lost and --resend")
    body = {"by": by, "reason": reason, "status": statuses[0]}
    call_service(config, socket, "POST", f"/notifications/{notification}/set-status", body)
    typer.echo(f"Notification {notification} {STATUS_TEXTS[statuses[0]]}.")
