"""Trace of one run: the duration of each phase, the present phase, and the dialogue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from probes.model.result import Party, Phase

#: Limits of the dialogue, which is for people; a server that sends without end must not fill our memory.
_LINES_AT_MOST = 400
_LINE_AT_MOST = 500


class TraceRecorder:
    """Implementation of `probes.model.probe.Trace`. One for each run."""

    def __init__(
        self,
        *,
        keep_dialogue: bool = False,
        entering: Callable[[Phase], None] = lambda _: None,
        said: Callable[[str], None] | None = None,
    ) -> None:
        """*entering* is called with each phase before it begins; *said* receives the lines instead of the dialogue."""
        #: Finished phases. One that was entered twice has the sum; one that failed is absent.
        self.phases: dict[Phase, timedelta] = {}
        #: The present phase and party, or the last.
        self.where: tuple[Phase, Party] = (Phase.DNS, Party.SENDER)
        #: The present phase, or the one that failed; `None` before the first and between two.
        self.current: Phase | None = None
        #: The submission ended without a response after the message was sent.
        self.uncertain = False
        #: Lines, oldest first, secrets masked: "sender C: EHLO ...". Empty unless requested.
        self.dialogue: list[str] = []
        #: The message as it was in the mailbox, if it arrived.
        self.content: bytes | None = None
        self.rewrites: tuple[str, ...] = ()
        #: First start of each phase, on the monotonic clock.
        self.entered: dict[Phase, float] = {}
        self._keep_dialogue = keep_dialogue
        self._entering = entering
        self._said = said

    @contextmanager
    def phase(self, phase: Phase, party: Party) -> Iterator[None]:
        self._entering(phase)
        self.where, self.current = (phase, party), phase
        started = time.monotonic()
        self.entered.setdefault(phase, started)
        try:
            yield
        except BaseException:
            self.phases.pop(phase, None)
            raise
        self.phases[phase] = self.phases.get(phase, timedelta()) + timedelta(seconds=time.monotonic() - started)
        self.current = None

    @property
    def listens(self) -> bool:
        return self._keep_dialogue or self._said is not None

    def said(self, party: Party, line: str) -> None:
        if self._said is not None:
            self._said(line)
        if self._keep_dialogue and len(self.dialogue) < _LINES_AT_MOST:
            # It is printed on a terminal, which must not execute a server's control sequences, and cannot print a
            # surrogate.
            shown = "".join(char if char.isprintable() else "\ufffd" for char in line[:_LINE_AT_MOST])
            self.dialogue.append(f"{party} {shown}")

    def doubt(self) -> None:
        self.uncertain = True

    def took(self, phase: Phase, at_most: timedelta) -> None:
        if phase in self.phases:
            self.phases[phase] = min(self.phases[phase], at_most)

    def arrived(self, content: bytes, rewrites: tuple[str, ...] = ()) -> None:
        self.content, self.rewrites = content, rewrites
