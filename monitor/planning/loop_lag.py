"""Decide whether a run is to be believed that was under way while we stood still. Pure.

Our own lateness is no agency's fault. What a server did or said is so however late we heard of it; but a deadline that
passed while nobody looked says nothing, and a server that waited for us in vain has hung up with good reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from monitor.model.route import ProbingPolicy
from probes.model.probe import Timeouts
from probes.model.reply import Reason
from probes.model.result import Failure, Outcome, Party, Phase, ProbeResult

#: A loop that wakes so much later than it should is only busy: a whole run wakes it a hundred times, and has a minute.
HARMLESS = timedelta(milliseconds=250)
#: A deadline may lose this part of its time to us.
TOLERATED = 0.1
#: A server that hears nothing for as long may hang up: the shortest time-out in use is ten seconds (Postfix under stress).
SERVERS_WAIT = timedelta(seconds=5)

#: What is so, however late we heard of it.
_SAID = frozenset({Outcome.JUNK, Outcome.BOUNCED, Outcome.CORRUPTED, Outcome.REJECTED, Outcome.INCONCLUSIVE})
#: A time-out of ours.
_WAITED_FOR = frozenset({Reason.NO_ANSWER, Reason.NAME_SERVER_SILENT, Reason.NOT_ARRIVED})


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopLag:
    """How late the loop was during a run: in all, and at once. What is harmless is not counted."""

    whole: timedelta
    longest: timedelta


def is_believable(result: ProbeResult, lateness: LoopLag, probing: ProbingPolicy) -> bool:
    """Whether *result* is the mail service's doing, and not that of a process that stood still."""
    if result.outcome in _SAID:
        return True
    if result.outcome is Outcome.DELIVERED:
        return _is_as_slow_without(result, lateness, probing)
    if lateness.longest >= SERVERS_WAIT:
        return False
    failure = result.failure
    if failure is None or failure.reason not in _WAITED_FOR:
        return True
    return lateness.whole <= TOLERATED * _deadline(failure, probing.patience)


def of_our_own(result: ProbeResult, lateness: LoopLag) -> ProbeResult:
    """Return the end of a run that is not to be believed."""
    phase, party = (result.failure.phase, result.failure.party) if result.failure else (Phase.TRANSIT, Party.RECIPIENT)
    stood_still = f"this process stood still for {lateness.whole.total_seconds():.1f} s of it"
    failure = Failure(phase=phase, party=party, reason=Reason.OUR_LATENESS, detail=stood_still)
    return replace(result, outcome=Outcome.INCONCLUSIVE, failure=failure)


def _is_as_slow_without(result: ProbeResult, lateness: LoopLag, probing: ProbingPolicy) -> bool:
    """Whether what was delivered is judged as it would be had we been on time; uncertain is who was hung up on."""
    if result.uncertain and lateness.longest >= SERVERS_WAIT:
        return False
    spans = ((Phase.TRANSIT, probing.slow_after), (Phase.DATA, probing.patience.slow_data))
    took = ((result.phases.get(phase), limit) for phase, limit in spans)
    return not any(span is not None and span - lateness.whole <= limit < span for span, limit in took)


def _deadline(failure: Failure, patience: Timeouts) -> timedelta:
    return patience.arrival if failure.reason == Reason.NOT_ARRIVED else patience.session
