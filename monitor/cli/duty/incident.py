"""Commands on incidents: list, acknowledge, escalate, note, release, declare, close, mark as a false alarm.

To release is to approve the announcement of an outage to other offices; to declare is to open an incident by hand.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket, url_part
from monitor.cli.service import call_service, control_socket, fail
from monitor.cli.table import Columns, format_day_and_time, format_time, print_table

Number = Annotated[str, typer.Argument(help="Its number, as in notifications: JKR-07.")]
#: Latest measurement that contradicts a command: mail works again although an outage is to be announced, or still fails
#: although the incident is to be closed. The values are those of `alerts.model.contradiction.Contradiction`, which is
#: not imported, so that commands start quickly.
ContradictionValue = Literal["works-again", "still-fails"]
Despite = Annotated[
    ContradictionValue | None,
    typer.Option(
        "--despite",
        help="Carry it out against what probes measure, as the refusal of this command names it. The audit log records this.",
        show_default=False,
    ),
]
Reason = Annotated[
    str, typer.Option("--reason", help="How you know, for the audit log and the incident record.", metavar="TEXT")
]


def incidents(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """List the open incidents, then the latest resolved ones. Times are Malaysian."""
    columns: Columns = {
        "No.": "number",
        "Subject": "subject",
        "Type": lambda each: f"{each['type']}, declared" if each["declared_by"] else each["type"],
        "State": _state,
        "Began": lambda each: format_time(each["began_at"]),
        "Acknowledged by": _acknowledged_by,
        "Announcement": "announcement",
        "Resolved": lambda each: format_time(each["resolved_at"]),
    }
    print_table(call_service(config, socket, "GET", "/incidents"), columns, nothing="There have been no incidents.")


def _state(incident: Mapping[str, Any]) -> str:
    """Return the text of an incident's state, including whether probes still detect the fault of a closed incident."""
    if incident["false_alarm_by"]:
        state = "false alarm"
    elif incident["closed_by"]:
        state = "closed, still detected" if incident["suppressed_until"] else "closed"
    elif incident["closed_by"] is not None:
        # `closed_by` is empty: the service closed the incident, because its subject is not monitored any more.
        state = "closed, no longer monitored"
    else:
        state = str(incident["state"])
    return f"{state}, nobody is notified" if incident["not_notified"] else state


def _acknowledged_by(incident: Mapping[str, Any]) -> str:
    """Return who acknowledged an incident, until when, or whose acknowledgement expired or ended by escalation."""
    if incident["acknowledged_until"]:
        return f"{incident['acknowledged_by']} until {format_time(incident['acknowledged_until'])}"
    if incident["previous_assignee"]:
        return f"{'escalated' if incident['escalated'] else 'expired'}: {incident['previous_assignee']}"
    return incident["acknowledged_by"] or ""


def _notified(incident: Mapping[str, Any], default: str) -> str:
    """Return *default*; for an incident that opened in mode `monitor_only`, the text that nobody was notified."""
    return "nobody was notified of it" if incident["not_notified"] else default


