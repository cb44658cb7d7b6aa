"""Runner of one probe: runs it within its deadline, and turns every error into a result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from probes.mail.hops import read_path
from probes.model.probe import Probe, ProbeFailedError, Timeouts, clear_tracebacks
from probes.model.reply import Reason, probe_failure, timeout_failure
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
    timeouts: Timeouts,
    recorder: TraceRecorder | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> ProbeResult:
    """Run *probe* within `timeouts.total` and return its result.

    Pass a *recorder* to read the dialogue afterwards. Only cancellation raises an exception.
    """
    recorder = recorder or TraceRecorder()
    started_at, started_monotonic = clock(), time.monotonic()
    outcome, failure = await _run_to_end(probe, route, timeouts, recorder)
    return ProbeResult(
        route=route,
        token_id=token_id,
        started_at=started_at,
        duration=timedelta(seconds=time.monotonic() - started_monotonic),
        outcome=outcome,
        phases=dict(recorder.phases),
        failure=failure,
        uncertain=recorder.uncertain,
        path=_path(recorder, started_at, started_monotonic),
        rewrites=recorder.rewrites,
    )


def _path(recorder: TraceRecorder, started_at: datetime, started_monotonic: float) -> Path | None:
    """Return the path of the message if it arrived, unchanged or changed; otherwise `None`."""
    if recorder.content is None:
        return None

    def phase_start(phase: Phase) -> datetime:
        start_monotonic = recorder.phase_starts.get(phase, started_monotonic)
        return started_at + timedelta(seconds=start_monotonic - started_monotonic)

    return read_path(recorder.content, submitted_at=phase_start(Phase.SUBMIT), arrived_at=phase_start(Phase.RETRIEVE))


async def _run_to_end(
    probe: Probe, route: str, timeouts: Timeouts, recorder: TraceRecorder
) -> tuple[Outcome, Failure | None]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as deadline:
            # The timer starts the timeout one iteration of the loop after the deadline. If the process was blocked, the
            # probe's own earlier timeout thus still comes first; its error has more details than this one.
            timer = loop.call_later(timeouts.total.total_seconds(), lambda: deadline.reschedule(loop.time()))
            try:
                return await probe.run(recorder), None
            finally:
                timer.cancel()
    except ProbeFailedError as error:
        clear_tracebacks(error)
        return error.outcome, error.failure
    except TimeoutError as error:
        clear_tracebacks(error)
        timeout_error = timeout_failure(*recorder.location, str(error))
        return timeout_error.outcome, timeout_error.failure
    except Exception as error:  # noqa: BLE001 - a bug of ours is no evidence about mail
        _log.exception("probe failed unexpectedly", route=route)
        unexpected = probe_failure(
            Outcome.INCONCLUSIVE, Reason.MONITORING_FAULT, *recorder.location, f"{type(error).__name__}: {error}"
        )
        return unexpected.outcome, unexpected.failure
