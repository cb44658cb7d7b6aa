"""Transcript of a reading session for people: its lines without secrets, mail and repetitions."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Self

from probes.credentials.sign_in import Bearer, masked
from probes.model.mailbox import Password
from probes.model.probe import Trace
from probes.model.reply import shortened
from probes.model.result import Party

#: Lines of one connection. A mailbox is polled many times while a run waits, always with the same lines.
_LINES_AT_MOST = 100
#: Lines of one response: a list of folders may have thousands.
_ANSWER_AT_MOST = 20
_LINE_AT_MOST = 1_000
#: The text of a message: a reader of the transcript must not see people's mail.
_TEXT = re.compile(r"\bBODY\[.*", re.IGNORECASE | re.DOTALL)
_HIDDEN = "***"


class Transcript:
    """Passes the lines of one connection to *tell*, each once."""

    def __init__(self, protocol: str, tell: Callable[[str], None], key: Password | Bearer | None = None) -> None:
        """*key*: the credentials, which are removed if the server repeats them."""
        self._protocol = protocol
        self._tell = tell
        self._key = key
        self._told: set[str] = set()
        self._answered = 0

    @classmethod
    def of(cls, protocol: str, trace: Trace, party: Party, key: Password | Bearer) -> Self | None:
        """Return the transcript for *trace*; `None`: it records no dialogue."""
        return cls(protocol, partial(trace.said, party), key) if trace.listens else None

    def asked(self, command: str, *, secret: bool = False) -> None:
        """Add a command; a *secret* one without its text."""
        self._answered = 0
        self._line("C", _HIDDEN if secret else command)

    def answered(self, text: str, *, secret: bool = False) -> None:
        """Add a line of the server; of a *secret* one, such as a challenge, only its start."""
        self._answered += 1
        if self._answered > _ANSWER_AT_MOST and text.startswith("* "):
            return
        mark, _, rest = text[:_LINE_AT_MOST].partition(" ")
        if secret and rest:
            self._line("S", f"{mark} {_HIDDEN}")
        else:
            text = _TEXT.sub("BODY[...", text[:_LINE_AT_MOST])
            self._line("S", masked(text, self._key) if self._key is not None else text)

    def _line(self, who: str, text: str) -> None:
        line = f"{self._protocol} {who}: {shortened(text)}"
        if line in self._told or len(self._told) > _LINES_AT_MOST:
            return
        self._told.add(line)
        self._tell(line if len(self._told) <= _LINES_AT_MOST else f"{self._protocol} (and so on)")
