"""`pantau declare` and `pantau close` with a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from alerts.decide.silence import active_silence
from alerts.model.notification import IncidentType
from monitor.service.declarations import DeclarationService
from monitor.service.operation_check import OperationCheck
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.web.command.control import declaration_commands
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.unit.alerts.people import MINUTE, SNAPSHOT, T0, trigger
from tests.unit.alerts.probe_runs import FakeProbeRuns
from tests.unit.monitor.cli.office import IssuingOffice
from tests.unit.monitor.web.fake_service import Service

DECLARE = ("declare", "JCM", "receiving", "--reason", "mel web tidak dapat dibuka", "--by", "Aminah Contoh")
CLOSE = ("close", "JCM-01", "--reason", "mel web dibaiki", "--by", "Ravi Contoh")


@pytest.fixture
async def station(office: IssuingOffice, tmp_path: Path) -> AsyncIterator[DispatcherEnv]:
    async with Database.open(tmp_path / "store") as database:
        station = DispatcherEnv(database)
        declarer = DeclarationService(
            store=SqlStore(database),
            dispatcher=station.dispatcher,
            clock=station.clock,
            agencies=lambda: ["JCM", "JKR"],
            policy=lambda code: replace(SNAPSHOT, agency=code),
            zone=lambda: ZoneInfo("Asia/Kuala_Lumpur"),
            silence_lookup=active_silence,
            operation_check=OperationCheck(
                store=SqlStore(database), clock=station.clock, measure_mail=FakeProbeRuns().measure
            ),
        )
        # In a test the service and the command log to the same stream.
        with capture_logs():
            async with office.open(Service(), declaration_commands(declarer)):
                yield station


async def test_declare_and_close_open_and_end_incident(office: IssuingOffice, station: DispatcherEnv) -> None:
    code, output = await office.ask(*DECLARE[:1], "jcm", *DECLARE[2:], "--since", "13.40")
    assert (code, output.splitlines()) == (
        0,
        [
            "JCM-01 (receiving) is declared by Aminah Contoh, since 24/11 13:40:00.",
            "Staff are notified now; `pantau ack JCM-01` acknowledges it.",
            "Other offices are notified after the release: `pantau release JCM-01`, or automatically if configured.",
            'When mail works again: pantau close JCM-01 --reason "..."',
        ],
    )
    incident = await station.incident()
    assert incident.declared is not None
    assert (incident.declared.by, incident.declared.reason) == ("Aminah Contoh", "mel web tidak dapat dibuka")

    assert await office.ask(*CLOSE) == (0, "JCM-01 is over; everybody who was notified of it is notified of this.\n")
    station.clock.moment += MINUTE
    assert await office.ask(*CLOSE) == (1, "Ravi Contoh closed JCM-01 at 24/11 14:15: mel web dibaiki\n")


async def test_close_declared_incident_also_detected_stays_open(office: IssuingOffice, station: DispatcherEnv) -> None:
    await office.ask(*DECLARE)
    await station.submit(trigger(IncidentType.SENDING, T0 + MINUTE))
    assert await office.ask(*CLOSE) == (
        0,
        "JCM-01 STAYS OPEN: probes detect an outage, too (sending). It ends when they succeed.\n",
    )
    station.clock.moment += MINUTE
    code, output = await office.ask(*CLOSE)
    begins = "Ravi Contoh closed JCM-01 at 24/11 14:15; it continues because the probes detect it (sending). If you know better"
    assert (code, output.startswith(begins)) == (1, True), output
    code, output = await office.ask(*CLOSE, "--recovered", "--despite", "still-fails")
    assert (code, output.splitlines()[0]) == (
        0,
        "JCM-01 is over; everybody who was notified of it is notified of this.",
    )


async def test_close_detected_incident_needs_recovered_option(office: IssuingOffice, station: DispatcherEnv) -> None:
    await station.submit(trigger(IncidentType.BOTH))
    await station.release()
    code, output = await office.ask(*CLOSE, "--not-recovered")
    assert (code, output.splitlines()) == (
        0,
        [
            "JCM-01 is closed: the staff who were notified of it are notified, and no recovery is announced.",
            "Other offices that were notified get no further message: write to them.",
            (
                "Probes still detect it (both). It opens again when it becomes worse, when it has recovered and fails again, "
                "and at 25/11 14:15:00 at the latest."
            ),
        ],
    )
    closing = (await station.incident()).closed
    assert closing is not None
    assert (closing.by, closing.reason, closing.recovered) == ("Ravi Contoh", "mel web dibaiki", False)
    station.clock.moment += MINUTE
    for words in (CLOSE, (*CLOSE, "--recovered")):
        assert await office.ask(*words) == (1, "Ravi Contoh closed JCM-01 at 24/11 14:15: mel web dibaiki\n")


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (("--recovered", "--despite", "still-fails"), "JCM-01 is over; "),
        (("--not-recovered",), "JCM-01 is closed: "),
    ],
)
async def test_close_incident_opened_in_monitor_only_notifies_nobody(
    office: IssuingOffice, station: DispatcherEnv, words: Sequence[str], output: str
) -> None:
    station.is_monitor_only = True
    await station.submit(trigger(IncidentType.BOTH, snapshot=SNAPSHOT.without_people()))
    code, lines = await office.ask(*CLOSE, *words)
    assert (code, lines.splitlines()[0]) == (0, f"{output}nobody was notified of it.")


async def test_declare_under_silence_reports_that_nobody_is_notified(
    office: IssuingOffice, station: DispatcherEnv
) -> None:
    async with station.store.transaction() as uow:
        await uow.add_silence("JCM", T0, T0 + timedelta(hours=2), "kerja rangkaian", "Ravi Contoh")
    _, output = await office.ask(*DECLARE)
    assert "NOBODY IS NOTIFIED until 24/11/2026 16:15; `pantau silence remove 1`" in output
    assert "The staff are told" not in output


async def test_declare_and_close_name_detected_incident(office: IssuingOffice, station: DispatcherEnv) -> None:
    await station.submit(trigger(IncidentType.BOTH))
    code, output = await office.ask(*DECLARE)
    assert (
        code,
        output.startswith("JCM-01 (both) is already open: the probes have detected it since 24/11 14:14"),
    ) == (
        1,
        True,
    )
    assert "pantau note JCM-01" in output
    code, output = await office.ask(*CLOSE)
    assert (code, output.startswith("JCM-01 (both) was detected, and ends when it is no longer detected.")) == (1, True)
    assert "--recovered" in output
    assert "--not-recovered" in output


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("declare", "JCN", "both", "--reason", "x"), 1, "there is no agency 'JCN'; did you mean JCM?"),
        (("declare", "ZZZZ", "both", "--reason", "x"), 1, "there is no agency 'ZZZZ'; the status page lists them"),
        (("declare", "JCM", "recieving", "--reason", "x"), 2, "'receiving', 'both'"),
        (("declare", "JCM", "degraded", "--reason", "x"), 2, "is not one of"),
        (("declare", "JCM", "--reason", "x"), 2, "Missing argument"),
        (("declare", "JCM", "both"), 2, "Missing option '--reason'"),
        (("declare", "JCM", "both", "--reason", "  "), 2, "reason: "),
        (("declare", "JCM", "both", "--reason", "x", "--since", "2026-11-24 18:00"), 1, "is in the future"),
        (("declare", "JCM", "both", "--reason", "x", "--since", "2026-11-17 14:14"), 1, "more than 7 days ago"),
        (("declare", "JCM", "both", "--reason", "x", "--since", "2062-11-17 14:14"), 1, "is too far from now"),
        (
            ("declare", "JCM", "both", "--reason", "x", "--since", "semalam"),
            1,
            "--since: 'semalam' is no date with a time",
        ),
        (("close", "JCM-09", "--reason", "x"), 1, "there is no incident JCM-09"),
        (("close", "JCM-09", "--reason", "x", "--not-recovered"), 1, "there is no incident JCM-09"),
        (("close", "JCM", "--reason", "x", "--recovered"), 1, "there is no incident JCM"),
        (("close", "JCM-09", "--recovered"), 2, "Missing option '--reason'"),
        (("close", "JCM-09", "--reason", " ", "--recovered"), 2, "reason: "),
        (("close", "--reason", "x"), 2, "Missing argument"),
    ],
    ids=lambda each: " ".join(each[1:3]) + each[-1] if isinstance(each, tuple) else "",
)
async def test_declare_and_close_invalid_arguments_are_refused(
    office: IssuingOffice, station: DispatcherEnv, words: tuple[str, ...], code: int, message: str
) -> None:
    answer = await office.ask(*words)
    assert (answer[0], message in " ".join(answer[1].split())) == (code, True), answer[1]
    assert await station.active() == []


@pytest.mark.parametrize(
    ("since", "began"),
    [("14:15", "24/11 14:15:00"), ("14:16", "23/11 14:16:00"), ("2026-11-24T06:00:00Z", "24/11 14:00:00")],
)
async def test_declare_since_clock_time_means_latest_past_one(
    office: IssuingOffice, station: DispatcherEnv, since: str, began: str
) -> None:
    _, output = await office.ask(*DECLARE, "--since", since)
    assert f"since {began}." in output
