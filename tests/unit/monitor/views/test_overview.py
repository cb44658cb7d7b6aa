"""Views of incidents, notifications, routes and checks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.decide.announcement import Announce, announce
from alerts.decide.escalation import StartStep, escalate
from alerts.model.delivery import AttemptState, Notification
from alerts.model.event import Release, Resolve
from alerts.model.gateway import ErrorClass
from alerts.model.incident import Incident, apply
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import AnnouncementPlan
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.planning.check_run import CheckRun
from monitor.views.overview import view_checks, view_incident, view_notification, view_route
from probes.model.check import CheckScope, Finding, Verdict
from probes.model.result import Outcome, Phase
from tests.unit.alerts.people import SNAPSHOT, T0, attempt, incident, tried, written
from tests.unit.monitor.world import agency_routes, arrived, failed

RELEASE = Release(incident_id=1, at=T0, by="Siti Contoh")
NOBODY = replace(SNAPSHOT, announcement=AnnouncementPlan())
INTERNAL = agency_routes("JCM")[0]


def to_staff() -> Notification:
    step = escalate(incident(), [], T0)
    assert isinstance(step, StartStep)
    return written(step.drafts[0])


def to_the_ministry() -> Notification:
    decision = announce(apply(incident(), RELEASE), (), T0)
    assert isinstance(decision, Announce)
    return written(decision.drafts[0])


@pytest.mark.parametrize(
    ("of", "shown"),
    [
        (incident(), "waiting"),
        (incident(IncidentType.SENDING), "waiting"),
        (incident(IncidentType.DEGRADED), "none"),
        (incident(IncidentType.MONITORING_FAULT), "none"),
        (incident(snapshot=NOBODY), "none"),
        (apply(incident(), RELEASE), "released"),
        (apply(incident(), Resolve(dedup_key="JCM", at=T0, ended_at=T0)), "none"),
        (apply(apply(incident(), RELEASE), Resolve(dedup_key="JCM", at=T0, ended_at=T0)), "released"),
    ],
)
def test_view_incident_announcement_waits_only_where_possible(of: Incident, shown: str) -> None:
    assert view_incident(of).announcement == shown


def test_view_incident_monitoring_fault_has_its_subject() -> None:
    ours = replace(SNAPSHOT, agency="", subject="peti rujukan a")

    assert view_incident(incident(IncidentType.MONITORING_FAULT, ours)).subject == "peti rujukan a"
    assert view_incident(incident()).subject == "Jabatan Contoh Malaysia"


def test_view_notification_shows_name_or_title() -> None:
    assert view_notification(to_staff(), incident()).person == "Siti Contoh"
    assert view_notification(to_the_ministry(), incident()).person == "Ketua Setiausaha, Kementerian Contoh"
    assert view_notification(replace(to_staff(), person="gone"), incident()).person == "gone"


def test_view_notification_shows_no_number() -> None:
    for notice in (to_staff(), to_the_ministry()):
        shown = repr(view_notification(tried(notice, attempt(AttemptState.SENT)), incident()))
        assert not any(address.number in shown for address in notice.addresses if address.number.startswith("+"))


def test_view_notification_shows_reason_of_failure_only() -> None:
    lost = replace(attempt(AttemptState.FAILED, error=ErrorClass.PERMANENT), detail="no such number", code="30003")
    shown = view_notification(tried(to_staff(), attempt(AttemptState.NOT_FOUND, 1), lost), incident())
    assert (shown.reason, shown.attempts) == ("no such number (30003)", 2)

    fine = replace(attempt(AttemptState.SENT), detail="queued")
    assert view_notification(tried(to_staff(), fine), incident()).reason == ""
    assert view_notification(to_staff(), incident()).attempts == 0


def test_view_route_shows_last_run() -> None:
    shown = view_route("r", Direction.INTERNAL, Health.UP, arrived(INTERNAL, T0, timedelta(seconds=1.23456)))

    assert (shown.outcome, shown.transit_seconds, shown.reason) == (Outcome.DELIVERED, 1.235, "")
    assert shown.last_run_at == T0 + timedelta(seconds=2.23456)


def test_view_route_failed_shows_place_and_reason() -> None:
    run = failed(INTERNAL, T0, Outcome.REJECTED, Phase.SUBMIT)
    assert run.failure is not None
    run = replace(run, failure=replace(run.failure, code=554, detail="spam"))

    assert view_route("r", Direction.INTERNAL, Health.DOWN, run).reason == "submit (recipient) 554: contoh: spam"


def test_view_route_unacknowledged_message_is_shown_with_duration() -> None:
    came = arrived(INTERNAL, T0)
    shown = view_route("r", Direction.INTERNAL, Health.DEGRADED, replace(came, uncertain=True))
    assert (shown.outcome, shown.reason, shown.data_seconds) == (
        Outcome.DELIVERED,
        "data (sender): accepted without an answer",
        1.0,
    )


def test_view_route_without_run_is_empty() -> None:
    shown = view_route("r", Direction.INTERNAL, Health.UNKNOWN, None)

    assert (shown.last_run_at, shown.outcome, shown.reason) == (None, None, "")


def test_view_checks_shows_gravest_verdict_and_problems() -> None:
    nowhere = CheckScope(agency="JCM", mailboxes=(), domains=())
    good = Finding(aspect="spf", subject="contoh.gov.my", verdict=Verdict.PASS)
    bad = Finding(aspect="dmarc", subject="contoh.gov.my", verdict=Verdict.FAIL, detail="there is none")

    shown = view_checks(
        {
            "domain": CheckRun(findings=(good, bad), at=T0, check_scope=nowhere),
            "certificate": None,
            "mx": CheckRun(findings=(), at=T0, check_scope=nowhere),
        }
    )

    assert [(check.kind, check.verdict, check.passed, tuple(check.findings)) for check in shown] == [
        ("domain", Verdict.FAIL, 1, (bad,)),
        ("certificate", None, 0, ()),
    ], "a check without findings has no passed ones"
