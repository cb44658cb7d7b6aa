"""A judge of thousands of agencies says which may stand otherwise; of all others, nothing that could be told has changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.judging.judge import Judge
from monitor.probing.route import WatchedRoute
from probes.result import Outcome, Party, Phase, ProbeResult
from tests.unit.monitor.trial import MINUTE, SECOND, T0, World, arrived, failed, world

AGENCIES = ("jpc", "lkc", "agc")

End = Callable[[WatchedRoute, datetime], ProbeResult]
ENDS: list[End] = [
    arrived,
    lambda route, at: arrived(route, at, 2 * MINUTE),
    lambda route, at: failed(route, at, Outcome.LOST, Phase.TRANSIT, lasted=4 * MINUTE),
    lambda route, at: failed(route, at, Outcome.CONNECT, Phase.CONNECT),
    lambda route, at: failed(route, at, Outcome.CONNECT, Phase.CONNECT, Party.SENDER),
    lambda route, at: failed(route, at, Outcome.REJECTED, Phase.SUBMIT, Party.SENDER),
    lambda route, at: failed(route, at, Outcome.AUTH, Phase.AUTH, Party.SENDER, credentials=True),
    lambda route, at: failed(route, at, Outcome.DEFERRED, Phase.SUBMIT, Party.SENDER),
    lambda route, at: failed(route, at, Outcome.INCONCLUSIVE, Phase.CONNECT),
]


def standing(judge: Judge, agency: str, now: datetime) -> object:
    return judge.directions(agency), judge.trouble(agency, now), judge.is_well(agency, now)


# Routes fail several times in a row, or nothing would ever be down.
@given(st.lists(st.tuples(st.integers(0, 16), st.integers(0, len(ENDS) - 1), st.integers(1, 4)), max_size=40))
@settings(max_examples=150, deadline=None)
def test_who_has_not_moved_stands_as_before(runs: list[tuple[int, int, int]]) -> None:
    all_of: World = world(*AGENCIES)
    judge, now = all_of.judge, T0
    assert judge.moved() == {*AGENCIES, ""}
    known = {agency: standing(judge, agency, now) for agency in AGENCIES}
    judged: dict[str, object] = {}
    for route, end, times in runs:
        for _ in range(times):
            now += 20 * SECOND
            judge.take_in(ENDS[end](all_of.routes[route % len(all_of.routes)], now), now + SECOND)
            moved = judge.moved()
            for agency in AGENCIES:
                stands = standing(judge, agency, now + SECOND)
                assert agency in moved or stands == known[agency]
                known[agency] = stands
            judged |= judge.rejudged()
            assert judged == judge.healths()


def test_most_runs_move_only_their_own_agency() -> None:
    all_of = world(*AGENCIES)
    judge = all_of.judge
    judge.moved()
    own = [route for route in all_of.routes if route.agency == "lkc"]
    for count, route in enumerate(own):
        judge.take_in(arrived(route, T0 + count * MINUTE), T0 + count * MINUTE)
    assert judge.moved() == {"lkc"}
    assert judge.moved() == set()


def test_mail_that_comes_late_moves_its_agency() -> None:
    all_of = world(*AGENCIES)
    judge, route = all_of.judge, next(r for r in all_of.routes if r.agency == "agc")
    judge.take_in(failed(route, T0, Outcome.LOST, Phase.TRANSIT, token="00000000000000aa"), T0)
    judge.moved()
    judge.came_late(route.name, "00000000000000aa", 9 * MINUTE, T0 + 9 * MINUTE)
    assert "agc" in judge.moved()


def test_what_only_time_can_tell_is_asked_about_again() -> None:
    spreading = world("JCM").rounds(3)
    internal, outbound = spreading.routes[0], spreading.routes[1]
    for route in (internal, internal, internal, outbound):
        spreading.judge.take_in(failed(route, spreading.now, Outcome.REJECTED, Phase.SUBMIT), spreading.now)
    spreading.judge.moved()
    assert spreading.judge.trouble("JCM", spreading.now) is None
    assert spreading.judge.moved() == {"JCM"}

    unsteady = world("JCM").rounds(3)
    unsteady.judge.restore_falls({"JCM": [unsteady.now] * 3}, {"JCM"})
    unsteady.judge.moved()
    assert unsteady.judge.is_well("JCM", unsteady.now) is None
    assert unsteady.judge.moved() == {"JCM"}
