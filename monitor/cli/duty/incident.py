"""The commands about incidents: what is and was wrong, and what people say and order about it."""

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

Number = Annotated[str, typer.Argument(help="Its number, as in the notices: JKR-07.")]
#: What an order may contradict: the values of `Contradiction`, which is not imported here, so that commands start quickly.
Contradicted = Literal["works-again", "still-fails"]
Despite = Annotated[
    Contradicted | None,
    typer.Option(
        "--despite",
        help="What the refusal of this order has named: it is carried out in spite of that, and the journal says so.",
        show_default=False,
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="How you know, for the journal and the dossier.", metavar="TEXT")]


def incidents(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """List the incidents that are open, then the newest of the others. Times are Malaysian."""
    columns: Columns = {
        "No.": "number",
        "About": "subject",
        "Matter": lambda each: f"{each['matter']}, declared" if each["declared_by"] else each["matter"],
        "State": _state,
        "Began": lambda each: clock(each["began_at"]),
        "Acknowledged by": _who,
        "Announcement": "announcement",
        "Resolved": lambda each: clock(each["resolved_at"]),
    }
    show(ask(config, socket, "GET", "/incidents"), columns, nothing="There have been no incidents.")


def _state(incident: Mapping[str, Any]) -> str:
    """Return where an incident stands, and that the probes see it all the same if a person has ended it."""
    if incident["corrected_by"]:
        state = "false alarm"
    elif incident["closed_by"]:
        state = "closed, measured still" if incident["held_until"] else "closed"
    elif incident["closed_by"] is not None:
        state = "closed, watched no more"
    else:
        state = str(incident["state"])
    return f"{state}, nobody is told" if incident["untold"] else state


def _who(incident: Mapping[str, Any]) -> str:
    """Return who has taken an incident on, and until when; or who had."""
    if incident["acknowledged_until"]:
        return f"{incident['acknowledged_by']} until {clock(incident['acknowledged_until'])}"
    if incident["had_by"]:
        return f"{'handed on' if incident['handed_on'] else 'expired'}: {incident['had_by']}"
    return incident["acknowledged_by"] or ""


def _hears(incident: Mapping[str, Any], usual: str) -> str:
    """Return who hears of an order, as *usual*; of an incident that opened while mail was only watched nobody does."""
    return "nobody was told of it" if incident["untold"] else usual


def ack(
    incident: Number,
    *,
    take_over: Annotated[
        str,
        typer.Option(
            "--take-over",
            help="Whom you take it over from, as the command says without this; nothing changes if they have it no more.",
            metavar="NAME",
            show_default=False,
        ),
    ] = "",
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Acknowledge an incident: the escalation to staff stops, the announcement does not.

    For a while (`acknowledge_for`, an hour): do it again, remark on it or release its announcement, and it lasts as long
    again. Who is not heard of is reminded by SMS, and then the next of the staff are told. What another has stays theirs,
    unless you take it over: they hear so by SMS, and so does whoever was told of it.
    """
    if take_over:
        found = _order(config, socket, incident, "take-over", by, from_user=take_over)
    else:
        found = _order(config, socket, incident, "acknowledge", by)
    number, holder = found["number"], found["acknowledged_by"]
    if found["state"] == "resolved":
        typer.echo(f"{number} is over: nothing to acknowledge.")
        return
    # What it is about now: it may have got worse since it was read.
    stands = f"{number} ({found['matter']}) is acknowledged by {holder} until {clock(found['acknowledged_until'])}."
    how = "" if holder == by else f"\nTo have it yourself: pantau ack {number} --take-over {shlex.quote(holder)}"
    if take_over and how:
        fail(f"Nothing has changed: {stands}{how}")
    typer.echo(f"{stands}{how}")


def escalate(incident: Number, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Hand an incident on: the next of the staff are told at once, and that it was handed on.

    Whether you have it, whoever has it cannot be reached, or nobody has taken it on yet.
    """
    found = _order(config, socket, incident, "escalate", by)
    if found["state"] == "resolved":
        typer.echo(f"{found['number']} is over: nothing to hand on.")
    else:
        again = found["told_again_at"]
        nobody = (
            again and f"the plan has nobody else: staff are told again at {clock(again)}, and the operations centre now"
        )
        hears = _hears(found, nobody or "the next of the staff are told")
        typer.echo(f"{found['number']} is handed on by {found['had_by']}; {hears}.")


def note(
    incident: Number,
    text: Annotated[str, typer.Argument(help="What is being done, for the journal and the dossier.")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Write down what is being done about an incident: whoever has taken it on has it for longer by it."""
    found = _order(config, socket, incident, "notes", by, text=text)
    until = found["acknowledged_until"]
    has = f" {found['acknowledged_by']} has it until {clock(until)}." if until else ""
    typer.echo(f"{found['number']}: written down.{has}")


def release(
    incidents: Annotated[list[str] | None, typer.Argument(help="Their numbers, as in the notices: JKR-07.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that wait for their release, once confirmed.")] = False,
    confirm: Annotated[
        int | None, typer.Option("--confirm", help="How many that are, as the command says without it.", min=1)
    ] = None,
    despite: Despite = None,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Release the announcements of outages: their fax pages and letters go out to the agencies' recipients.

    Mail is measured again first, which takes some seconds. Where the newest message arrived nothing goes out, and the command
    says so.
    """
    if bool(incidents) == everything:
        raise typer.BadParameter("name the incidents, or say --all")
    if everything and despite is not None:
        raise typer.BadParameter("--despite goes with the numbers of incidents, and not with --all")
    socket = control_socket(config, socket)  # Found once, and so said once, for all of them.
    refused: list[str] = []
    for number in incidents or _waiting(config, socket, confirm):
        order = {"by": by, "despite": despite}
        # The others are released all the same.
        found = ask(config, socket, "POST", f"/incidents/{in_path(number)}/release", order, refused=refused)
        if found is None:
            continue
        if found["announcement"] == "released":
            typer.echo(f"{found['number']}: announcement released by {found['released_by']}.")
        else:
            refused.append(f"{found['number']} has nothing to announce: it is {found['matter']}, {found['state']}")
    if refused:
        fail("\n".join(refused))


def _waiting(config: Path, socket: Path | None, confirm: int | None) -> list[str]:
    """Return the numbers of all that wait; or say which they are, and end the command, where that was not confirmed."""
    waiting = ask(config, socket, "GET", "/releases")
    if not waiting:
        fail("No announcement waits for its release.")
    if confirm != len(waiting):
        for each in waiting:
            typer.echo(f"{each['number']} {each['matter']}, since {each['began_at']}")
        typer.echo(f"{len(waiting)} announcements wait. Nothing is released yet; repeat with --confirm {len(waiting)}")
        raise typer.Exit(0)
    return [each["number"] for each in waiting]


class What(StrEnum):
    """What people cannot do."""

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
    """Declare an outage that no probe sees: people cannot read or send mail, and every probe is well.

    The staff are told at once, whoever declares it among them, and the agency's recipients once it is released, as of any
    outage. It ends with `pantau close`, and not because the probes are well; a mistake is taken back with `pantau false-alarm`.
    """
    order = {"agency": agency, "type": what.value, "since": since, "reason": reason, "by": by}
    done = ask(config, socket, "POST", "/declarations", order)
    found = done["incident"]
    number = found["number"]
    typer.echo(f"{number} ({found['matter']}) is declared by {found['declared_by']}, since {clock(found['began_at'])}.")
    if found["untold"]:
        typer.echo("NOBODY IS TOLD of it: mail is only watched (mode: watch).")
    elif done["silence"] is not None:
        until = day_and_time(done["silent_until"])
        typer.echo(f"NOBODY IS TOLD until {until}; `pantau silence remove {done['silence']}` lets them be told now.")
    else:
        typer.echo(f"The staff are told now; `pantau ack {number}` if you have it.")
    if found["announcement"] == "waiting":
        typer.echo(
            f"Offices outside are told once it is released: `pantau release {number}`, or by itself if so planned."
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
            help="Whether mail works again and whoever was told hears so; else the staff hear that it is closed. To be said "
            "where the probes see it still.",
            show_default=False,
        ),
    ] = None,
    despite: Despite = None,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """End an incident by your word. What has not left is withdrawn, and you say whether a recovery is told.

    A declared outage is over then, and whoever was told of it is told so; if the probes see an outage, too, it goes on unless
    you say of that, too. What they go on seeing opens no new incident for a day, unless it is worse, or began later. While they
    see it, nobody is told that mail works again unless you say `--despite still-fails`.
    """
    found = _order(config, socket, incident, "close", by, reason=reason, recovered=recovered, despite=despite)
    number = found["number"]
    if found["state"] != "resolved":
        typer.echo(
            f"{number} GOES ON: the probes see an outage, too ({found['measured']}). It ends when they are well."
        )
        return
    if found["recovered"]:
        typer.echo(f"{number} is over; {_hears(found, 'whoever was told of it is told so')}.")
    else:
        hears = _hears(found, "the staff who were told of it hear so, and nobody that mail works again")
        typer.echo(f"{number} is closed: {hears}.")
        if found["released_by"]:
            typer.echo("Offices outside that were told of it hear nothing more: write to them.")
    _say_held(found)


def _say_held(found: Mapping[str, Any]) -> None:
    """Say of an incident that a person has ended until when what is measured of it opens none."""
    if found["held_until"]:
        typer.echo(
            f"The probes see it still ({found['measured']}). It opens anew when it gets worse, when it has been well and "
            f"fails again, and at {clock(found['held_until'])} at the latest."
        )


def false_alarm(
    incident: Number,
    *,
    reason: Annotated[str, typer.Option("--reason", help="What was found, for the journal.", metavar="TEXT")],
    despite: Despite = None,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """End an incident as a false alarm: whoever was told of it gets a correction, by the same way.

    While it is open, and within 24 hours of its end. It cannot be undone. While the probes see it, nobody is told that nothing
    was wrong unless you say `--despite still-fails`.
    """
    found = _order(config, socket, incident, "false-alarm", by, reason=reason, despite=despite)
    hears = _hears(found, "corrections go out")
    typer.echo(f"{found['number']} is declared a false alarm by {found['corrected_by']}; {hears}.")
    _say_held(found)


def _order(config: Path, socket: Path | None, number: str, deed: str, by: str, **said: str | bool | None) -> Any:
    """Give an order about an incident, and return what it is afterwards."""
    order: dict[str, str | bool | None] = {"by": by, **said}
    return ask(config, socket, "POST", f"/incidents/{in_path(number)}/{deed}", order)
