"""Options that several commands take."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Option("--config", help="The settings file.", metavar="FILE")]

#: Where the settings are looked for.
DEFAULT_CONFIG = Path("pantau.yaml")

By = Annotated[str, typer.Option("--by", help="In whose name; default: yours.", metavar="NAME")]


def login_name() -> str:
    """Return the name of the person at the terminal, behind sudo too."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
