"""`pantau declare`: a person knows of an outage that no probe sees."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, login_name
from monitor.cli.service import ask
from monitor.cli.table import clock, day_and_time


class What(StrEnum):
    """What people cannot do."""

    SENDING = "sending"
    RECEIVING = "receiving"
    BOTH = "both"


def declare(
    agency: Annotated[str, typer.Argument(help="Its code: JKR.")],
    what: Annotated[What, typer.Argument(help="What people cannot do: sending, receiving, or both.")],
    *,
    why: Annotated[str, typer.Option("--why", help="How you know, for the journal and the dossier.", metavar="TEXT")],
    since: Annotated[
        str, typer.Option("--since", help="Since when: 01:30, or 2026-12-01 22:00; default: now.", metavar="TIME")
    ] = "",
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Declare an outage that no probe sees: people cannot read or send mail, and every probe is well.

    The staff are told at once, whoever declares it among them, and the agency's recipients once it is released, as of any
    outage. It ends with `pantau close`, and not because the probes are well; a mistake is taken back with `pantau correct`.
    """
    order = {"agency": agency, "matter": what.value, "since": since, "why": why, "by": by or login_name()}
    done = ask(config, "POST", "/declarations", order)
    found = done["incident"]
    number = found["number"]
    typer.echo(f"{number} ({found['matter']}) is declared by {found['declared_by']}, since {clock(found['began_at'])}.")
    if done["silence"] is not None:
        until = day_and_time(done["silent_until"])
        typer.echo(f"NOBODY IS TOLD until {until}; `pantau silence remove {done['silence']}` lets them be told now.")
    else:
        typer.echo(f"The staff are told now; `pantau ack {number}` if you have it.")
    if found["announcement"] == "waiting":
        typer.echo(
            f"Offices outside are told once it is released: `pantau release {number}`, or by itself if so planned."
        )
    typer.echo(f'When mail works again: pantau close {number} --why "..."')
