"""Runner of one probe: every error becomes a result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from probes.mail.hops import path_of
from probes.model.probe import Probe, ProbeFailedError, Timeouts, let_go
from probes.model.reply import Reason, expired, failed
from probes.model.result import Failure, Outcome, Path, Phase, ProbeResult
from probes.run.trace import TraceRecorder

_log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    """Return the current time in UTC; tests pass another clock."""
    return datetime.now(UTC)


def loop_time() -> float:
    """Return the loop's clock, in seconds; it is monotonic."""
    return asyncio.get_running_loop().time()


async def run_probe(
    probe: Probe,
    *,
    route: str,
    token_id: str,
    patience: Timeouts,
    recorder: TraceRecorder | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> ProbeResult:
    """Run *probe* within `patience.whole` and return its result.

    Pass a *recorder* to read the dialogue afterwards. Only cancellation is raised.
    """
    recorder = recorder or TraceRecorder()
    started_at, started = clock(), time.monotonic()
    outcome, failure = await _ending(probe, route, patience, recorder)
    return ProbeResult(
        route=route,
        token_id=token_id,
        started_at=started_at,
        duration=timedelta(seconds=time.monotonic() - started),
        outcome=outcome,
        phases=dict(recorder.phases),
        failure=failure,
        uncertain=recorder.uncertain,
        path=_path(recorder, started_at, started),
        rewrites=recorder.rewrites,
    )


def _path(recorder: TraceRecorder, started_at: datetime, started: float) -> Path | None:
    """Return the path of the message if it arrived, even if changed."""
    if recorder.content is None:
        return None

    def entered(phase: Phase) -> datetime:
        return started_at + timedelta(seconds=recorder.entered.get(phase, started) - started)

    return path_of(recorder.content, handed_over=entered(Phase.SUBMIT), seen=entered(Phase.RETRIEVE))


async def _ending(
    probe: Probe, route: str, patience: Timeouts, recorder: TraceRecorder
) -> tuple[Outcome, Failure | None]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as deadline:
            # The deadline is applied one turn of the loop after it is due: when the process was blocked, a probe that
            # has meanwhile ended by its own earlier deadline reports more than the phase.
            due = loop.call_later(patience.whole.total_seconds(), lambda: deadline.reschedule(loop.time()))
            try:
                return await probe.run(recorder), None
            finally:
                due.cancel()
    except ProbeFailedError as failure:
        let_go(failure)
        return failure.outcome, failure.failure
    except TimeoutError as late:
        let_go(late)
        overdue = expired(*recorder.where, str(late))
        return overdue.outcome, overdue.failure
    except Exception as error:  # noqa: BLE001 - a bug of ours tells nothing about the mail service
        _log.exception("probe failed unexpectedly", route=route)
        broken = failed(Outcome.INCONCLUSIVE, Reason.OUR_OWN, *recorder.where, f"{type(error).__name__}: {error}")
        return broken.outcome, broken.failure
