"""Command-line options that several commands share, as annotated types."""

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


def _or_login_name(name: str) -> str:
    return name or login_name()


By = Annotated[
    str, typer.Option("--by", help="Who does this. Default: your login name.", metavar="NAME", callback=_or_login_name)
]


def _reject_empty_numbers(numbers: list[str] | None) -> list[str] | None:
    """Return *numbers*. Raise `typer.BadParameter` if one is empty, for instance an unset variable of a script.

    The service would ignore an empty number; if none is left, it skips 100 numbers.
    """
    if numbers and not all(map(str.strip, numbers)):
        raise typer.BadParameter("is empty; write the last number that is on paper, as JCM-23, or leave it out")
    return numbers


#: Incident numbers on paper after which numbering continues when an older copy of the database was restored.
LastNumbers = Annotated[
    list[str] | None,
    typer.Option(
        "--last-number",
        callback=_reject_empty_numbers,
        help="The last number on paper, such as JCM-23, or the last page of an open incident, such as JCM-07/3. May be repeated.",
        metavar="NUMBER",
    ),
]


def url_part(number: str) -> str:
    """Return an incident's number, quoted for a URL path and in upper case, because users may type lower case."""
    return quote(number.strip().upper(), safe="")
