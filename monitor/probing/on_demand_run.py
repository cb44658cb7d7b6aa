"""On-demand run: a run of a route that a person requests on a page, which shows its progress."""

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
    """Progress of a requested run, from the request to its end. The prober updates it."""

    #: The route at the time of the request.
    route: MonitoredRoute
    requested_at: datetime
    #: `None`: the run waits for another run of the route, or for the rate limit of starts.
    started_at: datetime | None = None
    #: Records the phases. `None` after the start: the run waits for the recipient's mailbox to be readable, or for a
    #: permit to submit at the sender's server.
    recorder: TraceRecorder | None = field(default=None, repr=False)
    #: `None`: the run has not ended, was cancelled, or sent no message.
    result: ProbeResult | None = None
    #: Time of the result, or of the cancellation.
    ended_at: datetime | None = None
    #: Set if the send quota of the account is used up and so no message was sent: when the account may send again.
    next_send_at: datetime | None = None
    #: Set when the run has ended, as `is_finished`.
    finished: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def finish(self, at: datetime) -> None:
        """Record the end, and wake the tasks that wait for it."""
        self.ended_at = at
        self.finished.set()

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended, with or without a result."""
        return self.ended_at is not None

    @property
    def phases(self) -> Mapping[Phase, timedelta]:
        """Durations of the finished phases."""
        if self.result is not None:
            return self.result.phases
        return self.recorder.phases if self.recorder is not None else {}

    @property
    def phase(self) -> Phase | None:
        """The current phase; `None` before the run submits and after its end."""
        # The recorder has the current phase. The finished phases do not show it, because a phase may be entered twice.
        return None if self.is_finished or self.recorder is None else self.recorder.current
