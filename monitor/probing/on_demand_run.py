"""A run that somebody has asked for and looks on at: what of it has happened so far."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.model.route import MonitoredRoute
from probes.model.result import Phase, ProbeResult
from probes.run.trace import TraceRecorder


@dataclass(slots=True, kw_only=True, eq=False)
class OnDemandRun:
    """One run of a route, from the order to its end. The prober fills it in; it is a run like any other."""

    #: As it was when it was asked for.
    route: MonitoredRoute
    asked_at: datetime
    #: `None`: another run of the route is under way, or there is no room for it yet.
    begun_at: datetime | None = None
    #: `None`: it looks whether the mailbox can be read, or waits for its turn at the server.
    recorder: TraceRecorder | None = field(default=None, repr=False)
    result: ProbeResult | None = None
    #: When it was known how it ended, or that it comes to nothing.
    ended_at: datetime | None = None
    #: The account has sent all that its mail provider allows, and may send again then: no message was sent.
    room_at: datetime | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def end(self, at: datetime) -> None:
        """Let whoever waits go on: nothing more happens."""
        self.ended_at = at
        self.over.set()

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens."""
        return self.ended_at is not None

    @property
    def phases(self) -> Mapping[Phase, timedelta]:
        """How long each phase took that is over."""
        if self.result is not None:
            return self.result.phases
        return self.recorder.phases if self.recorder is not None else {}

    @property
    def phase(self) -> Phase | None:
        """The phase that it is in."""
        # One may be entered again: connecting is, for the server's greeting.
        return None if self.is_over or self.recorder is None else self.recorder.current
