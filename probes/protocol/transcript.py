"""Transcript of an IMAP or POP3 session for people: its lines without secrets, message texts and repetitions."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Self

from probes.credentials.sign_in import Bearer, mask_secrets
from probes.model.mailbox import Password
from probes.model.probe import Trace
from probes.model.reply import shorten
from probes.model.result import Party

#: Different lines of one connection. A mailbox is polled many times while a run waits, always with the same lines.
_MAX_LINES = 100
#: Lines of one response: a list of folders may have thousands.
_MAX_RESPONSE_LINES = 20
_MAX_LINE = 1_000
#: The text of a message, which is hidden: a reader of the transcript must not see people's mail.
_MESSAGE_TEXT = re.compile(r"\bBODY\[.*", re.IGNORECASE | re.DOTALL)
_HIDDEN = "***"


class Transcript:
    """Passes the lines of one connection to *write*, each once."""

    def __init__(
        self, protocol: str, write: Callable[[str], None], credential: Password | Bearer | None = None
    ) -> None:
        """*credential*: the credentials, which are removed if the server repeats them."""
        self._protocol = protocol
        self._write = write
        self._credential = credential
        self._written: set[str] = set()
        self._response_lines = 0

    @classmethod
    def for_trace(cls, protocol: str, trace: Trace, party: Party, credential: Password | Bearer) -> Self | None:
        """Return the transcript for *trace*; `None`: it records no dialogue."""
        return cls(protocol, partial(trace.add_line, party), credential) if trace.records_dialogue else None

    def add_command(self, command: str, *, secret: bool = False) -> None:
        """Add a command; a *secret* one without its text."""
        self._response_lines = 0
        self._add("C", _HIDDEN if secret else command)

    def add_response(self, text: str, *, secret: bool = False) -> None:
        """Add a line of the server; of a *secret* one, such as a challenge, only its start."""
        self._response_lines += 1
        if self._response_lines > _MAX_RESPONSE_LINES and text.startswith("* "):
            return
        prefix, _, rest = text[:_MAX_LINE].partition(" ")
        if secret and rest:
            self._add("S", f"{prefix} {_HIDDEN}")
        else:
            text = _MESSAGE_TEXT.sub("BODY[...", text[:_MAX_LINE])
            self._add("S", mask_secrets(text, self._credential) if self._credential is not None else text)

    def _add(self, side: str, text: str) -> None:
        line = f"{self._protocol} {side}: {shorten(text)}"
        if line in self._written or len(self._written) > _MAX_LINES:
            return
        self._written.add(line)
        self._write(line if len(self._written) <= _MAX_LINES else f"{self._protocol} (and so on)")
