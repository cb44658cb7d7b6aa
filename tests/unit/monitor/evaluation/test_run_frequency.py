"""Frequency of runs over hours: once per interval at rest, and sooner after a change."""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.model.health import Health
from monitor.model.route import Direction
from probes.model.result import Outcome, Phase
from tests.unit.monitor.scheduled_world import ScheduledWorld, by_turns
from tests.unit.monitor.world import (
    LOSES,
    MINUTE,
    NO_SIGN_IN,
    PROBING,
    REFUSED,
    SECOND,
    WRONG_PASSWORD,
    Fault,
    World,
    both,
    imap,
    on_the_way,
    slow,
    smtp,
    world,
)

HOUR = timedelta(hours=1)
#: Runs per hour; one more where a round ends early.
ROUNDS = HOUR // PROBING.interval


def everywhere(outcome: Outcome, phase: Phase) -> Fault:
    return both(imap(outcome, phase), smtp(outcome, phase))


REJECTS = smtp(Outcome.REJECTED, Phase.SUBMIT)
#: Permanent faults of an agency or of a reference.
PERMANENT_FAULTS = {
    "connect": REFUSED,
    "connect, sending": smtp(Outcome.CONNECT, Phase.CONNECT),
    "connect, reading": imap(Outcome.CONNECT, Phase.CONNECT),
    "dns": everywhere(Outcome.DNS, Phase.DNS),
    "tls": everywhere(Outcome.TLS, Phase.TLS),
    "timeout": both(imap(Outcome.TIMEOUT, Phase.RETRIEVE), smtp(Outcome.TIMEOUT, Phase.SUBMIT)),
    "sign-in": NO_SIGN_IN,
    "535": WRONG_PASSWORD,
    "rejected": REJECTS,
    "deferred": smtp(Outcome.DEFERRED, Phase.SUBMIT),
    "lost": LOSES,
    "bounced": on_the_way(Outcome.BOUNCED),
    "corrupted": on_the_way(Outcome.CORRUPTED),
    "slow": slow(),
    "junk": slow(junk=True),
    "a bug of ours": everywhere(Outcome.INCONCLUSIVE, Phase.RETRIEVE),
    "no connection to be had here": everywhere(Outcome.INCONCLUSIVE, Phase.CONNECT),
}


@pytest.mark.blind
@pytest.mark.parametrize("where", ["JCM/utama", "a"])
@pytest.mark.parametrize("what", PERMANENT_FAULTS)
def test_permanent_failure_runs_every_route_once_per_interval(what: str, where: str) -> None:
    """Defect: A dead agency's pending runs ask for confirmations: 5.4 runs a round.

    Pantau: A pending run counts as what its proof will make it; at rest each route runs once a round.
    """
    simulated = ScheduledWorld(world("JCM", "JKT"))
    for first in (True, False):  # Broken from the start, and after all was up.
        simulated.world.faults = {where: PERMANENT_FAULTS[what]}
        changing = simulated.runs_within(HOUR, simulated.world.routes)
        at_rest = simulated.runs_within(2 * HOUR, simulated.world.routes)

        # A few more during the evaluation: confirmations, and as many control runs.
        assert max(changing) <= ROUNDS + 8, first
        assert max(at_rest) <= 2 * ROUNDS + 1, first
        assert min(at_rest) >= 2 * ROUNDS - 1, first
        simulated.world.faults.clear()
        simulated.run_for(HOUR)


@pytest.mark.blind
@pytest.mark.parametrize("first_well", [True, False])
@pytest.mark.parametrize(
    ("cut_off", "faults"),
    [
        (True, {}),
        (False, {"a": REFUSED, "b": REFUSED}),
        (False, {"a": LOSES, "b": LOSES}),
        (False, {"a": REFUSED, "b": REFUSED, "JCM/utama": LOSES}),
        (False, {"a": LOSES, "JCM/utama": on_the_way(Outcome.BOUNCED)}),
        (False, {"a": on_the_way(Outcome.BOUNCED), "JCM/utama": REFUSED}),
    ],
)
def test_failure_without_evidence_runs_every_route_once_per_interval(
    faults: dict[str, Fault], *, cut_off: bool, first_well: bool
) -> None:
    """Defect: While our network or all references are dead, control routes run every few seconds.

    Pantau: A control route without proof runs at its own pace.
    """
    simulated = ScheduledWorld(world("JCM", "JKT"))
    if first_well:
        simulated.run_for(HOUR)
    simulated.world.cut_off, simulated.world.faults = cut_off, dict(faults)
    changing = simulated.runs_within(HOUR, simulated.world.routes)
    at_rest = simulated.runs_within(2 * HOUR, simulated.world.routes)

    assert max(changing) <= ROUNDS + 8
    assert max(at_rest) <= 2 * ROUNDS + 1


