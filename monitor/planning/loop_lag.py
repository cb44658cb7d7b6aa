"""Validity of a run during which the event loop lagged. Pure.

A lag of this process must not count as a failure of an agency. A server's answer is valid, however late it is read. But
a deadline that passed because of the lag proves nothing, and neither does a connection that the server closed because
this process was silent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from monitor.model.route import ProbingPolicy
from probes.model.probe import Timeouts
from probes.model.reply import Reason
from probes.model.result import Failure, Outcome, Party, Phase, ProbeResult

#: Shorter lags are normal under load: a run has a minute, and needs about a hundred iterations of the loop.
MIN_COUNTED_LAG = timedelta(milliseconds=250)
#: Maximum share of a deadline that the lag may take.
MAX_DEADLINE_SHARE = 0.1
#: A server may close a connection that is silent for this long. The shortest time-out in use is ten seconds (Postfix
#: under stress).
SERVER_TIMEOUT = timedelta(seconds=5)

#: Outcomes that a server's answer proves, however late it is read; and the outcome that proves nothing anyway.
_ANSWERED = frozenset({Outcome.JUNK, Outcome.BOUNCED, Outcome.CORRUPTED, Outcome.REJECTED, Outcome.INCONCLUSIVE})
#: Reasons that mean a time-out of this process.
_TIMEOUTS = frozenset({Reason.NO_ANSWER, Reason.NAME_SERVER_SILENT, Reason.NOT_ARRIVED})


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopLag:
    """Lag of the event loop during a run: the sum and the longest. Lags below `MIN_COUNTED_LAG` do not count."""

    total: timedelta
    longest: timedelta


def is_valid(result: ProbeResult, lag: LoopLag, probing: ProbingPolicy) -> bool:
    """Whether *result* is caused by the mail service, and not by a lag of this process."""
    if result.outcome in _ANSWERED:
        return True
    if result.outcome is Outcome.DELIVERED:
        return _is_unaffected_by_lag(result, lag, probing)
    if lag.longest >= SERVER_TIMEOUT:
        return False
    failure = result.failure
    if failure is None or failure.reason not in _TIMEOUTS:
        return True
    return lag.total <= MAX_DEADLINE_SHARE * _deadline(failure, probing.timeouts)


def invalid_result(result: ProbeResult, lag: LoopLag) -> ProbeResult:
    """Return the inconclusive result that replaces *result*, which a lag made invalid."""
    phase, party = (result.failure.phase, result.failure.party) if result.failure else (Phase.TRANSIT, Party.RECIPIENT)
    lag_text = f"this process was blocked for {lag.total.total_seconds():.1f} s"
    failure = Failure(phase=phase, party=party, reason=Reason.PROCESS_BLOCKED, detail=lag_text)
    return replace(result, outcome=Outcome.INCONCLUSIVE, failure=failure)


def _is_unaffected_by_lag(result: ProbeResult, lag: LoopLag, probing: ProbingPolicy) -> bool:
    """Whether a delivered run would be evaluated in the same way without the lag.

    False if a phase exceeds its slow limit only because of the lag, or if the server may have closed the connection
    because of the lag.
    """
    if result.uncertain and lag.longest >= SERVER_TIMEOUT:
        return False
    limits = ((Phase.TRANSIT, probing.slow_threshold), (Phase.DATA, probing.timeouts.slow_data))
    durations = ((result.phases.get(phase), limit) for phase, limit in limits)
    return not any(duration is not None and duration - lag.total <= limit < duration for duration, limit in durations)


def _deadline(failure: Failure, timeouts: Timeouts) -> timedelta:
    return timeouts.arrival if failure.reason == Reason.NOT_ARRIVED else timeouts.session
