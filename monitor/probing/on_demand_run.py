"""An on-demand run and its progress, for a person who waits."""

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
    """One run of a route, from its request to its end. The prober fills it in; it is a run like any other."""

    #: The route at the time of the request.
    route: MonitoredRoute
    asked_at: datetime
    #: `None`: another run of the route is in flight, or capacity is missing.
    started_at: datetime | None = None
    #: `None`: it waits for the mailbox to be readable, or for a permit at the server.
    recorder: TraceRecorder | None = field(default=None, repr=False)
    result: ProbeResult | None = None
    #: Time of the result, or of the cancellation.
    ended_at: datetime | None = None
    #: The account's send quota is used up until then: no message was sent.
    room_at: datetime | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def end(self, at: datetime) -> None:
        """Wake the waiting person: nothing more happens."""
        self.ended_at = at
        self.over.set()

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens."""
        return self.ended_at is not None

    @property
    def phases(self) -> Mapping[Phase, timedelta]:
        """Durations of the finished phases."""
        if self.result is not None:
            return self.result.phases
        return self.recorder.phases if self.recorder is not None else {}

    @property
    def phase(self) -> Phase | None:
        """The current phase."""
        # A phase may be entered again: connecting, for the server's greeting.
        return None if self.is_over or self.recorder is None else self.recorder.current
