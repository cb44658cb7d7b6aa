"""`pantau on-call`: contacts on call, and their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from monitor.cli.option import DEFAULT_CONFIG, Config, Socket
from monitor.cli.service import ask
from monitor.cli.table import MALAYSIA

_CALLED = {"sms": "SMS", "voice": "call", "fax": "fax"}


def on_call(
    agency: Annotated[str, typer.Argument(help="Short code, such as JKR; default: all rotas.")] = "",
    at: Annotated[str, typer.Option("--at", help="When: 2026-12-01 22:00; default: now.", metavar="TIME")] = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Show who is on call, until when, who is next, and their numbers. Times are Malaysian."""
    found = ask(config, socket, "GET", f"/on-call?{urlencode({'agency': agency, 'at': at})}")
    if not found:
        whose = f"{agency.upper()}'s escalation policy has no rota" if agency else "There is no rota"
        typer.echo(f"{whose}: its file names the contacts of each step.")
    for number, each in enumerate(found):
        typer.echo("\n".join(([""] if number else []) + list(_lines(each))))


def _lines(duty: Mapping[str, Any]) -> Iterator[str]:
    person, after = duty["person"], duty["next"]
    yield f"{duty['rota']} on {_when(duty['at'])}"
    until = f" until {_when(duty['until'])}" if duty["until"] else ""
    if person is None:
        yield f"  NOBODY is on call{until}"
    else:
        yield f"  {person['name']} ({person['key']}){until}"
        if duty["overridden_by"]:
            yield f"    by an override of {duty['overridden_by']}"
        for address in person["addresses"]:
            yield f"    {_address(address)}"
    if duty["until"]:
        yield f"  then {after['name']} ({after['key']})" if after else "  then NOBODY"
    for gap in duty["gaps"]:
        yield f"  gap: nobody from {_when(gap['starts_at'])} to {_when(gap['ends_at'])}"


def _address(address: Mapping[str, Any]) -> str:
    extension = f" ext. {address['extension']}" if address["extension"] else ""
    closed = "" if address["answers"] else ", office closed"
    verified = f", verified {address['verified']}" if address["verified"] else ", never verified"
    return f"{_CALLED[address['channel']]:<4} {address['number']}{extension}{closed}{verified}"


def _when(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(MALAYSIA).strftime("%a %d/%m/%Y %H:%M")