@pytest.mark.blind
@pytest.mark.parametrize("first_well", [True, False])
@pytest.mark.parametrize("where", ["JCM/utama", "a"])
@pytest.mark.parametrize(
    "faults",
    [
        (None, REJECTS),
        (None, LOSES),
        (None, slow()),
        (slow(), REJECTS),
        (None, REJECTS, REJECTS),
        (None, None, REJECTS, REJECTS, REJECTS),
        (None, REFUSED),
    ],
)
def test_intermittent_failure_is_confirmed_each_time_only(
    faults: tuple[Fault | None, ...], where: str, *, first_well: bool
) -> None:
    """Defect: Each failure of flapping mail makes all routes of the agency run.

    Pantau: Only the first after all were up does.
    """
    simulated = ScheduledWorld(world("JCM", "JKT"))
    if first_well:
        simulated.run_for(HOUR)
    simulated.world.faults = {where: by_turns(*faults)}
    simulated.run_for(HOUR)

    runs = simulated.runs_within(2 * HOUR, simulated.world.routes)
    # One round, and the confirmations of each change.
    assert max(runs[:-2]) <= 3 * 2 * ROUNDS + 3
    # Control runs are not requested more often than the retry interval.
    assert max(runs[-2:]) <= 2 * HOUR / PROBING.retry_interval


def test_healthy_routes_run_once_per_interval() -> None:
    simulated = ScheduledWorld(world("JCM", "JKT")).run_for(HOUR)

    assert max(simulated.runs_within(6 * HOUR, simulated.world.routes)) <= 6 * ROUNDS + 1


# -- looked at again soon -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what", sorted(PERMANENT_FAULTS.keys() - {"535", "a bug of ours", "no connection to be had here"})
)
def test_first_failure_is_repeated_soon_until_evaluated(what: str) -> None:
    simulated = ScheduledWorld(world("JCM", "JKT")).run_for(HOUR)
    simulated.world.faults = {"JCM/utama": PERMANENT_FAULTS[what]}
    wanted = {Health.DEGRADED} if what in {"slow", "junk"} else {Health.DOWN}
    if what == "deferred":
        simulated.run_for(PROBING.deferral_timeout)
    began = simulated.now
    while not wanted <= set(simulated.world.evaluator.mail("JCM").directions().values()):
        simulated.run_for(5 * SECOND)
        assert simulated.now - began <= 30 * MINUTE
    # The failing round, two confirmations, the duration of three runs, and a control run.
    lasts = {"lost": PROBING.timeouts.arrival, "slow": 2 * MINUTE, "junk": 2 * MINUTE}.get(what, SECOND)
    assert simulated.now - began <= 1.2 * PROBING.interval + 3 * lasts + 2 * PROBING.retry_interval + 10 * SECOND


@pytest.mark.parametrize("what", ["connect", "rejected", "lost", "bounced", "slow"])
def test_recovery_is_repeated_soon(what: str) -> None:
    simulated = ScheduledWorld(world("JCM", "JKT")).run_for(HOUR)
    simulated.world.faults = {"JCM/utama": PERMANENT_FAULTS[what]}
    simulated.run_for(HOUR)
    simulated.world.faults.clear()
    began = simulated.now
    while set(simulated.world.evaluator.mail("JCM").directions().values()) != {Health.UP}:
        simulated.run_for(5 * SECOND)
        assert (
            simulated.now - began <= 1.2 * PROBING.interval + PROBING.timeouts.total + PROBING.retry_interval + MINUTE
        )


def test_outage_hidden_by_monitoring_fault_is_confirmed_soon() -> None:
    simulated = ScheduledWorld(world("JCM", "JKT")).run_for(HOUR)
    simulated.world.faults = {"JCM/utama": REFUSED}
    simulated.world.cut_off = True
    simulated.run_for(HOUR)
    assert simulated.world.own() == {"network"}
    simulated.world.cut_off = False
    simulated.run_for(1.2 * PROBING.interval + 2 * PROBING.retry_interval + 20 * SECOND)

    assert set(simulated.world.evaluator.mail("JCM").directions().values()) == {Health.DOWN}


# -- a route that is now this and now that -----------------------------------------------------------------------------


@pytest.mark.blind
def test_mail_lost_and_late_alternately_is_degraded() -> None:
    """Defect: A route whose mail is lost and late by turns stays up.

    Pantau: Five bad runs in a row make it degraded.
    """
    simulated = ScheduledWorld(World(world("JCM").routes)).run_for(HOUR)
    simulated.world.faults = {"JCM/utama": by_turns(slow(), REJECTS)}
    simulated.run_for(HOUR)

    assert simulated.world.evaluator.mail("JCM").directions()[Direction.OUTBOUND] is Health.DEGRADED


@pytest.mark.blind
def test_mail_lost_every_other_time_from_start_is_degraded() -> None:
    """Defect: A new route that loses every other message stays unknown for ever.

    Pantau: Five runs without a decision make it degraded.
    """
    simulated = ScheduledWorld(World(world("JCM").routes, {"JCM/utama": by_turns(None, REJECTS)})).run_for(2 * HOUR)

    assert simulated.world.evaluator.mail("JCM").directions()[Direction.OUTBOUND] is Health.DEGRADED
