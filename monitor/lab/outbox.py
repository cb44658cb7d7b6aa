"""Everything that was sent, as files to look at: one a message, in a folder for each channel."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

from alerts.channel import Channel
from monitor.lab.carrier.phone import Phone
from monitor.lab.faxservice.machine import Machine

_ZONE = ZoneInfo("Asia/Kuala_Lumpur")


class Outbox:
    """Writes what reaches the fictional phones and fax machines. Letters are written by the service's own tray."""

    def __init__(self, directory: Path, now: Callable[[], datetime]) -> None:
        self.directory = directory
        self._now = now
        self._numbers = count(1)
        for channel in Channel:
            (directory / channel).mkdir(parents=True, exist_ok=True)

    def sms(self, phone: Phone, text: str) -> None:
        """Keep an SMS."""
        self._path(Channel.SMS, phone.owner, "txt").write_text(f"Kepada: {phone.owner} ({phone.number})\n\n{text}\n")

    def call(self, phone: Phone, transcript: str, keys: str) -> None:
        """Keep what was said in a call and which keys were pressed."""
        pressed = f"[ditekan: {' '.join(keys)}]" if keys else "[tiada kekunci ditekan]"
        text = f"Kepada: {phone.owner} ({phone.number})\n\n{transcript}\n\n{pressed}\n"
        self._path(Channel.VOICE, phone.owner, "txt").write_text(text)

    def fax(self, machine: Machine, title: str, pdf: bytes) -> None:
        """Keep the page that a fax machine received."""
        self._path(Channel.FAX, f"{machine.owner} {title}", "pdf").write_bytes(pdf)

    def _path(self, channel: Channel, what: str, suffix: str) -> Path:
        slug = re.sub(r"[^a-z0-9]+", "-", what.lower()).strip("-")[:60]
        stamp = self._now().astimezone(_ZONE).strftime("%H%M%S")
        return self.directory / channel / f"{stamp}-{next(self._numbers):03}-{slug}.{suffix}"
