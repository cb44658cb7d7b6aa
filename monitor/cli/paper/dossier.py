"""`pantau dossier`: everything on record of one incident, for the file and for whoever wants to verify it."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, in_path, login_name
from monitor.cli.private import private
from monitor.cli.service import LONG, ask, fail


def dossier(
    incident: Annotated[str, typer.Argument(help="Its number, as in the notices: JKR-07.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A directory for the files; default: dossier-NUMBER here.")
    ] = None,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write an incident's dossier: the record as PDF/A, and the data behind it with the journal's hashes.

    It names people with their numbers: it is TERHAD, and only you can read the files.
    """
    files = ask(config, "POST", f"/incidents/{in_path(incident)}/dossier", {"by": by or login_name()}, within=LONG)
    directory = output or Path(f"dossier-{incident.strip().upper()}")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in files.items():
            with private(directory / Path(name).name) as file:
                file.write(b64decode(content))
    except OSError as error:
        fail(f"{directory} cannot be written: {error.strerror}")
    typer.echo(f"{directory}: {', '.join(files)}. TERHAD: keep it where only those may read it who have to.")