def ack(
    incident: Number,
    *,
    take_over: Annotated[
        str,
        typer.Option(
            "--take-over",
            help="Take it over from this person, as the command without this option names them. Nothing changes if it is no longer theirs.",
            metavar="NAME",
            show_default=False,
        ),
    ] = "",
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Acknowledge an incident: this stops escalation to staff, not the announcement.

    It expires (`acknowledgement_timeout`, an hour): acknowledge again, add a note or release the announcement to extend it. A reminder
    is sent by SMS before it expires; then escalation goes on. An incident that somebody else has acknowledged stays theirs
    unless you take it over: they are notified by SMS, and so is everybody who was notified of the incident.
    """
    if take_over:
        result = _post_action(config, socket, incident, "take-over", by, from_user=take_over)
    else:
        result = _post_action(config, socket, incident, "acknowledge", by)
    number, assignee = result["number"], result["acknowledged_by"]
    if result["state"] == "resolved":
        typer.echo(f"{number} is resolved: nothing to acknowledge.")
        return
    # Print the present type, which may have become worse since the user was notified.
    acknowledged = (
        f"{number} ({result['type']}) is acknowledged by {assignee} until {format_time(result['acknowledged_until'])}."
    )
    hint = "" if assignee == by else f"\nTo take it over: pantau ack {number} --take-over {shlex.quote(assignee)}"
    if take_over and hint:
        fail(f"Nothing has changed: {acknowledged}{hint}")
    typer.echo(f"{acknowledged}{hint}")


def escalate(incident: Number, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Escalate an incident: notify the next people of its escalation policy at once.

    Also when somebody else has acknowledged it and cannot be reached, or nobody has.
    """
    result = _post_action(config, socket, incident, "escalate", by)
    if result["state"] == "resolved":
        typer.echo(f"{result['number']} is resolved: nothing to escalate.")
    else:
        notified_text = "the next people are notified"
        if next_at := result["next_notification_at"]:
            notified_text = (
                f"the policy has no further step: staff are notified again at {format_time(next_at)}, "
                "and the operations centre now"
            )
        notified = _notified(result, notified_text)
        typer.echo(f"{result['number']} is escalated by {result['previous_assignee']}; {notified}.")


def note(
    incident: Number,
    text: Annotated[str, typer.Argument(help="What is being done, for the audit log and the incident record.")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Add a note to an incident. This extends its acknowledgement."""
    result = _post_action(config, socket, incident, "notes", by, text=text)
    until = result["acknowledged_until"]
    acknowledged = f" Acknowledged by {result['acknowledged_by']} until {format_time(until)}." if until else ""
    typer.echo(f"{result['number']}: note added.{acknowledged}")


def release(
    incidents: Annotated[list[str] | None, typer.Argument(help="Their numbers, as in notifications: JKR-07.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that wait for release, once confirmed.")] = False,
    confirm: Annotated[
        int | None,
        typer.Option("--confirm", help="How many they are, as the command without this option prints it.", min=1),
    ] = None,
    despite: Despite = None,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Release announcements of outages: send faxes and letters to the agencies' recipients.

    Mail is measured again first, which takes some seconds. If the newest message arrived, nothing is sent.
    """
    if bool(incidents) == everything:
        raise typer.BadParameter("name the incidents, or give --all")
    if everything and despite is not None:
        raise typer.BadParameter("--despite needs the numbers of incidents; it does not go with --all")
    socket = control_socket(config, socket)  # Once, because it may print a message.
    problems: list[str] = []
    for number in incidents or _releasable_numbers(config, socket, confirm):
        body = {"by": by, "despite": despite}
        # A rejected release does not prevent the others.
        result = call_service(
            config, socket, "POST", f"/incidents/{url_part(number)}/release", body, rejections=problems
        )
        if result is None:
            continue
        if result["announcement"] == "released":
            typer.echo(f"{result['number']}: announcement released by {result['released_by']}.")
        else:
            problems.append(f"{result['number']} has no announcement: it is {result['type']}, {result['state']}")
    if problems:
        fail("\n".join(problems))


def _releasable_numbers(config: Path, socket: Path | None, confirm: int | None) -> list[str]:
    """Return the numbers of all incidents that wait for release.

    If *confirm* is not their count, print the incidents and end the command.
    """
    releasable = call_service(config, socket, "GET", "/releases")
    if not releasable:
        fail("No announcement waits for release.")
    if confirm != len(releasable):
        for each in releasable:
            typer.echo(f"{each['number']} {each['type']}, since {each['began_at']}")
        typer.echo(
            f"{len(releasable)} announcements wait. None is released yet; repeat with --confirm {len(releasable)}"
        )
        raise typer.Exit(0)
    return [each["number"] for each in releasable]


class FailureKind(StrEnum):
    """The part of mail that fails."""

    SENDING = "sending"
    RECEIVING = "receiving"
    BOTH = "both"


def declare(
    agency: Annotated[str, typer.Argument(help="Its code: JKR.")],
    what: Annotated[FailureKind, typer.Argument(help="What people cannot do: sending, receiving, or both.")],
    *,
    reason: Reason,
    since: Annotated[
        str, typer.Option("--since", help="Since when: 01:30, or 2026-12-01 22:00; default: now.", metavar="TIME")
    ] = "",
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Declare an outage that no probe detects.

    Use it when people cannot read or send mail although every probe succeeds. Staff are notified at once, including whoever
    declares it; the agency's recipients are notified after the release. It ends with `pantau close`, not with the probes'
    success; `pantau false-alarm` corrects a mistaken declaration.
    """
    body = {"agency": agency, "type": what.value, "since": since, "reason": reason, "by": by}
    result = call_service(config, socket, "POST", "/declarations", body)
    declared = result["incident"]
    number = declared["number"]
    typer.echo(
        f"{number} ({declared['type']}) is declared by {declared['declared_by']}, since {format_time(declared['began_at'])}."
    )
    if declared["not_notified"]:
        typer.echo("NOBODY IS NOTIFIED of it: the service only monitors (mode: monitor_only).")
    elif result["silence"] is not None:
        until = format_day_and_time(result["silent_until"])
        typer.echo(f"NOBODY IS NOTIFIED until {until}; `pantau silence remove {result['silence']}` notifies them now.")
    else:
        typer.echo(f"Staff are notified now; `pantau ack {number}` acknowledges it.")
    if declared["announcement"] == "waiting":
        typer.echo(
            f"Other offices are notified after the release: `pantau release {number}`, or automatically if configured."
        )
    typer.echo(f'When mail works again: pantau close {number} --reason "..."')


def close(
    incident: Number,
    *,
    reason: Reason,
    recovered: Annotated[
        bool | None,
        typer.Option(
            "--recovered/--not-recovered",
            help="Whether mail works again and everybody who was notified gets a recovery notification; else staff are notified that it is closed. "
            "Required while probes detect it.",
            show_default=False,
        ),
    ] = None,
    despite: Despite = None,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Close an incident by hand, and choose whether a recovery is announced.

    A declared outage ends, and everybody who was notified of it is notified of its end. If probes detect an outage, too, the
    incident stays open unless you give `--recovered` or `--not-recovered`. The outage that they still detect opens no new
    incident for a day, unless it becomes worse or a new one begins. While they detect it, `--recovered` also needs
    `--despite still-fails`.
    """
    result = _post_action(config, socket, incident, "close", by, reason=reason, recovered=recovered, despite=despite)
    number = result["number"]
    if result["state"] != "resolved":
        typer.echo(
            f"{number} STAYS OPEN: probes detect an outage, too ({result['detected']}). It ends when they succeed."
        )
        return
    if result["recovered"]:
        typer.echo(f"{number} is over; {_notified(result, 'everybody who was notified of it is notified of this')}.")
    else:
        notified = _notified(result, "the staff who were notified of it are notified, and no recovery is announced")
        typer.echo(f"{number} is closed: {notified}.")
        if result["released_by"]:
            typer.echo("Other offices that were notified get no further message: write to them.")
    _print_suppressed(result)


def _print_suppressed(incident: Mapping[str, Any]) -> None:
    """Print until when a closed incident stays closed although probes still detect the fault."""
    if incident["suppressed_until"]:
        typer.echo(
            f"Probes still detect it ({incident['detected']}). It opens again when it becomes worse, when it has recovered and "
            f"fails again, and at {format_time(incident['suppressed_until'])} at the latest."
        )


def false_alarm(
    incident: Number,
    *,
    reason: Annotated[str, typer.Option("--reason", help="What was found, for the audit log.", metavar="TEXT")],
    despite: Despite = None,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Close an incident as a false alarm, and send a correction to everybody who was notified.

    This is possible while the incident is open and within 24 hours of its end, and cannot be undone. While probes detect the
    fault, `--despite still-fails` is needed.
    """
    result = _post_action(config, socket, incident, "false-alarm", by, reason=reason, despite=despite)
    notified = _notified(result, "corrections are sent")
    typer.echo(f"{result['number']} is marked as a false alarm by {result['false_alarm_by']}; {notified}.")
    _print_suppressed(result)


def _post_action(
    config: Path, socket: Path | None, number: str, action: str, by: str, **fields: str | bool | None
) -> Any:
    """Send an action on an incident to the service, and return the incident after the action."""
    body: dict[str, str | bool | None] = {"by": by, **fields}
    return call_service(config, socket, "POST", f"/incidents/{url_part(number)}/{action}", body)
