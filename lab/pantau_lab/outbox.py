"""Files of everything that the demo has sent: one for each message, in a directory for each channel."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

from alerts.model.channel import Channel
from pantau_lab.carrier.phone import Phone
from pantau_lab.faxservice.machine import Machine

_ZONE = ZoneInfo("Asia/Kuala_Lumpur")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Message that reached a fictional recipient."""

    channel: Channel
    #: Name of the recipient; for a letter "tray" or the name of the tray's subdirectory.
    to: str
    #: Text of the SMS, or of the call with the pressed keys; empty for a fax or letter.
    text: str
    path: Path


class Outbox:
    """Writer of what reaches the fictional phones and fax machines. The service itself writes letters into its tray."""

    def __init__(self, directory: Path, now: Callable[[], datetime]) -> None:
        self.directory = directory
        self._now = now
        self._numbers = count(1)
        #: The newest last.
        self.sent: deque[Sent] = deque(maxlen=50)
        for channel in Channel:
            (directory / channel).mkdir(parents=True, exist_ok=True)

    def sms(self, phone: Phone, text: str) -> None:
        """Keep an SMS."""
        path = self._path(Channel.SMS, phone.owner, "txt")
        path.write_text(f"Kepada: {phone.owner} ({phone.number})\n\n{text}\n")
        self.sent.append(Sent(channel=Channel.SMS, to=phone.owner, text=text, path=path))

    def call(self, phone: Phone, transcript: str, keys: str) -> None:
        """Keep what was said in a call and which keys were pressed."""
        pressed = f"[ditekan: {' '.join(keys)}]" if keys else "[tiada kekunci ditekan]"
        path = self._path(Channel.VOICE, phone.owner, "txt")
        path.write_text(f"Kepada: {phone.owner} ({phone.number})\n\n{transcript}\n\n{pressed}\n")
        # A call says each line several times. Keep one of each for reading.
        script = " ".join(dict.fromkeys(transcript.splitlines()))
        self.sent.append(Sent(channel=Channel.VOICE, to=phone.owner, text=f"{script} {pressed}", path=path))

    def fax(self, machine: Machine, title: str, pdf: bytes) -> None:
        """Keep the document that a fax machine received."""
        path = self._path(Channel.FAX, f"{machine.owner} {title}", "pdf")
        path.write_bytes(pdf)
        self.sent.append(Sent(channel=Channel.FAX, to=machine.owner, text="", path=path))

    def letters(self) -> list[Sent]:
        """Return the letters in the service's tray and its subdirectories (such as for posted letters), the newest last."""
        tray = self.directory / Channel.LETTER
        files = sorted(tray.rglob("*.pdf"), key=lambda file: file.stat().st_mtime)
        return [
            Sent(channel=Channel.LETTER, to="tray" if file.parent == tray else file.parent.name, text="", path=file)
            for file in files
        ]

    def _path(self, channel: Channel, label: str, suffix: str) -> Path:
        slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:60]
        stamp = self._now().astimezone(_ZONE).strftime("%H%M%S")
        return self.directory / channel / f"{stamp}-{next(self._numbers):03}-{slug}.{suffix}"
