"""Transcript of an IMAP or POP3 session for people, without secrets, texts of messages and repetitions."""

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

#: Limit of different lines of one connection. Repeated lines are left out, because each poll of a mailbox has the same.
_MAX_LINES = 100
#: Limit of lines of one response, except its tagged last line, because a list of folders may have thousands.
_MAX_RESPONSE_LINES = 20
#: Characters of a line that are processed.
_MAX_LINE = 1_000
#: The text of a message. It is hidden, because readers of the transcript must not see people's mail.
_MESSAGE_TEXT = re.compile(r"\bBODY\[.*", re.IGNORECASE | re.DOTALL)
_HIDDEN = "***"


class Transcript:
    """Transcript of one connection. It passes each different line to *write* once."""

    def __init__(
        self, protocol: str, write: Callable[[str], None], credential: Password | Bearer | None = None
    ) -> None:
        """*credential*: the secrets that are masked if the server repeats them."""
        self._protocol = protocol
        self._write = write
        self._credential = credential
        self._written: set[str] = set()
        self._response_lines = 0

    @classmethod
    def for_trace(cls, protocol: str, trace: Trace, party: Party, credential: Password | Bearer) -> Self | None:
        """Return a transcript that writes to *trace*; `None` if *trace* records no dialogue."""
        return cls(protocol, partial(trace.add_line, party), credential) if trace.records_dialogue else None

    def add_command(self, command: str, *, secret: bool = False) -> None:
        """Add a command of the client. The text of a *secret* command is masked."""
        self._response_lines = 0
        self._add("C", _HIDDEN if secret else command)

    def add_response(self, text: str, *, secret: bool = False) -> None:
        """Add a line of the server. Of a *secret* line, such as a challenge, only the first word is shown."""
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
