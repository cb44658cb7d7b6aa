"""`pantau on-call`: show the contacts on call of each rota (on-call schedule), and their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from monitor.cli.option import DEFAULT_CONFIG, Config, Socket
from monitor.cli.service import call_service
from monitor.cli.table import MALAYSIA

_CHANNEL_NAMES = {"sms": "SMS", "voice": "call", "fax": "fax"}


def on_call(
    agency: Annotated[str, typer.Argument(help="Short code, such as JKR; default: all rotas.")] = "",
    at: Annotated[str, typer.Option("--at", help="When: 2026-12-01 22:00; default: now.", metavar="TIME")] = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Show who is on call, until when, who is next, and their numbers. Times are Malaysian."""
    rotas = call_service(config, socket, "GET", f"/on-call?{urlencode({'agency': agency, 'at': at})}")
    if not rotas:
        typer.echo(
            f"{agency.upper()}'s escalation policy has no rota: its file names the contacts of each step."
            if agency
            else "There is no rota: the agencies' files name the contacts of each step."
        )
    for number, each in enumerate(rotas):
        typer.echo("\n".join(([""] if number else []) + list(_format_rota(each))))


def _format_rota(rota_status: Mapping[str, Any]) -> Iterator[str]:
    contact, next_person = rota_status["person"], rota_status["next"]
    yield f"{rota_status['rota']} on {_format_time(rota_status['at'])}"
    until = f" until {_format_time(rota_status['until'])}" if rota_status["until"] else ""
    if contact is None:
        yield f"  NOBODY is on call{until}"
    else:
        yield f"  {contact['name']} ({contact['key']}){until}"
        if rota_status["overridden_by"]:
            yield f"    by an override of {rota_status['overridden_by']}"
        for address in contact["addresses"]:
            yield f"    {_format_address(address)}"
    if rota_status["until"]:
        yield f"  then {next_person['name']} ({next_person['key']})" if next_person else "  then NOBODY"
    for gap in rota_status["gaps"]:
        yield f"  gap: nobody from {_format_time(gap['starts_at'])} to {_format_time(gap['ends_at'])}"


def _format_address(address: Mapping[str, Any]) -> str:
    extension = f" ext. {address['extension']}" if address["extension"] else ""
    # `answers` is false outside the office hours of the number.
    closed = "" if address["answers"] else ", office closed"
    verified = f", verified {address['verified']}" if address["verified"] else ", never verified"
    return f"{_CHANNEL_NAMES[address['channel']]:<4} {address['number']}{extension}{closed}{verified}"


def _format_time(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(MALAYSIA).strftime("%a %d/%m/%Y %H:%M")
