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

    Pass a *recorder* to read the dialogue afterwards. No exception is raised except cancellation.
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


def _path(recorder: TraceRecorder, started_at: datetime, started: float) -> Path | None:
    """Return the path of the message if it arrived, even if changed."""
    if recorder.content is None:
        return None

    def phase_start(phase: Phase) -> datetime:
        return started_at + timedelta(seconds=recorder.phase_starts.get(phase, started) - started)

    return read_path(recorder.content, submitted_at=phase_start(Phase.SUBMIT), arrived_at=phase_start(Phase.RETRIEVE))


async def _run_to_end(
    probe: Probe, route: str, timeouts: Timeouts, recorder: TraceRecorder
) -> tuple[Outcome, Failure | None]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as deadline:
            # The timer sets the deadline one turn of the loop after the deadline is due. So, after the process was
            # blocked, the probe's own earlier deadline still comes first. The probe reports more than the phase.
            timer = loop.call_later(timeouts.total.total_seconds(), lambda: deadline.reschedule(loop.time()))
            try:
                return await probe.run(recorder), None
            finally:
                timer.cancel()
    except ProbeFailedError as failure:
        clear_tracebacks(failure)
        return failure.outcome, failure.failure
    except TimeoutError as timeout:
        clear_tracebacks(timeout)
        timeout_error = timeout_failure(*recorder.location, str(timeout))
        return timeout_error.outcome, timeout_error.failure
    except Exception as error:  # noqa: BLE001 - a bug of ours says nothing about the mail service
        _log.exception("probe failed unexpectedly", route=route)
        unexpected = probe_failure(
            Outcome.INCONCLUSIVE, Reason.MONITORING_FAULT, *recorder.location, f"{type(error).__name__}: {error}"
        )
        return unexpected.outcome, unexpected.failure
