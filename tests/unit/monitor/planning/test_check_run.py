"""Assignment of checks, and changes of their findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from monitor.config.agency.checks import OFF, ON, CheckSettings
from monitor.model.window import Hours, OneTimeWindow, WindowOccurrence
from monitor.planning.check_run import (
    VerdictChange,
    assignments,
    changes,
    printable,
    problem_findings,
    unknown_findings,
    worst_verdict,
)
from probes.model.check import Check, CheckKind, CheckScope, Finding, NameServers, Verdict
from tests.unit.monitor.world import T0, mailbox

HOUR = timedelta(hours=1)
PASS, WARN, FAIL, UNKNOWN = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.UNKNOWN
JCM, MDC, OURS = (CheckScope(agency=code, mailboxes=(mailbox(code or "a"),), domains=()) for code in ("JCM", "MDC", ""))


def _build(check_scope: CheckScope, now: Callable[[], datetime]) -> Check:
    raise NotImplementedError


def kind(name: str, *, opt_in: bool = False) -> CheckKind:
    return CheckKind(name=name, aspects=("lock", "hinge"), interval=HOUR, within=HOUR / 60, build=_build, opt_in=opt_in)


KINDS = {each.name: each for each in (kind("door"), kind("roof"), kind("burglar", opt_in=True))}


def found(verdict: Verdict, aspect: str = "lock", subject: str = "front") -> Finding:
    return Finding(aspect=aspect, subject=subject, verdict=verdict)


def test_assignments_every_scope_has_every_default_kind() -> None:
    assigned = assignments(KINDS, [JCM, MDC, OURS], {}, {}, {})

    assert [each.key for each in assigned] == [
        *[("JCM", "door"), ("MDC", "door"), ("", "door")],
        *[("JCM", "roof"), ("MDC", "roof"), ("", "roof")],
    ]
    assert all(each.interval == HOUR for each in assigned)


def test_assignments_opt_in_kind_excludes_own_mailboxes() -> None:

    everywhere = assignments(KINDS, [JCM, MDC, OURS], {"burglar": ON}, {"MDC": {"burglar": OFF}}, {})
    nowhere_else = assignments(KINDS, [JCM, MDC, OURS], {}, {"MDC": {"burglar": ON}}, {})

    assert [each.key for each in everywhere if each.kind.opt_in] == [("JCM", "burglar")]
    assert [each.key for each in nowhere_else if each.kind.opt_in] == [("MDC", "burglar")]


def test_assignments_agency_interval_overrides_global() -> None:
    slowly, slower = (CheckSettings(interval=n * HOUR) for n in (2, 6))

    assigned = assignments(KINDS, [JCM, MDC], {"roof": slowly}, {"MDC": {"roof": slower}}, {})

    assert [each.interval for each in assigned if each.kind.name == "roof"] == [2 * HOUR, 6 * HOUR]


def test_assignments_agency_has_its_hours() -> None:
    hours = Hours(maintenance=(OneTimeWindow(WindowOccurrence(T0, T0 + HOUR)),))

    assigned = assignments(KINDS, [JCM, MDC, OURS], {}, {}, {"MDC": hours})

    assert {each.key for each in assigned if each.hours is hours} == {("MDC", "door"), ("MDC", "roof")}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ([], [found(PASS)], []),
        ([], [found(FAIL)], [VerdictChange(finding=found(FAIL), before=None)]),
        ([found(FAIL)], [found(FAIL)], []),
        ([found(FAIL)], [found(PASS)], [VerdictChange(finding=found(PASS), before=FAIL)]),
        ([found(PASS)], [found(UNKNOWN)], [VerdictChange(finding=found(UNKNOWN), before=PASS)]),
        (
            [found(FAIL)],
            [found(FAIL, subject="back")],
            [VerdictChange(finding=found(FAIL, subject="back"), before=None)],
        ),
        ([found(FAIL)], [found(FAIL), found(PASS, "hinge")], []),
        ([found(FAIL)], [], []),
    ],
)
def test_changes_returns_new_verdicts_only(
    before: list[Finding], after: list[Finding], told: list[VerdictChange]
) -> None:
    assert list(changes(before, after)) == told


def test_unknown_findings_replace_known_findings() -> None:
    known = [replace(found(PASS), expires_at=T0, detail="until spring"), found(FAIL, "hinge")]

    assert unknown_findings(KINDS["door"], known, "nobody at home") == (
        Finding(aspect="lock", subject="front", verdict=UNKNOWN, detail="nobody at home"),
        Finding(aspect="hinge", subject="front", verdict=UNKNOWN, detail="nobody at home"),
    )
    assert [each.aspect for each in unknown_findings(KINDS["door"], [], "nobody at home")] == ["lock", "hinge"]


def test_printable_replaces_control_characters_and_truncates() -> None:
    odd = Finding(aspect="lock", subject="a\ud800b", verdict=WARN, detail="550 \x1b[31mno\r\nnever \x00 敬具")

    [shown] = printable([odd])

    assert (shown.subject, shown.detail) == ("a?b", "550 ?[31mno??never ? 敬具")
    assert printable([found(PASS)]) == (found(PASS),)
    [long] = printable([replace(odd, detail="a" * 60_000)])
    assert len(long.detail) == 400


@pytest.mark.parametrize(
    ("verdicts", "gravest"),
    [
        ([], PASS),
        ([PASS, PASS], PASS),
        ([PASS, UNKNOWN], UNKNOWN),
        ([WARN, UNKNOWN, PASS], WARN),
        ([WARN, FAIL, UNKNOWN], FAIL),
    ],
)
def test_worst_verdict_returns_gravest(verdicts: list[Verdict], gravest: Verdict) -> None:
    assert worst_verdict(found(verdict) for verdict in verdicts) is gravest


def test_problem_findings_gravest_first() -> None:
    findings = [found(UNKNOWN), found(WARN, subject="b"), found(PASS), found(FAIL), found(WARN, subject="a")]

    assert [(each.verdict, each.subject) for each in problem_findings(findings)] == [
        (FAIL, "front"),
        (WARN, "b"),
        (WARN, "a"),
        (UNKNOWN, "front"),
    ]


@pytest.mark.parametrize(
    ("now", "still"),
    [
        (replace(JCM, sample_message=lambda: b"a newer message"), True),
        (replace(JCM, domains=("jabatan-contoh.gov.my",)), False),
        (replace(JCM, name_servers=NameServers(addresses=("192.0.2.53",))), False),
        (replace(JCM, mailboxes=(replace(JCM.mailboxes[0], address="lain@contoh.gov.my"),)), False),
    ],
)
def test_check_scope_equality_ignores_sample_message_only(now: CheckScope, *, still: bool) -> None:
    [assignment] = assignments({"door": KINDS["door"]}, [now], {}, {}, {})

    assert (assignment.check_scope == JCM) is still
