"""How often routes are run, over hours: once a round at rest, whatever is broken, and soon again when something is new."""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.model.health import Health
from monitor.model.route import Direction
from probes.model.result import Outcome, Phase
from tests.unit.monitor.trial import (
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
from tests.unit.monitor.vigil import Vigil, by_turns

HOUR = timedelta(hours=1)
#: In an hour; where a round ends earlier and later, one more.
ROUNDS = HOUR // PROBING.interval


def everywhere(outcome: Outcome, phase: Phase) -> Fault:
    return both(imap(outcome, phase), smtp(outcome, phase))


REJECTS = smtp(Outcome.REJECTED, Phase.SUBMIT)
#: Everything that may be broken for good, at an agency or at a reference of ours.
FOR_GOOD = {
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
@pytest.mark.parametrize("what", FOR_GOOD)
def test_what_is_broken_for_good_is_run_once_a_round_and_so_is_all_else(what: str, where: str) -> None:
    """Defect: A dead agency's pending runs ask for confirmations: 5.4 runs a round.

    Pantau: A pending run counts as what its proof will make it; at rest each route runs once a round.
    """
    vigil = Vigil(world("JCM", "JKT"))
    for first in (True, False):  # Broken from the start; and once all was well.
        vigil.world.faults = {where: FOR_GOOD[what]}
        changing = vigil.runs_within(HOUR, vigil.world.routes)
        at_rest = vigil.runs_within(2 * HOUR, vigil.world.routes)

        # A few more while it is judged: confirmations, and as many proofs.
        assert max(changing) <= ROUNDS + 8, first
        assert max(at_rest) <= 2 * ROUNDS + 1, first
        assert min(at_rest) >= 2 * ROUNDS - 1, first
        vigil.world.faults.clear()
        vigil.watch(HOUR)


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
def test_what_cannot_be_proven_is_run_once_a_round(
    faults: dict[str, Fault], *, cut_off: bool, first_well: bool
) -> None:
    """Defect: While our network or all references are dead, control routes run every few seconds.

    Pantau: A control route without proof runs at its own pace.
    """
    vigil = Vigil(world("JCM", "JKT"))
    if first_well:
        vigil.watch(HOUR)
    vigil.world.cut_off, vigil.world.faults = cut_off, dict(faults)
    changing = vigil.runs_within(HOUR, vigil.world.routes)
    at_rest = vigil.runs_within(2 * HOUR, vigil.world.routes)

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
def test_what_comes_and_goes_is_confirmed_each_time_and_no_more(
    faults: tuple[Fault | None, ...], where: str, *, first_well: bool
) -> None:
    """Defect: Each failure of flapping mail makes all routes of the agency run.

    Pantau: Only the first after all were up does.
    """
    vigil = Vigil(world("JCM", "JKT"))
    if first_well:
        vigil.watch(HOUR)
    vigil.world.faults = {where: by_turns(*faults)}
    vigil.watch(HOUR)

    runs = vigil.runs_within(2 * HOUR, vigil.world.routes)
    # A round, and what confirms that it was good or bad.
    assert max(runs[:-2]) <= 3 * 2 * ROUNDS + 3
    # Whatever asks for a proof, it is not tried more often than anything else is looked at again.
    assert max(runs[-2:]) <= 2 * HOUR / PROBING.retry_interval


def test_all_that_is_well_is_run_once_a_round() -> None:
    vigil = Vigil(world("JCM", "JKT")).watch(HOUR)

    assert max(vigil.runs_within(6 * HOUR, vigil.world.routes)) <= 6 * ROUNDS + 1


# -- looked at again soon -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", sorted(FOR_GOOD.keys() - {"535", "a bug of ours", "no connection to be had here"}))
def test_a_first_failure_is_looked_at_again_soon_until_it_is_judged(what: str) -> None:
    vigil = Vigil(world("JCM", "JKT")).watch(HOUR)
    vigil.world.faults = {"JCM/utama": FOR_GOOD[what]}
    wanted = {Health.DEGRADED} if what in {"slow", "junk"} else {Health.DOWN}
    if what == "deferred":
        vigil.watch(PROBING.deferral_timeout)
    began = vigil.now
    while not wanted <= set(vigil.world.evaluator.mail("JCM").directions().values()):
        vigil.watch(5 * SECOND)
        assert vigil.now - began <= 30 * MINUTE
    # The round in which it fails, two confirmations, how long three runs take, and a proof.
    lasts = {"lost": PROBING.timeouts.arrival, "slow": 2 * MINUTE, "junk": 2 * MINUTE}.get(what, SECOND)
    assert vigil.now - began <= 1.2 * PROBING.interval + 3 * lasts + 2 * PROBING.retry_interval + 10 * SECOND


@pytest.mark.parametrize("what", ["connect", "rejected", "lost", "bounced", "slow"])
def test_a_recovery_is_looked_at_again_soon(what: str) -> None:
    vigil = Vigil(world("JCM", "JKT")).watch(HOUR)
    vigil.world.faults = {"JCM/utama": FOR_GOOD[what]}
    vigil.watch(HOUR)
    vigil.world.faults.clear()
    began = vigil.now
    while set(vigil.world.evaluator.mail("JCM").directions().values()) != {Health.UP}:
        vigil.watch(5 * SECOND)
        assert vigil.now - began <= 1.2 * PROBING.interval + PROBING.timeouts.total + PROBING.retry_interval + MINUTE


def test_an_outage_that_could_not_be_seen_for_a_fault_of_ours_is_confirmed_soon_once_it_can() -> None:
    vigil = Vigil(world("JCM", "JKT")).watch(HOUR)
    vigil.world.faults = {"JCM/utama": REFUSED}
    vigil.world.cut_off = True
    vigil.watch(HOUR)
    assert vigil.world.own() == {"network"}
    vigil.world.cut_off = False
    vigil.watch(1.2 * PROBING.interval + 2 * PROBING.retry_interval + 20 * SECOND)

    assert set(vigil.world.evaluator.mail("JCM").directions().values()) == {Health.DOWN}


# -- a route that is now this and now that -----------------------------------------------------------------------------


@pytest.mark.blind
def test_mail_that_is_lost_and_late_by_turns_is_not_shown_as_well() -> None:
    """Defect: A route whose mail is lost and late by turns stays up.

    Pantau: Five bad runs in a row make it degraded.
    """
    vigil = Vigil(World(world("JCM").routes)).watch(HOUR)
    vigil.world.faults = {"JCM/utama": by_turns(slow(), REJECTS)}
    vigil.watch(HOUR)

    assert vigil.world.evaluator.mail("JCM").directions()[Direction.OUTBOUND] is Health.DEGRADED


@pytest.mark.blind
def test_mail_that_was_lost_every_other_time_from_the_start_does_not_stay_unknown() -> None:
    """Defect: A new route that loses every other message stays unknown for ever.

    Pantau: Five runs without a decision make it degraded.
    """
    vigil = Vigil(World(world("JCM").routes, {"JCM/utama": by_turns(None, REJECTS)})).watch(2 * HOUR)

    assert vigil.world.evaluator.mail("JCM").directions()[Direction.OUTBOUND] is Health.DEGRADED
