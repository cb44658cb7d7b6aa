"""Options that several commands share."""

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
        help="The control socket of the service. Default: in the state directory of the settings, "
        "or, if they cannot be read, the socket of your running service.",
        metavar="FILE",
        show_default=False,
    ),
]

#: The settings file by default.
DEFAULT_CONFIG = Path("pantau.yaml")


def login_name() -> str:
    """Return the login name of the user at the terminal, also behind sudo."""
    uid = os.getuid()
    try:
        return os.environ.get("SUDO_USER") or pwd.getpwuid(uid).pw_name
    except KeyError:  # A container may run with a user id without a name.
        return f"uid {uid}"


def _or_yours(name: str) -> str:
    return name or login_name()


By = Annotated[
    str, typer.Option("--by", help="Who does this. Default: your login name.", metavar="NAME", callback=_or_yours)
]


def _numbers(words: list[str] | None) -> list[str] | None:
    """Refuse an empty number, as from an unset variable of a script: it would count as none, and 100 numbers would be skipped."""
    if words and not all(map(str.strip, words)):
        raise typer.BadParameter("is empty; write the last number that is on paper, as JCM-23, or leave it out")
    return words


LastNumbers = Annotated[
    list[str] | None,
    typer.Option(
        "--last-number",
        callback=_numbers,
        help="The last number on paper, such as JCM-23, or the last page of an open incident, such as JCM-07/3. May be repeated.",
        metavar="NUMBER",
    ),
]


def in_path(number: str) -> str:
    """Return an incident's number as a part of a path, in upper case, so that lower case may be entered."""
    return quote(number.strip().upper(), safe="")
