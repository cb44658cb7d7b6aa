"""Validity of a run during which the event loop lagged. Pure.

Our own lag must not count as an agency's failure. What a server answered is valid however late it is read; a deadline
that passed during the lag proves nothing, and a server that waited for us in vain closes the connection with good
reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from monitor.model.route import ProbingPolicy
from probes.model.probe import Timeouts
from probes.model.reply import Reason
from probes.model.result import Failure, Outcome, Party, Phase, ProbeResult

#: A shorter lag is load: a run has a minute, and needs about a hundred turns of the loop.
HARMLESS = timedelta(milliseconds=250)
#: The lag may take this share of a deadline.
TOLERATED = 0.1
#: A server may close a connection that is silent for so long: the shortest time-out in use is ten seconds (Postfix
#: under stress).
SERVER_TIMEOUT = timedelta(seconds=5)

#: Outcomes that a server's answer proves, however late it is read.
_ANSWERED = frozenset({Outcome.JUNK, Outcome.BOUNCED, Outcome.CORRUPTED, Outcome.REJECTED, Outcome.INCONCLUSIVE})
#: Reasons that are our own time-outs.
_TIMEOUTS = frozenset({Reason.NO_ANSWER, Reason.NAME_SERVER_SILENT, Reason.NOT_ARRIVED})


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopLag:
    """Lag of the event loop during a run: the sum and the longest. Lags up to `HARMLESS` are not counted."""

    whole: timedelta
    longest: timedelta


def is_valid(result: ProbeResult, lateness: LoopLag, probing: ProbingPolicy) -> bool:
    """Whether *result* is due to the mail service, not to a lag of this process."""
    if result.outcome in _ANSWERED:
        return True
    if result.outcome is Outcome.DELIVERED:
        return _is_as_slow_without_lag(result, lateness, probing)
    if lateness.longest >= SERVER_TIMEOUT:
        return False
    failure = result.failure
    if failure is None or failure.reason not in _TIMEOUTS:
        return True
    return lateness.whole <= TOLERATED * _deadline(failure, probing.patience)


def invalid_result(result: ProbeResult, lateness: LoopLag) -> ProbeResult:
    """Return the result of a run that a lag made invalid."""
    phase, party = (result.failure.phase, result.failure.party) if result.failure else (Phase.TRANSIT, Party.RECIPIENT)
    detail_text = f"this process stood still for {lateness.whole.total_seconds():.1f} s of it"
    failure = Failure(phase=phase, party=party, reason=Reason.OUR_LATENESS, detail=detail_text)
    return replace(result, outcome=Outcome.INCONCLUSIVE, failure=failure)


def _is_as_slow_without_lag(result: ProbeResult, lateness: LoopLag, probing: ProbingPolicy) -> bool:
    """Whether a delivered run is as slow without the lag. Invalid where a server may have closed the connection."""
    if result.uncertain and lateness.longest >= SERVER_TIMEOUT:
        return False
    spans = ((Phase.TRANSIT, probing.slow_threshold), (Phase.DATA, probing.patience.slow_data))
    took = ((result.phases.get(phase), limit) for phase, limit in spans)
    return not any(span is not None and span - lateness.whole <= limit < span for span, limit in took)


def _deadline(failure: Failure, patience: Timeouts) -> timedelta:
    return patience.arrival if failure.reason == Reason.NOT_ARRIVED else patience.session
