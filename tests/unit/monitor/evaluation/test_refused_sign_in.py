"""Refused accounts: whether the account or the sign-in service is at fault, and who is notified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import pytest

from alerts.model.notification import IncidentType
from monitor.evaluation.attribution import FaultDomain
from monitor.evaluation.monitoring_faults import FaultSource
from monitor.evaluation.sign_in import SignInEvidence, SignInFault
from monitor.model.health import Health
from monitor.model.route import Direction, MonitoredRoute
from probes.model.result import Outcome, Party, Phase, ProbeResult, RefusalCause
from tests.unit.monitor.world import (
    MINUTE,
    SECOND,
    T0,
    WRONG_PASSWORD,
    Fault,
    World,
    agency_routes,
    arrived,
    both,
    controls,
    failed,
    hosted,
    imap,
    route,
    smtp,
)

#: Three mailboxes on one server, and one on a server of its own.
SHARED, ALONE = ("JCM", "JKT", "JPC"), "LKC"
HOSTS = {f"{code}/utama": "kongsi.contoh.gov.my" for code in SHARED} | {f"{ALONE}/utama": "lkc.contoh.gov.my"}
DAY = timedelta(days=1)


def routes_of(direction: Direction) -> dict[str, MonitoredRoute]:
    found = hosted([r for code in (*SHARED, ALONE) for r in agency_routes(code, ("a",), (direction,))], HOSTS)
    return {r.agency: r for r in found}


def refused_run(of: MonitoredRoute, at: timedelta, party: Party, cause: RefusalCause | None = None) -> ProbeResult:
    return failed(of, T0 + at, Outcome.AUTH, Phase.AUTH, party, credentials=True, cause=cause)


#: Account, minutes before or after the evaluated refusal, and result.
Run = tuple[str, float, str]


@pytest.mark.falsegreen
@pytest.mark.parametrize(
    ("case", "runs", "now", "fault"),
    [
        ("it was accepted just before, and has no others beside it", [("LKC", -5, "ok"), ("LKC", 0, "no")], 0, "suspected"),
        ("it was accepted within a day", [("LKC", -23 * 60, "ok"), ("LKC", 0, "no")], 0, "suspected"),
        ("it was accepted longer ago", [("LKC", -25 * 60, "ok"), ("LKC", 0, "no")], 0, "account"),
        ("it was never accepted", [("LKC", 0, "no")], 0, "account"),
        ("it goes on for two days", [("LKC", -5, "ok"), ("LKC", 0, "no"), ("LKC", 2 * 1440, "no")], 2 * 1440, "suspected"),
        ("the server says that the account is locked", [("LKC", -5, "ok"), ("LKC", 0, "locked")], 0, "account"),
        ("it is accepted again", [("LKC", -5, "ok"), ("LKC", 0, "no"), ("LKC", 5, "ok")], 5, "undecided"),
        ("another is accepted after it, a third has not been tried", [("JCM", -5, "ok"), ("JCM", 0, "no"), ("JKT", 1, "ok"), ("JCM", 2, "no")], 2, "undecided"),
        ("the third has not been tried within a round", [("JCM", -5, "ok"), ("JCM", 0, "no"), ("JKT", 1, "ok"), ("JCM", 60, "no")], 60, "account"),
        ("all others are accepted after it, and it has not been tried since", [("JCM", -5, "ok"), ("JCM", 0, "no"), ("JKT", 1, "ok"), ("JPC", 2, "ok")], 60, "undecided"),
        ("it is refused again after all others are accepted", [("JCM", -5, "ok"), ("JCM", 0, "no"), ("JKT", 1, "ok"), ("JPC", 2, "ok"), ("JCM", 3, "no")], 3, "account"),
        ("another is accepted for the last time before it", [("JKT", -5, "ok"), ("JPC", -5, "ok"), ("JCM", -5, "ok"), ("JCM", 0, "no"), ("JCM", 1, "no")], 1, "undecided"),
        ("another is accepted, and refused after that", [("JCM", -5, "ok"), ("JCM", 0, "no"), ("JKT", 1, "ok"), ("JCM", 2, "no"), ("JKT", 3, "no")], 3, "service"),
        ("others were before, and have not been tried", [("JCM", -5, "ok"), ("JKT", -1, "ok"), ("JCM", 0, "no")], 1, "undecided"),
        ("nor are they for long", [("JCM", -5, "ok"), ("JKT", -1, "ok"), ("JCM", 0, "no")], 60, "suspected"),
        ("a second one is refused", [("JCM", -5, "ok"), ("JCM", 0, "no"), ("JKT", 1, "no")], 1, "service"),
        ("only the second one ever worked", [("JKT", -5, "ok"), ("JCM", 0, "no"), ("JKT", 1, "no")], 1, "service"),
        ("a second one is refused, and neither ever worked", [("JCM", 0, "no"), ("JKT", 1, "no")], 1, "account"),
        ("a second one is locked", [("JCM", -5, "ok"), ("JCM", 0, "no"), ("JKT", 1, "locked")], 60, "suspected"),
        ("a second one is refused since yesterday", [("JKT", -1440, "no"), ("JCM", -5, "ok"), ("JCM", 0, "no")], 60, "suspected"),
        ("two are refused, and a third is accepted between", [("JCM", -5, "ok"), ("JCM", 0, "no"), ("JPC", 0.5, "ok"), ("JKT", 1, "no"), ("JCM", 2, "no")], 2, "service"),
        ("two are refused, and a third is accepted after", [("JCM", -5, "ok"), ("JCM", 0, "no"), ("JKT", 1, "no"), ("JPC", 2, "ok"), ("JCM", 3, "no")], 3, "service"),
        ("it is accepted in the second in which it is refused", [("JCM", -5, "ok"), ("JKT", -5, "ok"), ("JCM", 0, "no"), ("JCM", 0.01, "ok"), ("JKT", 1, "no")], 1, "service"),
        ("another is refused and accepted within a second", [("JCM", -5, "ok"), ("JCM", 0, "no"), ("JKT", 1, "no"), ("JKT", 1.01, "ok"), ("JPC", 2, "ok"), ("JCM", 3, "no")], 3, "service"),
        ("of two that are refused one is accepted again", [("JCM", -5, "ok"), ("JCM", 0, "no"), ("JKT", 1, "no"), ("JKT", 3, "ok"), ("JPC", 3, "ok")], 4, "undecided"),
        ("and this one refused after that", [("JCM", -5, "ok"), ("JCM", 0, "no"), ("JKT", 1, "no"), ("JKT", 3, "ok"), ("JPC", 3, "ok"), ("JCM", 5, "no")], 5, "account"),
        ("it alone is refused since an outage of all", [("JCM", -5, "ok"), ("JCM", 0, "no"), ("JKT", 1, "no"), ("JKT", 3, "ok"), ("JPC", 3, "ok"), ("JCM", 5, "no"), ("JKT", 90, "no"), ("JPC", 91, "no")], 91, "account"),
        ("a third is locked, which needs no trial", [("JCM", -5, "ok"), ("JPC", -1, "locked"), ("JCM", 0, "no"), ("JKT", 1, "ok"), ("JCM", 2, "no")], 2, "account"),
        ("all others were locked, and one works again", [("JCM", -5, "ok"), ("JKT", -1, "locked"), ("JPC", -1, "locked"), ("JCM", 0, "no"), ("JKT", 1, "ok")], 2, "undecided"),
        ("what is refused on another server says nothing", [("JCM", -5, "ok"), ("LKC", 0, "no"), ("JCM", 0, "no")], 60, "suspected"),
        ("nor what is accepted there", [("JCM", -5, "ok"), ("JCM", 0, "no"), ("LKC", 1, "ok")], 60, "suspected"),
    ],
)  # fmt: skip
def test_sign_in_fault_by_accepted_and_refused_accounts(case: str, runs: Sequence[Run], now: float, fault: str) -> None:
    """Defect: A refused account is blamed whoever else is refused.

    Pantau: Who is accepted and refused at the same server decides.
    """
    routes, evidence = routes_of(Direction.OUTBOUND), SignInEvidence()
    evidence.replace_routes(routes.values(), ())
    for agency, minutes, what in runs:
        of, at = routes[agency], minutes * MINUTE
        cause = RefusalCause.ACCOUNT if what == "locked" else None
        end = arrived(of, T0 + at) if what == "ok" else refused_run(of, at, Party.SENDER, cause)
        evidence.record_run(of, end)
    judged = next(agency for agency, minutes, what in reversed(runs) if minutes == 0 and what != "ok")
    assert evidence.fault(f"{judged}/utama", Party.SENDER, T0 + now * MINUTE) == fault, case


def accounts(count: int) -> tuple[SignInEvidence, list[MonitoredRoute]]:
    """Return accounts of one server, each accepted five minutes ago."""
    codes = [f"A{number}" for number in range(count)]
    routes = [r for code in codes for r in agency_routes(code, ("a",), (Direction.OUTBOUND,))]
    evidence = SignInEvidence()
    evidence.replace_routes(routes := hosted(routes, {f"{code}/utama": "kongsi.contoh.gov.my" for code in codes}), ())
    for of in routes:
        evidence.record_run(of, arrived(of, T0 - 5 * MINUTE))
    return evidence, routes


@pytest.mark.falsegreen
@pytest.mark.parametrize(
    ("count", "locked", "fault"),
    [
        (300, 2, "account"),
        (300, 149, "account"),
        (300, 150, "service"),
        (5, 2, "account"),
        (4, 2, "service"),
        (3, 2, "service"),
        (2, 1, "account"),
    ],
)
def test_sign_in_fault_of_refused_accounts_by_number_accepted(count: int, locked: int, fault: str) -> None:
    """Defect: The number of accepted accounts is ignored.

    Pantau: They are counted since the last refusal.
    """
    evidence, routes = accounts(count)
    for start in (0, 5):
        for number, of in enumerate(routes):
            at = start * MINUTE + number * SECOND
            evidence.record_run(of, refused_run(of, at, Party.SENDER) if number < locked else arrived(of, T0 + at))
    faults = {evidence.fault(of.route.sender.name, Party.SENDER, T0 + 10 * MINUTE) for of in routes[:locked]}
    assert faults == {fault}


@pytest.mark.falsegreen
@pytest.mark.parametrize(
    ("between", "after", "fault"),
    [
        (3, 0, "service"),  # An acceptance before the second refusal does not clear the service.
        (0, 3, "undecided"),  # Two accounts have not been tried: they might be refused as well.
        (0, 5, "account"),  # Whatever the last account does.
    ],
)
def test_sign_in_fault_of_two_accounts_by_time_others_are_accepted(between: int, after: int, fault: str) -> None:
    """Defect: An acceptance before the refusals clears the service.

    Pantau: Only later ones count.
    """
    evidence, (first, second, *others) = accounts(8)
    evidence.record_run(first, refused_run(first, 0 * SECOND, Party.SENDER))
    for of in others[:between]:
        evidence.record_run(of, arrived(of, T0 + 20 * SECOND))
    evidence.record_run(second, refused_run(second, 30 * SECOND, Party.SENDER))
    for of in others[:after]:
        evidence.record_run(of, arrived(of, T0 + 40 * SECOND))
    for of in (first, second):
        evidence.record_run(of, refused_run(of, 60 * SECOND, Party.SENDER))
        assert evidence.fault(of.route.sender.name, Party.SENDER, T0 + 61 * SECOND) == fault


def test_sign_in_fault_mailbox_read_after_refusal_counts_as_accepted() -> None:
    routes, evidence = routes_of(Direction.INBOUND), SignInEvidence()
    evidence.replace_routes(routes.values(), ())
    for code in SHARED:
        evidence.record_run(routes[code], arrived(routes[code], T0 - 5 * MINUTE))
        evidence.record_run(routes[code], refused_run(routes[code], 0 * MINUTE, Party.RECIPIENT))
    for code in ("JKT", "JPC"):
        evidence.record_run(routes[code], arrived(routes[code], T0 + MINUTE))
    evidence.record_run(routes["JCM"], refused_run(routes["JCM"], 2 * MINUTE, Party.RECIPIENT))
    assert evidence.fault("JCM/utama", Party.RECIPIENT, T0 + 2 * MINUTE) is SignInFault.ACCOUNT


def test_sign_in_evidence_rewind_moves_refusals() -> None:
    evidence, (of, *_) = accounts(2)
    evidence.record_run(of, refused_run(of, 180 * MINUTE, Party.SENDER))
    evidence.rewind(T0 + SECOND, 180 * MINUTE)
    assert evidence.is_contradicted(of.route.sender.name, Party.SENDER, T0 + 9 * SECOND)
    assert not evidence.is_contradicted(of.route.sender.name, Party.SENDER, T0 + 10 * SECOND)


@pytest.mark.falsegreen
@pytest.mark.parametrize("seed", range(10))
def test_sign_in_fault_server_answering_both_ways_is_service(seed: int) -> None:
    """Defect: Dovecot without its password file accepts one attempt of several, and the NOC gets wrong passwords.

    Pantau: An acceptance a moment after a refusal proves nothing.
    """
    # Dovecot without its password file accepts the second attempt of each second; of five accounts one or two meet it.
    (evidence, routes), chance = accounts(5), Random(seed)
    for turn in range(20):
        for number, of in enumerate(routes):
            at = turn * MINUTE + number * 10 * SECOND
            evidence.record_run(of, refused_run(of, at, Party.SENDER))
            if chance.random() < 0.3:
                evidence.record_run(of, arrived(of, T0 + at + SECOND / 2))
        faults = {evidence.fault(of.route.sender.name, Party.SENDER, T0 + turn * MINUTE + MINUTE) for of in routes}
        assert faults == {SignInFault.SERVICE}


@pytest.mark.falsegreen
def test_sign_in_fault_service_recovering_blames_no_account() -> None:
    """Defect: While a sign-in service recovers, accounts not tried again count as wrong passwords.

    Pantau: They are undecided until they are tried.
    """
    evidence, routes = accounts(5)
    for number, of in enumerate(routes):
        evidence.record_run(of, refused_run(of, number * SECOND, Party.SENDER))
    for number, of in enumerate(routes):
        evidence.record_run(of, arrived(of, T0 + 5 * MINUTE + number * SECOND))
        late = {evidence.fault(r.route.sender.name, Party.SENDER, T0 + 6 * MINUTE) for r in routes[number + 1 :]}
        assert late <= {SignInFault.SERVICE, SignInFault.UNDECIDED}


@pytest.mark.parametrize(("minutes", "fault"), [(4, SignInFault.UNDECIDED), (6, SignInFault.ACCOUNT)])
def test_sign_in_fault_read_over_earlier_connection_proves_nothing(minutes: int, fault: SignInFault) -> None:
    routes, evidence = routes_of(Direction.INBOUND), SignInEvidence()
    evidence.replace_routes(routes.values(), ())
    evidence.record_run(routes["JCM"], arrived(routes["JCM"], T0 - 5 * MINUTE))
    evidence.record_run(routes["JCM"], refused_run(routes["JCM"], 0 * MINUTE, Party.RECIPIENT))
    for other in ("JKT", "JPC"):
        evidence.record_run(routes[other], arrived(routes[other], T0 + minutes * MINUTE))
    evidence.record_run(routes["JCM"], refused_run(routes["JCM"], (minutes + 1) * MINUTE, Party.RECIPIENT))
    assert evidence.fault("JCM/utama", Party.RECIPIENT, T0 + minutes * MINUTE) is fault


def test_sign_in_fault_sending_and_reading_are_separate() -> None:
    outbound, inbound, evidence = routes_of(Direction.OUTBOUND), routes_of(Direction.INBOUND), SignInEvidence()
    evidence.replace_routes([*outbound.values(), *inbound.values()], ())
    evidence.record_run(outbound["JCM"], arrived(outbound["JCM"], T0 - MINUTE))
    affected = evidence.record_run(outbound["JCM"], refused_run(outbound["JCM"], 0 * MINUTE, Party.SENDER))
    assert affected == {"JCM/utama"}
    # Reading another account proves nothing about sending, nor about an account that was not tried.
    assert evidence.record_run(inbound["JKT"], arrived(inbound["JKT"], T0 + 9 * MINUTE)) == set()
    assert evidence.fault("JCM/utama", Party.SENDER, T0 + 60 * MINUTE) is SignInFault.SUSPECTED
    assert evidence.fault("JCM/utama", Party.RECIPIENT, T0 + 60 * MINUTE) is SignInFault.UNDECIDED
    # An account that is tried at that server may decide it.
    assert evidence.record_run(outbound["JPC"], arrived(outbound["JPC"], T0 + 61 * MINUTE)) == {"JCM/utama"}
    assert evidence.fault("JCM/utama", Party.SENDER, T0 + 61 * MINUTE) is SignInFault.UNDECIDED
    assert evidence.record_run(outbound["JCM"], refused_run(outbound["JCM"], 62 * MINUTE, Party.SENDER)) == {
        "JCM/utama"
    }
    assert evidence.fault("JCM/utama", Party.SENDER, T0 + 62 * MINUTE) is SignInFault.ACCOUNT


@pytest.mark.parametrize("seed", range(20))
def test_sign_in_evidence_record_returns_every_account_whose_fault_changed(seed: int) -> None:
    chance, routes, evidence = Random(seed), routes_of(Direction.OUTBOUND), SignInEvidence()
    evidence.replace_routes(routes.values(), ())
    at = timedelta(0)
    for _ in range(60):
        at += timedelta(minutes=chance.choice((0, 1, 5, 45)))
        of, ends = routes[chance.choice(SHARED)], ("ok", "no", "no", "locked")

        def faults(now: datetime = T0 + at) -> dict[str, SignInFault]:
            return {name: evidence.fault(name, Party.SENDER, now) for name in HOSTS}

        before, what = faults(), chance.choice(ends)
        cause = RefusalCause.ACCOUNT if what == "locked" else None
        late = at - timedelta(minutes=chance.choice((0, 0, 7)))
        affected = evidence.record_run(
            of, arrived(of, T0 + late) if what == "ok" else refused_run(of, late, Party.SENDER, cause)
        )
        changed = {name for name, fault in faults().items() if fault is not before[name]}
        assert changed <= set(affected), (what, of.agency)


def test_sign_in_evidence_many_accounts_refused_are_evaluated_few_times() -> None:
    evidence, routes = accounts(100)
    ends = (True, False, False, False, True, True)
    # A run that changes nothing re-evaluates its own account only: the work is linear in the runs.
    for turn, ok in enumerate(ends):
        at = turn * 5 * MINUTE
        runs = [(of, arrived(of, T0 + at) if ok else refused_run(of, at, Party.SENDER)) for of in routes]
        affected = [evidence.record_run(of, run) for of, run in runs]
        assert sum(map(len, affected)) <= 3 * len(routes), turn


# -- who is told -----------------------------------------------------------------------------------------------


def world(*agencies: str) -> World:
    routes = [r for agency in agencies for r in agency_routes(agency)]
    return World(hosted([*routes, *controls()], HOSTS))


def incident_type_of(here: World, agency: str) -> IncidentType | None:
    trouble = here.trouble(agency)
    return trouble.type if trouble else None


def faulty_sources(here: World) -> set[str]:
    return {str(each) for each in here.evaluator.faulty_sources(here.now)}


@pytest.mark.falsegreen
@pytest.mark.blind
@pytest.mark.parametrize(
    ("fault", "directions"),
    [
        (WRONG_PASSWORD, {Direction.INTERNAL, Direction.OUTBOUND, Direction.INBOUND}),
        (smtp(Outcome.AUTH, Phase.AUTH, credentials=True), {Direction.INTERNAL, Direction.OUTBOUND}),
        (imap(Outcome.AUTH, Phase.AUTH, credentials=True), {Direction.INTERNAL, Direction.INBOUND}),
    ],
    ids=["everywhere", "to send", "to read"],
)
def test_only_account_of_server_refused_is_reported_to_staff(fault: Fault, directions: set[Direction]) -> None:
    """Defect: The only account at a server is blamed, for sending and reading.

    Pantau: Where it worked within a day the service is suspected; staff are notified until it is accepted again.
    """
    here = world("LKC", "JCM").rounds(3)
    assert here.evaluator.mail("LKC").unobserved_directions() == ()

    since, here.faults = here.now, {"LKC/utama": fault}
    trouble = here.rounds(3).trouble("LKC")
    assert trouble is not None
    assert (trouble.type, trouble.latest) == (IncidentType.SIGN_IN, trouble.since)
    assert since <= trouble.since < since + MINUTE
    # The health is unknown and nothing is down; metrics name the account, and no incident goes to the NOC.
    assert {*here.evaluator.mail("LKC").unobserved_directions()} == directions
    standing = here.evaluator.agency_status("LKC", here.now, has_open_incident=True)
    assert {d for d, health in standing.directions.items() if health is Health.UNKNOWN} == directions
    assert standing.up_since is None
    assert Health.DOWN not in here.evaluator.mail("LKC").directions().values()
    assert faulty_sources(here) == {"credentials/LKC/utama"}
    assert here.own() == set()
    assert here.trouble("JCM") is None

    here.faults, over = {}, here.now
    up_since = here.rounds(2).evaluator.up_since("LKC", here.now)
    assert here.trouble("LKC") is None
    assert up_since is not None
    assert over <= up_since < here.now
    assert (here.own(), here.evaluator.mail("LKC").unobserved_directions()) == (set(), ())


@pytest.mark.falsegreen
@pytest.mark.blind
def test_all_accounts_of_server_refused_are_reported_to_staff_only() -> None:
    """Defect: Five agencies on a server without password file are five incidents at the NOC.

    Pantau: They are refused together: staff of each are notified, the NOC of no account.
    """
    here = world(*SHARED, "LKC").rounds(3)
    here.faults = {f"{code}/utama": WRONG_PASSWORD for code in SHARED}
    here.rounds(3)
    assert [incident_type_of(here, code) for code in (*SHARED, "LKC")] == [*3 * [IncidentType.SIGN_IN], None]
    assert here.own() == set()
    # The metrics still show which accounts are refused.
    assert faulty_sources(here) == {f"credentials/{code}/utama" for code in SHARED}

    # One account after the other is accepted again; the NOC is never notified of one.
    here.faults.pop("JKT/utama")
    here.rounds(1)
    assert here.evaluator.source_trouble(FaultSource(FaultDomain.CREDENTIALS, "JKT/utama"), here.now) is None
    here.faults.clear()
    for _ in range(3):
        assert here.rounds(1).own() == set()
    assert [here.trouble(code) for code in SHARED] == 3 * [None]
    assert None not in [here.evaluator.up_since(code, here.now) for code in SHARED]


@pytest.mark.blind
def test_one_of_several_accounts_refused_is_reported_to_noc_only() -> None:
    """Defect: A refused account beside accepted ones is a suspected service.

    Pantau: It is our account.
    """
    here = world(*SHARED).rounds(3)
    here.faults["JCM/utama"] = WRONG_PASSWORD
    here.rounds(3)
    assert [here.trouble(code) for code in SHARED] == 3 * [None]
    assert here.own() == faulty_sources(here) == {"credentials/JCM/utama"}
    # Mail through the account is unproven, and the agency has no incident.
    assert set(here.evaluator.mail("JCM").unobserved_directions()) == {
        Direction.INTERNAL,
        Direction.OUTBOUND,
        Direction.INBOUND,
    }


@pytest.mark.blind
def test_account_never_accepted_is_reported_to_noc() -> None:
    """Defect: An account that never worked is a suspected service.

    Pantau: It is our account.
    """
    here = world("LKC")
    here.faults["LKC/utama"] = WRONG_PASSWORD
    here.rounds(4)
    assert (here.trouble("LKC"), here.own()) == (None, {"credentials/LKC/utama"})


@pytest.mark.blind
def test_account_refused_after_secret_change_is_reported_to_noc() -> None:
    """Defect: An account whose secret was changed here is a suspected service.

    Pantau: It is our account.
    """
    here = world("LKC", "JCM").rounds(3)
    changed = [r for r in here.routes if "LKC/utama" in {r.route.sender.name, r.route.recipient.name}]

    def with_secret(of: MonitoredRoute) -> MonitoredRoute:
        ends = {
            end: replace(box, login=replace(box.login, secret="lain"))
            for end in ("sender", "recipient")
            if (box := getattr(of.route, end)).name == "LKC/utama"
        }
        return replace(of, route=replace(of.route, **ends))

    altered = [with_secret(r) for r in changed]
    here.evaluator.replace_routes(altered)
    here.routes = [next((a for a in altered if a.name == r.name), r) for r in here.routes]
    here.faults["LKC/utama"] = WRONG_PASSWORD
    here.rounds(3)
    assert (here.trouble("LKC"), here.own()) == (None, {"credentials/LKC/utama"})


def test_outage_takes_precedence_over_refused_account() -> None:
    here = world("LKC").rounds(3)
    here.faults["LKC/utama"] = both(
        imap(Outcome.CONNECT, Phase.CONNECT), smtp(Outcome.AUTH, Phase.AUTH, credentials=True)
    )
    assert incident_type_of(here.rounds(4), "LKC") is IncidentType.RECEIVING
    # While nothing works, a refused account ends no outage.
    here.faults["LKC/utama"] = WRONG_PASSWORD
    assert incident_type_of(here.rounds(4), "LKC") is IncidentType.RECEIVING


@pytest.mark.blind
def test_refused_accounts_after_restart_wait_for_next_run() -> None:
    """Defect: A restart while accounts are refused ends or repeats the incident.

    Pantau: It changes nothing until the next run.
    """
    here = world(*SHARED, "LKC").rounds(3)
    came = {r.name: here.now - 5 * MINUTE for r in here.routes}
    here.faults = {f"{code}/utama": WRONG_PASSWORD for code in (*SHARED, "LKC")}
    known = here.rounds(3).evaluator.healths()

    for arrivals, told in (({}, None), (came, IncidentType.SIGN_IN)):
        again = World(here.routes, here.faults, now=here.now)
        again.evaluator.restore(known)
        again.evaluator.restore_arrivals(arrivals)
        # No new event, and no recovery.
        assert [incident_type_of(again, code) for code in (*SHARED, "LKC")] == 4 * [None]
        assert [again.evaluator.up_since(code, again.now) for code in (*SHARED, "LKC")] == 4 * [None]
        assert (again.own(), faulty_sources(again)) == (set(), faulty_sources(here))
        assert {*again.evaluator.mail("LKC").unobserved_directions()} == {
            Direction.INTERNAL,
            Direction.OUTBOUND,
            Direction.INBOUND,
        }
        again.rounds(1)
        # Where no earlier acceptance is known, the account is at fault.
        assert [incident_type_of(again, code) for code in (*SHARED, "LKC")] == 4 * [told]
        assert ("credentials/JCM/utama" in again.own()) == (told is None)


def test_stale_routes_leave_refused_account_undecided() -> None:
    here = world("LKC").rounds(3)
    here.faults["LKC/utama"] = WRONG_PASSWORD
    assert incident_type_of(here.rounds(3), "LKC") is IncidentType.SIGN_IN

    here.now += 60 * MINUTE
    here.evaluator.mark_stale([r.name for r in here.routes], here.now)
    assert (here.trouble("LKC"), here.evaluator.up_since("LKC", here.now)) == (None, None)
    assert incident_type_of(here.rounds(1), "LKC") is IncidentType.SIGN_IN


@pytest.mark.blind
@pytest.mark.parametrize("back", [timedelta(hours=3), 3 * DAY])
def test_refused_accounts_outlast_clock_set_back(back: timedelta) -> None:
    """Defect: A clock set back while accounts are refused ends the incident.

    Pantau: It changes nothing.
    """
    here = world("LKC", *SHARED).rounds(3)
    here.faults["LKC/utama"] = WRONG_PASSWORD
    assert incident_type_of(here.rounds(3), "LKC") is IncidentType.SIGN_IN
    here.now -= back
    assert incident_type_of(here.rounds(1), "LKC") is IncidentType.SIGN_IN
    assert incident_type_of(here.rounds(3), "LKC") is IncidentType.SIGN_IN
    # An account refused now is compared with current acceptances, not with future ones.
    here.faults["JCM/utama"] = WRONG_PASSWORD
    assert here.rounds(3).own() == {"credentials/JCM/utama"}
    assert here.trouble("JCM") is None
    here.faults.clear()
    here.rounds(3)
    assert (here.trouble("LKC"), here.own()) == (None, set())
    assert here.evaluator.up_since("LKC", here.now) is not None


def test_refused_account_needs_another_run_unless_it_is_at_fault() -> None:
    here = world("LKC", "JCM", "JKT").rounds(3)
    own, shared = (
        next(r for r in here.routes if r.name == f"{code}/outbound/{code}/utama/a") for code in ("LKC", "JCM")
    )
    for of in (own, shared):
        here.evaluator.record_run(refused_run(of, here.now - T0, Party.SENDER), here.now)
        assert here.evaluator.needs_another_run(of.name)
    # The other account of its server is accepted, and this one is refused again: repeating a
    # wrong password would lock it.
    beside = next(r for r in here.routes if r.name == "JKT/outbound/JKT/utama/a")
    here.evaluator.record_run(arrived(beside, here.now + SECOND), here.now + SECOND)
    assert here.evaluator.needs_another_run(own.name)
    assert here.evaluator.needs_another_run(shared.name)
    here.evaluator.record_run(refused_run(shared, here.now - T0 + 2 * SECOND, Party.SENDER), here.now + 2 * SECOND)
    assert here.evaluator.needs_another_run(own.name)
    assert not here.evaluator.needs_another_run(shared.name)


def test_slow_mail_beside_refused_account_is_sign_in() -> None:
    def slow(of: MonitoredRoute, at: datetime, party: Party) -> ProbeResult | None:
        return arrived(of, at, 2 * MINUTE) if party is Party.SENDER else None

    here = world("LKC").rounds(3)
    here.faults["LKC/utama"] = slow
    here.rounds(4)
    assert incident_type_of(here, "LKC") is IncidentType.DEGRADED
    refused_run = here.now
    here.faults["LKC/utama"] = both(imap(Outcome.AUTH, Phase.AUTH, credentials=True), slow)
    here.rounds(4)
    assert here.evaluator.mail("LKC").directions()[Direction.OUTBOUND] is Health.DEGRADED
    trouble = here.trouble("LKC")
    assert trouble is not None
    # It began with the refused sign-in, not with the first slow mail.
    assert (trouble.type, trouble.since >= refused_run) == (IncidentType.SIGN_IN, True)


def test_reference_account_refused_is_reported_to_noc_only() -> None:
    here = world("LKC", "JCM").rounds(3)
    here.faults["a"] = WRONG_PASSWORD
    here.rounds(4)
    assert [here.trouble(code) for code in ("LKC", "JCM")] == [None, None]
    assert "credentials/a" in here.own()


def test_sign_in_evidence_of_removed_account_is_forgotten() -> None:
    routes = [route("LKC", Direction.OUTBOUND, f"LKC/{key}", "a") for key in ("satu", "dua")]
    evidence = SignInEvidence()
    evidence.replace_routes(routes, ())
    for of in routes:
        evidence.record_run(of, arrived(of, T0 - MINUTE))
        evidence.record_run(of, refused_run(of, 0 * MINUTE, Party.SENDER))
    assert evidence.fault("LKC/satu", Party.SENDER, T0) is SignInFault.SERVICE
    evidence.replace_routes(routes[:1], ())
    assert evidence.fault("LKC/satu", Party.SENDER, T0) is SignInFault.SUSPECTED
    evidence.replace_routes(routes, {"LKC/satu"})
    assert evidence.fault("LKC/satu", Party.SENDER, T0) is SignInFault.UNDECIDED
