"""Options that several commands take."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

Config = Annotated[Path, typer.Option("--config", help="The settings file.", metavar="FILE")]

Socket = Annotated[
    Path | None,
    typer.Option(
        "--socket",
        help="The service's control socket; default: in the state directory that the settings name, "
        "or, if they cannot be read, that of your service that runs.",
        metavar="FILE",
        show_default=False,
    ),
]

#: Where the settings are looked for.
DEFAULT_CONFIG = Path("pantau.yaml")


def login_name() -> str:
    """Return the name of the person at the terminal, behind sudo too."""
    uid = os.getuid()
    try:
        return os.environ.get("SUDO_USER") or pwd.getpwuid(uid).pw_name
    except KeyError:  # A container may run as a number that nobody has given a name.
        return f"uid {uid}"


def _or_yours(name: str) -> str:
    return name or login_name()


By = Annotated[str, typer.Option("--by", help="In whose name; default: yours.", metavar="NAME", callback=_or_yours)]


def _numbers(words: list[str] | None) -> list[str] | None:
    """Refuse an empty one, as a variable of a script may be: it would count as nothing said, and a hundred be left out."""
    if words and not all(map(str.strip, words)):
        raise typer.BadParameter("is empty; write the last number that is on paper, as JCM-23, or leave it out")
    return words


LastNumbers = Annotated[
    list[str] | None,
    typer.Option(
        "--last-number",
        callback=_numbers,
        help="The last number that is on paper, as JCM-23; of an incident that is open, its last page, as JCM-07/3.",
        metavar="NUMBER",
    ),
]


def in_path(number: str) -> str:
    """Return an incident's number as a part of a path, in capitals: nobody holds the shift key at three at night."""
    return quote(number.strip().upper(), safe="")
