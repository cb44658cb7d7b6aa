"""Commands on incidents: list, acknowledge, escalate, note, release, declare, close."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket, in_path
from monitor.cli.service import ask, control_socket, fail
from monitor.cli.table import Columns, clock, day_and_time, show

Number = Annotated[str, typer.Argument(help="Its number, as in notifications: JKR-07.")]
#: The values of `Contradiction`, which is not imported so that commands start quickly.
Contradicted = Literal["works-again", "still-fails"]
Despite = Annotated[
    Contradicted | None,
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
        "Began": lambda each: clock(each["began_at"]),
        "Acknowledged by": _who,
        "Announcement": "announcement",
        "Resolved": lambda each: clock(each["resolved_at"]),
    }
    show(ask(config, socket, "GET", "/incidents"), columns, nothing="There have been no incidents.")


def _state(incident: Mapping[str, Any]) -> str:
    """Return the state of an incident, with whether probes still detect what a person has closed."""
    if incident["false_alarm_by"]:
        state = "false alarm"
    elif incident["closed_by"]:
        state = "closed, still detected" if incident["suppressed_until"] else "closed"
    elif incident["closed_by"] is not None:
        state = "closed, no longer monitored"
    else:
        state = str(incident["state"])
    return f"{state}, nobody is notified" if incident["not_notified"] else state


def _who(incident: Mapping[str, Any]) -> str:
    """Return who has acknowledged an incident and until when, or who had."""
    if incident["acknowledged_until"]:
        return f"{incident['acknowledged_by']} until {clock(incident['acknowledged_until'])}"
    if incident["previous_assignee"]:
        return f"{'escalated' if incident['escalated'] else 'expired'}: {incident['previous_assignee']}"
    return incident["acknowledged_by"] or ""


def _notified(incident: Mapping[str, Any], usual: str) -> str:
    """Return *usual*, or that nobody is notified of an incident that opened in mode `monitor_only`."""
    return "nobody was notified of it" if incident["not_notified"] else usual


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
        found = _order(config, socket, incident, "take-over", by, from_user=take_over)
    else:
        found = _order(config, socket, incident, "acknowledge", by)
    number, holder = found["number"], found["acknowledged_by"]
    if found["state"] == "resolved":
        typer.echo(f"{number} is resolved: nothing to acknowledge.")
        return
    # Its present type, which may be worse than the one that was read.
    stands = f"{number} ({found['type']}) is acknowledged by {holder} until {clock(found['acknowledged_until'])}."
    how = "" if holder == by else f"\nTo take it over: pantau ack {number} --take-over {shlex.quote(holder)}"
    if take_over and how:
        fail(f"Nothing has changed: {stands}{how}")
    typer.echo(f"{stands}{how}")


def escalate(incident: Number, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Escalate an incident: notify the next people of its escalation policy at once.

    Also when somebody else has acknowledged it and cannot be reached, or nobody has.
    """
    found = _order(config, socket, incident, "escalate", by)
    if found["state"] == "resolved":
        typer.echo(f"{found['number']} is resolved: nothing to escalate.")
    else:
        again = found["next_notification_at"]
        nobody = (
            again
            and f"the policy has no further step: staff are notified again at {clock(again)}, and the operations centre now"
        )
        notified = _notified(found, nobody or "the next people are notified")
        typer.echo(f"{found['number']} is escalated by {found['previous_assignee']}; {notified}.")


