"""Validity of a run during which the process was blocked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.evaluation.attribution import FaultDomain, attribute
from monitor.evaluation.evidence import Ability, Evidence, EvidenceCollector
from monitor.model.health import Grade
from monitor.planning.loop_lag import LoopLag, invalid_result, is_valid
from probes.model.reply import Reason
from probes.model.result import Failure, Outcome, Party, Phase, ProbeResult
from tests.unit.monitor.world import MINUTE, PROBING, SECOND, T0, agency_routes, arrived, controls, failed

ROUTE = agency_routes("JCM")[1]
SESSION, ARRIVAL = PROBING.timeouts.session, PROBING.timeouts.arrival


def ended(outcome: Outcome, reason: Reason, phase: Phase = Phase.SUBMIT) -> ProbeResult:
    failure = Failure(phase=phase, party=Party.SENDER, reason=reason)
    return replace(failed(ROUTE, T0, outcome, phase, Party.SENDER), failure=failure)


LOST = ended(Outcome.LOST, Reason.NOT_ARRIVED, Phase.TRANSIT)
TIMED_OUT = ended(Outcome.TIMEOUT, Reason.NO_ANSWER)
REFUSED = ended(Outcome.CONNECT, Reason.PORT_REFUSED, Phase.CONNECT)
HUNG_UP = ended(Outcome.CONNECT, Reason.CONNECTION_CLOSED)


@pytest.mark.blind
@pytest.mark.parametrize(
    ("result", "longest", "total", "valid"),
    [
        # Without lag.
        *((result, 0 * SECOND, 0 * SECOND, True) for result in (LOST, TIMED_OUT, REFUSED, HUNG_UP)),
        # A tenth of a timeout may be lost by lag.
        (TIMED_OUT, SECOND, 0.1 * SESSION, True),
        (TIMED_OUT, SECOND, 0.11 * SESSION, False),
        (LOST, SECOND, 0.1 * ARRIVAL, True),
        (LOST, SECOND, 0.11 * ARRIVAL, False),
        (ended(Outcome.DNS, Reason.NAME_SERVER_SILENT, Phase.DNS), SECOND, 0.11 * SESSION, False),
        # A server reply counts however late it is read...
        (REFUSED, 4 * SECOND, ARRIVAL, True),
        (HUNG_UP, 4 * SECOND, ARRIVAL, True),
        # Without a failure it is unknown which timeout passed.
        (replace(TIMED_OUT, failure=None), 4 * SECOND, ARRIVAL, True),
        # ... unless the server waited too long for us.
        *(
            (result, 5 * SECOND, 5 * SECOND, False)
            for result in (
                LOST,
                TIMED_OUT,
                REFUSED,
                HUNG_UP,
                ended(Outcome.DEFERRED, Reason.TRY_LATER),
                ended(Outcome.TLS, Reason.TLS_REFUSED, Phase.TLS),
                ended(Outcome.AUTH, Reason.CREDENTIALS_REFUSED, Phase.AUTH),
            )
        ),
        # Replies and messages are evidence at any time.
        *(
            (result, MINUTE, MINUTE, True)
            for result in (
                ended(Outcome.REJECTED, Reason.MESSAGE_REFUSED),
                ended(Outcome.BOUNCED, Reason.RETURNED, Phase.TRANSIT),
                ended(Outcome.CORRUPTED, Reason.CONTENT_CHANGED, Phase.RETRIEVE),
                arrived(ROUTE, T0),
                arrived(ROUTE, T0, junk=True),
            )
        ),
        # A late arrival was late because of us if it would have been in time without the lag.
        (arrived(ROUTE, T0, PROBING.slow_threshold + 20 * SECOND), SECOND, 19 * SECOND, True),
        *(
            (arrived(ROUTE, T0, PROBING.slow_threshold + 20 * SECOND), SECOND, late * SECOND, False)
            for late in (20, 21)
        ),
        # The limit itself is in time, with and without lag; so is a phase without a duration.
        (arrived(ROUTE, T0, PROBING.slow_threshold), SECOND, SECOND, True),
        (replace(arrived(ROUTE, T0), phases={}), SECOND, SECOND, True),
        (replace(arrived(ROUTE, T0), uncertain=True), 4 * SECOND, 4 * SECOND, True),
        (replace(arrived(ROUTE, T0), uncertain=True), 5 * SECOND, 5 * SECOND, False),
    ],
)
def test_is_valid_server_reply_counts_and_late_deadline_does_not(
    result: ProbeResult, longest: timedelta, total: timedelta, *, valid: bool
) -> None:
    """Defect: A deadline that passes while the process is suspended fails the agency.

    Pantau: Such a run is inconclusive; a server's reply counts whenever it is read.
    """
    assert is_valid(result, LoopLag(longest=longest, total=total), PROBING) is valid


def test_invalid_result_is_inconclusive_and_gives_lag() -> None:
    result = invalid_result(TIMED_OUT, LoopLag(total=12.34 * SECOND, longest=12.34 * SECOND))

    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.failure is not None
    assert result.failure.summary == "prober blocked (this process was blocked for 12.3 s)"
    assert (result.failure.phase, result.failure.party) == (Phase.SUBMIT, Party.SENDER)
    verdict = attribute(ROUTE, result, Evidence())
    assert (verdict.grade, verdict.domain) == (Grade.NONE, FaultDomain.PANTAU)


def test_invalid_result_of_arrival_fails_in_transit() -> None:
    result = invalid_result(arrived(ROUTE, T0), LoopLag(total=9 * SECOND, longest=9 * SECOND))
    assert result.failure is not None
    assert (result.failure.phase, result.failure.party) == (Phase.TRANSIT, Party.RECIPIENT)


def test_invalid_result_is_no_network_evidence() -> None:
    control = controls()[0]
    result = invalid_result(replace(REFUSED, route=control.name), LoopLag(total=9 * SECOND, longest=9 * SECOND))
    collector = EvidenceCollector(controls())
    collector.record_run(control, result)

    assert all(proof.failed_at is None for proof in collector.evidence().records(Ability.REACH).values())
