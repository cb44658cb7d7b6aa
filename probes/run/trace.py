"""Trace of one run: the duration of each phase, the present phase, and the dialogue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from probes.model.result import Party, Phase

#: Limits of the dialogue, so that a server that sends without end does not exhaust memory: lines, and characters of
#: one.
_MAX_LINES = 400
_MAX_LINE = 500


class TraceRecorder:
    """Implementation of `probes.model.probe.Trace` for one run (one execution of a probe)."""

    def __init__(
        self,
        *,
        keep_dialogue: bool = False,
        on_phase: Callable[[Phase], None] = lambda _: None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """*on_phase* is called with each phase before it begins. *on_line* is called with each line of the dialogue.

        *keep_dialogue*: `dialogue` keeps the lines.
        """
        #: Durations of finished phases. A phase that was entered twice has the sum; a failed phase is absent.
        self.phases: dict[Phase, timedelta] = {}
        #: The present phase and party. Between two phases, those of the last phase.
        self.location: tuple[Phase, Party] = (Phase.DNS, Party.SENDER)
        #: The present phase, or the phase that failed; `None` before the first phase and between two phases.
        self.current: Phase | None = None
        #: Whether the submission ended without a response after the message was sent.
        self.uncertain = False
        #: Lines, oldest first, secrets masked: "sender C: EHLO ...". Empty unless *keep_dialogue*.
        self.dialogue: list[str] = []
        #: The message as it was in the mailbox; `None` if it did not arrive.
        self.content: bytes | None = None
        #: Harmless changes to the message by relays.
        self.rewrites: tuple[str, ...] = ()
        #: First start of each phase, in seconds of the monotonic clock.
        self.phase_starts: dict[Phase, float] = {}
        self._keep_dialogue = keep_dialogue
        self._on_phase = on_phase
        self._on_line = on_line

    @contextmanager
    def phase(self, phase: Phase, party: Party) -> Iterator[None]:
        self._on_phase(phase)
        self.location, self.current = (phase, party), phase
        started = time.monotonic()
        self.phase_starts.setdefault(phase, started)
        try:
            yield
        except BaseException:
            self.phases.pop(phase, None)
            raise
        self.phases[phase] = self.phases.get(phase, timedelta()) + timedelta(seconds=time.monotonic() - started)
        self.current = None

    @property
    def records_dialogue(self) -> bool:
        return self._keep_dialogue or self._on_line is not None

    def add_line(self, party: Party, line: str) -> None:
        if self._on_line is not None:
            self._on_line(line)
        if self._keep_dialogue and len(self.dialogue) < _MAX_LINES:
            # The line is printed on a terminal, which must not execute a server's control sequences and cannot print
            # surrogates.
            printable = "".join(char if char.isprintable() else "\ufffd" for char in line[:_MAX_LINE])
            self.dialogue.append(f"{party} {printable}")

    def mark_uncertain(self) -> None:
        self.uncertain = True

    def limit_duration(self, phase: Phase, at_most: timedelta) -> None:
        if phase in self.phases:
            self.phases[phase] = min(self.phases[phase], at_most)

    def record_message(self, content: bytes, rewrites: tuple[str, ...] = ()) -> None:
        self.content, self.rewrites = content, rewrites
