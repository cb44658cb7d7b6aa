"""What people are shown of a session that reads a mailbox: its lines, secrets masked, nobody's mail, no repetition."""

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

#: Of one connection. A mailbox is looked at many times while a run waits, and always in the same words.
_LINES_AT_MOST = 100
#: Of one answer: a list of folders may have thousands.
_ANSWER_AT_MOST = 20
_LINE_AT_MOST = 1_000
#: The text of a message: whoever reads the mailbox is no reader of what people write.
_TEXT = re.compile(r"\bBODY\[.*", re.IGNORECASE | re.DOTALL)
_HIDDEN = "***"


class Transcript:
    """Tells *tell* the lines of one connection, each once."""

    def __init__(self, protocol: str, tell: Callable[[str], None], key: Password | Bearer | None = None) -> None:
        """*key*: what is signed in with; a server that repeats it does not get it into the transcript."""
        self._protocol = protocol
        self._tell = tell
        self._key = key
        self._told: set[str] = set()
        self._answered = 0

    @classmethod
    def of(cls, protocol: str, trace: Trace, party: Party, key: Password | Bearer) -> Self | None:
        """Return the transcript that *trace* hears; `None`: nobody reads it."""
        return cls(protocol, partial(trace.said, party), key) if trace.listens else None

    def asked(self, command: str, *, secret: bool = False) -> None:
        """Tell a command of ours; of a *secret* one that there was one."""
        self._answered = 0
        self._line("C", _HIDDEN if secret else command)

    def answered(self, text: str, *, secret: bool = False) -> None:
        """Tell a line of the server's; of a *secret* one, such as a challenge, only how it begins."""
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
