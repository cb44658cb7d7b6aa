"""`pantau rename`: what an agency or a mailbox has lived through follows it under another name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import LONG, ask

app = typer.Typer(
    help="Let an agency or a mailbox be called otherwise, without losing its history. Write the new name into the files first.",
    no_args_is_help=True,
)

_OLD = Annotated[str, typer.Argument(help="What it was called.")]
_NEW = Annotated[str, typer.Argument(help="What the files call it now.")]


@app.command()
def agency(old: _OLD, new: _NEW, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Rename an agency by its code: change `code` in its file, and give this order instead of a reload.

    Runs, health, incidents, silences and overrides follow; an incident that is open goes on. Numbers of incidents stay as
    people know them, and the journal as it was written.
    """
    _rename("agency", old, new, by=by, config=config, socket=socket)


@app.command()
def mailbox(old: _OLD, new: _NEW, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Rename a mailbox by its key: an agency's is CODE/KEY, a reference is KEY. Change it in the files first.

    Its address, servers and password may change without this: nothing hangs on them.
    """
    _rename("mailbox", old, new, by=by, config=config, socket=socket)


def _rename(what: str, old: str, new: str, *, by: str, config: Path, socket: Path | None) -> None:
    order = {"what": what, "old": old, "new": new, "by": by}
    done = ask(config, socket, "POST", "/renames", order, within=LONG)
    for problem in done["problems"]:
        typer.echo(problem)
    counts = done["counts"]
    typer.echo(
        f"{old} is {new} from now on: {counts['routes']} routes, {counts['runs']} runs and {counts['incidents']} incidents "
        "have followed. The configuration is in force."
    )
