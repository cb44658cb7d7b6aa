"""What an operator is told about a run: what it means, what to do, and who can do it. Pure."""

from __future__ import annotations

from datetime import timedelta

from monitor.advice import passing, reaching, signing, submitting
from monitor.advice.case import Case
from monitor.advice.row import Advice, Row, Who
from monitor.advice.submitting import answered_late, unanswered
from monitor.judging.evidence import was_taken_well
from monitor.model.route import WatchedRoute
from probes.model.probe import Route
from probes.model.result import Outcome, Phase, ProbeResult

__all__ = ["ROWS", "Advice", "Case", "Row", "Who", "advise"]

#: All rows, by reason the special ones first.
ROWS: tuple[Row, ...] = (*submitting.ROWS, *reaching.ROWS, *signing.ROWS, *passing.ROWS)


def advise(watched: WatchedRoute, result: ProbeResult) -> Advice:
    """Return what *result* of a run on the route means."""
    route, probing = watched.route, watched.probing
    if result.failure is not None:
        case = Case(route=route, result=result, failure=result.failure)
        row = next((row for row in ROWS if row.reason == case.failure.reason and row.when(case)), None)
        return row.advice(case) if row is not None else _unheard_of(case)
    if result.outcome is Outcome.JUNK:
        return _junk(route)
    if result.uncertain:
        return unanswered(route, result)
    if not was_taken_well(watched, result):
        return answered_late(route, result, probing.patience.slow_data)
    transit = result.phases.get(Phase.TRANSIT, timedelta())
    return _slow(route, transit, probing.slow_after) if transit > probing.slow_after else _well(route)


def _well(route: Route) -> Advice:
    return Advice(
        what=f"Mail from {route.sender.address} to {route.address} works: it was sent, arrived whole, and was read.",
        do="Nothing is to be done.",
        who=Who.NOBODY,
    )


def _slow(route: Route, transit: timedelta, slow_after: timedelta) -> Advice:
    return Advice(
        what=f"Mail arrives whole, but it took {transit.total_seconds():.0f} s; more than "
        f"{slow_after.total_seconds():.0f} s is slow.",
        do="Look at the relays (--verbose lists them): the one with the long delay has the queue.",
        who="the administrator of the relay that is slow",
        steps=(
            "`postqueue -p | tail -1` on the relay with the long delay: how much waits there?",
            "Greylisting delays the first messages of a new sender only: does it go away?",
            "A scanner that is overloaded shows as a delay between two relays of the same organisation.",
            f"No relay is slow: the mailbox {route.recipient.address} shows new mail late, look at its server.",
        ),
    )


def _junk(route: Route) -> Advice:
    agency = route.name.partition("/")[0]
    forwarded = route.to is not None and route.to.lower() != route.recipient.address.lower()
    return Advice(
        what=f"Mail from {route.sender.address} arrives at {route.recipient.address}, but among the junk: people do not "
        "see it.",
        do=f"Have the recipient's filter allow {route.sender.address}, and check SPF, DKIM and DMARC of the sender: "
        f"`pantau probe {agency} --check posture`.",
        who="the sender's administrator if the records are wrong, otherwise the recipient's",
        steps=(
            "Open the message in the junk folder before Pantau deletes it: Authentication-Results says what failed.",
            *(("It was forwarded: a forward without SRS breaks SPF. See docs/forwarding.md.",) if forwarded else ()),
            "Is ordinary mail of this sender among the junk as well? Then people are affected, not only the probe.",
            "A probe mailbox that nobody reads may be taught: move one probe message from junk to the inbox.",
        ),
    )


def _unheard_of(case: Case) -> Advice:
    """Say what little can be said of a reason that no table knows: a kind of probe that does not ship may have its own."""
    words = case.words
    return Advice(
        what=f"The run failed at {words['server']} {words['phase']}: {case.failure.reason}.",
        do="Run this command with --verbose to see what was said.",
        who=words["owner"],
    )
