"""Parser of the name of a fault in a command."""

from __future__ import annotations

import typer

from pantau_lab.mail import Fault


def fault_called(name: str) -> Fault:
    """Return the fault with this name. Raise `typer.BadParameter` if there is none."""
    found = {each.value: each for each in Fault}.get(name)
    if found is None:
        raise typer.BadParameter(f"there is no fault '{name}'; `pantau lab --list` tells which there are")
    return found