def note(
    incident: Number,
    text: Annotated[str, typer.Argument(help="What is being done, for the audit log and the incident record.")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Add a note to an incident. This extends its acknowledgement."""
    found = _order(config, socket, incident, "notes", by, text=text)
    until = found["acknowledged_until"]
    has = f" Acknowledged by {found['acknowledged_by']} until {clock(until)}." if until else ""
    typer.echo(f"{found['number']}: note added.{has}")


def release(
    incidents: Annotated[list[str] | None, typer.Argument(help="Their numbers, as in notifications: JKR-07.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that wait for release, once confirmed.")] = False,
    confirm: Annotated[
        int | None, typer.Option("--confirm", help="Their number, as the command without this option prints it.", min=1)
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
    socket = control_socket(config, socket)  # Looked up once, so that its message is printed once.
    refused: list[str] = []
    for number in incidents or _waiting(config, socket, confirm):
        order = {"by": by, "despite": despite}
        # The others are released even if one is refused.
        found = ask(config, socket, "POST", f"/incidents/{in_path(number)}/release", order, refused=refused)
        if found is None:
            continue
        if found["announcement"] == "released":
            typer.echo(f"{found['number']}: announcement released by {found['released_by']}.")
        else:
            refused.append(f"{found['number']} has no announcement: it is {found['type']}, {found['state']}")
    if refused:
        fail("\n".join(refused))


def _waiting(config: Path, socket: Path | None, confirm: int | None) -> list[str]:
    """Return the numbers of all releasable incidents; without confirmation print them and end the command."""
    waiting = ask(config, socket, "GET", "/releases")
    if not waiting:
        fail("No announcement waits for release.")
    if confirm != len(waiting):
        for each in waiting:
            typer.echo(f"{each['number']} {each['type']}, since {each['began_at']}")
        typer.echo(f"{len(waiting)} announcements wait. None is released yet; repeat with --confirm {len(waiting)}")
        raise typer.Exit(0)
    return [each["number"] for each in waiting]


class What(StrEnum):
    """What fails, for people."""

    SENDING = "sending"
    RECEIVING = "receiving"
    BOTH = "both"


def declare(
    agency: Annotated[str, typer.Argument(help="Its code: JKR.")],
    what: Annotated[What, typer.Argument(help="What people cannot do: sending, receiving, or both.")],
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
    success; `pantau false-alarm` takes a mistake back.
    """
    order = {"agency": agency, "type": what.value, "since": since, "reason": reason, "by": by}
    done = ask(config, socket, "POST", "/declarations", order)
    found = done["incident"]
    number = found["number"]
    typer.echo(f"{number} ({found['type']}) is declared by {found['declared_by']}, since {clock(found['began_at'])}.")
    if found["not_notified"]:
        typer.echo("NOBODY IS NOTIFIED of it: the service only monitors (mode: monitor_only).")
    elif done["silence"] is not None:
        until = day_and_time(done["silent_until"])
        typer.echo(f"NOBODY IS NOTIFIED until {until}; `pantau silence remove {done['silence']}` notifies them now.")
    else:
        typer.echo(f"Staff are notified now; `pantau ack {number}` acknowledges it.")
    if found["announcement"] == "waiting":
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
            help="Whether mail works again and everybody who was notified is told so; else staff are notified that it is closed. "
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

    A declared outage ends, and everybody who was notified of it is notified of its end; if probes detect an outage, too, the
    incident stays open unless you decide on that with `--recovered` or `--not-recovered`. What they still detect opens no new
    incident for a day, unless it is worse or began later. While they detect it, no recovery is announced without
    `--despite still-fails`.
    """
    found = _order(config, socket, incident, "close", by, reason=reason, recovered=recovered, despite=despite)
    number = found["number"]
    if found["state"] != "resolved":
        typer.echo(
            f"{number} STAYS OPEN: probes detect an outage, too ({found['detected']}). It ends when they succeed."
        )
        return
    if found["recovered"]:
        typer.echo(f"{number} is over; {_notified(found, 'everybody who was notified of it is notified of this')}.")
    else:
        notified = _notified(found, "the staff who were notified of it are notified, and no recovery is announced")
        typer.echo(f"{number} is closed: {notified}.")
        if found["released_by"]:
            typer.echo("Other offices that were notified get no further message: write to them.")
    _print_suppressed(found)


def _print_suppressed(found: Mapping[str, Any]) -> None:
    """Print until when what probes detect opens no new incident."""
    if found["suppressed_until"]:
        typer.echo(
            f"Probes still detect it ({found['detected']}). It opens again when it becomes worse, when it has recovered and "
            f"fails again, and at {clock(found['suppressed_until'])} at the latest."
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

    Possible while it is open, and within 24 hours of its end. It cannot be undone. While probes detect the fault, it needs
    `--despite still-fails`.
    """
    found = _order(config, socket, incident, "false-alarm", by, reason=reason, despite=despite)
    notified = _notified(found, "corrections are sent")
    typer.echo(f"{found['number']} is marked as a false alarm by {found['false_alarm_by']}; {notified}.")
    _print_suppressed(found)


def _order(config: Path, socket: Path | None, number: str, action: str, by: str, **said: str | bool | None) -> Any:
    """Post an action on an incident, and return the incident after it."""
    order: dict[str, str | bool | None] = {"by": by, **said}
    return ask(config, socket, "POST", f"/incidents/{in_path(number)}/{action}", order)
