"""Build the gateways that are configured."""

from __future__ import annotations

from pathlib import Path

from alerts.exchange import Line
from alerts.gateway import Surroundings
from monitor.config.gateway import gateway_kinds
from monitor.settings import Settings

#: Below the callback listener's public URL; the gateway's name follows.
CALLBACK_PREFIX = "callbacks"


def build_lines(settings: Settings, directory: Path) -> list[Line]:
    """Return a line for each configured gateway, in the order of preference. Relative paths start at *directory*."""
    kinds = gateway_kinds()
    return [
        Line(
            name=entry.name,
            channel=channel,
            per_minute=entry.per_minute,
            gateway=kinds[entry.kind].build(
                entry.config,
                Surroundings(callback_base=callback_base(settings, entry.name), directory=str(directory)),
            ),
        )
        for channel, entries in settings.gateways.items()
        for entry in entries
    ]


def callback_base(settings: Settings, gateway: str) -> str | None:
    """Return the URL below which this gateway's provider reaches us; `None` if none can."""
    public = settings.callbacks.public_url
    return f"{public.rstrip('/')}/{CALLBACK_PREFIX}/{gateway}" if public else None
