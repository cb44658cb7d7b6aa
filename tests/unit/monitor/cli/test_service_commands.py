"""Commands that call the running service."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from alerts.model.contradiction import Contradiction
from alerts.model.delivery import NotificationState
from alerts.model.event import Acknowledge, Expire, Resolve
from alerts.model.incident import Declaration, Incident, Position, apply
from alerts.model.notification import IncidentType
from alerts.persistence.store import StoreUnavailable
from monitor.cli.option import login_name
from monitor.cli.service import belongs_to_another, call_service
from monitor.config.files.problem import Problem, Severity
from monitor.views.overview import IncidentView, NotificationView
from monitor.web.command.control import declaration_commands
from monitor.web.letters import letter_commands
from tests.unit.alerts.people import FAX, SMS_SITI, T0, incident
from tests.unit.monitor.cli.office import IssuingOffice
from tests.unit.monitor.web.fake_service import LETTERS, Service

COMMANDS = [
    ("incidents",),
    ("notifications",),
    ("ack", "JCM-01"),
    ("ack", "JCM-01", "--take-over", "Ravi Contoh"),
    ("note", "JCM-01", "cakera diganti"),
    ("escalate", "JCM-01"),
    ("release", "JCM-01"),
    ("false-alarm", "JCM-01", "--reason", "silap"),
    ("declare", "JCM", "both", "--reason", "DNS hilang"),
    ("close", "JCM-01", "--reason", "DNS dibaiki"),
    ("letters", "list"),
    ("letters", "posted", "7"),
    ("letters", "not-posted", "7"),
    ("set-status", "7", "--delivered", "--reason", "faks diterima"),
    ("reload",),
]
COMMAND = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


@COMMAND
def test_command_without_service_prints_how_to_start_it(office: IssuingOffice, words: tuple[str, ...]) -> None:
    code, output = office.run(*words)

    assert code == 1
    assert "the service is not running" in output
    assert f"pantau run --config {office.config}" in output


@COMMAND
def test_command_socket_without_listener_is_no_service(office: IssuingOffice, words: tuple[str, ...]) -> None:
    office.socket.write_text("")

    code, output = office.run(*words)

    assert code == 1
    assert "the service is not running" in output


@COMMAND
def test_command_with_configuration_errors_still_calls_service(office: IssuingOffice, words: tuple[str, ...]) -> None:
    office.config.write_text(office.config.read_text() + "\nsitte: putrajaya\n")

    code, output = office.run(*words)

    assert code == 1, "the service was asked; it only is not running here"
    assert f"nothing answers at {office.socket}" in output


@COMMAND
def test_command_unreadable_settings_file_returns_2_with_reason(office: IssuingOffice, words: tuple[str, ...]) -> None:
    office.config.write_text("state_dir: [\n")

    code, output = office.run(*words)

    assert code == 2
    assert str(office.config) in output


@COMMAND
async def test_command_service_error_points_to_log(office: IssuingOffice, words: tuple[str, ...]) -> None:
    class Broken(Service):
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError("kata-laluan-contoh")

    broken: Any = Broken()
    async with office.open(broken, letter_commands(broken), declaration_commands(broken)):
        code, output = await office.ask(*words)

    assert code == 1
    assert "see its log" in output
    assert "kata-laluan" not in output


@pytest.mark.parametrize("words", [("incidents",), ("ack", "JCM-01")], ids=" ".join)
async def test_command_database_unavailable_is_reported(office: IssuingOffice, words: tuple[str, ...]) -> None:
    class Unavailable(Service):
        async def incidents(self) -> Sequence[IncidentView]:
            raise StoreUnavailable("database or disk is full")

        async def acknowledge(self, number: str, by: str) -> Incident:
            raise StoreUnavailable("database or disk is full")

    async with office.open(Unavailable()):
        code, output = await office.ask(*words)

    assert (code, output) == (
        1,
        (
            "the database is unavailable (database or disk is full): nothing can be read or written now; "
            "/metrics has the state of mail\n"
        ),
    )


async def test_call_service_timeout_warns_that_request_may_still_run(
    office: IssuingOffice, capsys: pytest.CaptureFixture[str]
) -> None:
    class Slow(Service):
        async def incidents(self) -> Sequence[IncidentView]:
            await asyncio.Event().wait()
            return []

    async with office.open(Slow()):
        with pytest.raises(typer.Exit):
            await asyncio.to_thread(call_service, office.config, None, "GET", "/incidents", timeout=0.1)

    assert (
        "did not answer within 0 s and may still carry this out: check before you repeat it" in capsys.readouterr().err
    )


async def test_incidents_are_listed(office: IssuingOffice) -> None:
    async with office.open(Service()):
        code, output = await office.ask("incidents")

    assert code == 0
    assert all(word in output for word in ("JCM-01", "Jabatan Contoh Malaysia", "both", "triggered", "waiting"))


async def test_notifications_are_listed_without_numbers(office: IssuingOffice) -> None:
    async with office.open(Service()):
        code, output = await office.ask("notifications")

    assert code == 0
    assert "Kementerian Contoh" in output
    assert FAX.number not in output
    assert SMS_SITI.number not in output


async def test_notifications_failed_one_is_listed_with_reason(office: IssuingOffice) -> None:
    class Failing(Service):
        async def latest_notifications(self) -> Sequence[NotificationView]:
            why = "the handset is switched off (30003)"
            return [
                replace(each, state=NotificationState.FAILED, reason=why)
                for each in await super().latest_notifications()
            ]

    async with office.open(Failing()):
        _, output = await office.ask("notifications")

    assert "failed" in output
    assert output.rstrip().endswith("the handset is switched off (30003)")


@pytest.mark.parametrize("number", ["JCM-01", "jcm-01", " JCM-01 "])
async def test_ack_assigns_incident(office: IssuingOffice, number: str) -> None:
    async with office.open(Service()):
        code, output = await office.ask("ack", number, "--by", "Siti Contoh")

    assert (code, output) == (0, "JCM-01 (both) is acknowledged by Siti Contoh until 01/12 14:15:00.\n")


async def test_ack_take_over_requires_current_assignee(office: IssuingOffice) -> None:
    async with office.open(Service()):
        await office.ask("ack", "JCM-01", "--by", "Siti Contoh (siti)")
        asked = await office.ask("ack", "JCM-01", "--by", "Ravi Contoh")
        wrong = await office.ask("ack", "JCM-01", "--by", "Ravi Contoh", "--take-over", "Mei Contoh")
        right = await office.ask("ack", "JCM-01", "--by", "Ravi Contoh", "--take-over", "Siti Contoh (siti)")
        late = await office.ask("ack", "JCM-01", "--by", "Mei Contoh", "--take-over", "Siti Contoh (siti)")

    until = "until 01/12 14:15:00."
    stands = f"JCM-01 (both) is acknowledged by Siti Contoh (siti) {until}\n"
    how = "To take it over: pantau ack JCM-01 --take-over 'Siti Contoh (siti)'\n"
    assert asked == (0, stands + how)
    assert wrong == (1, f"Nothing has changed: {stands}{how}")
    assert right == (0, f"JCM-01 (both) is acknowledged by Ravi Contoh {until}\n")
    assert late[0] == 1
    assert f"Nothing has changed: JCM-01 (both) is acknowledged by Ravi Contoh {until}" in late[1]


async def test_note_is_added_and_extends_acknowledgement(office: IssuingOffice) -> None:
    service = Service()
    async with office.open(service):
        assert await office.ask("note", "JCM-01", "cakera diganti") == (0, "JCM-01: note added.\n")
        await office.ask("ack", "JCM-01", "--by", "Siti Contoh")
        code, output = await office.ask("note", "jcm-01", "cakera diganti", "--by", "Ravi Contoh")
        _, listed = await office.ask("incidents")

    assert (code, output) == (0, "JCM-01: note added. Acknowledged by Siti Contoh until 01/12 14:15:00.\n")
    assert "Siti Contoh until 01/12 14:15:00" in listed


async def test_escalate_notifies_next_step(office: IssuingOffice) -> None:
    async with office.open(Service()):
        code, output = await office.ask("escalate", "JCM-01", "--by", "Siti Contoh")
        _, listed = await office.ask("incidents")
    assert (code, output) == (0, "JCM-01 is escalated by Siti Contoh; the next people are notified.\n")
    assert "escalated: Siti Contoh" in listed
    # Without a further step it waits for the next repeat.
    alone = replace(incident(), position=Position(round=9, step=0, since=T0))
    async with office.open(Service(incident=alone)):
        code, output = await office.ask("escalate", "JCM-01", "--by", "Siti Contoh")
    assert (code, output) == (
        0,
        (
            "JCM-01 is escalated by Siti Contoh; the policy has no further step: staff are notified again at 01/12 14:15:00, "
            "and the operations centre now.\n"
        ),
    )
    resolved = apply(incident(), Resolve(dedup_key="JCM", at=T0, ended_at=T0))
    async with office.open(Service(incident=resolved)):
        assert await office.ask("escalate", "JCM-01") == (0, "JCM-01 is resolved: nothing to escalate.\n")


@pytest.mark.parametrize(
    "words", [("escalate", "JCM-01"), ("false-alarm", "JCM-01", "--reason", "silap")], ids=" ".join
)
async def test_command_on_incident_opened_in_monitor_only_reports_nobody_notified(
    office: IssuingOffice, words: tuple[str, ...]
) -> None:
    watched = incident()
    async with office.open(Service(incident=replace(watched, policy=watched.policy.without_people()))):
        code, output = await office.ask(*words)
    assert (code, output.splitlines()[0].endswith("; nobody was notified of it.")) == (0, True), output


async def test_incidents_list_expired_acknowledgement(office: IssuingOffice) -> None:
    expired = apply(
        apply(incident(), Acknowledge(incident_id=1, at=T0, by="Siti Contoh")), Expire(incident_id=1, at=T0)
    )
    async with office.open(Service(incident=expired)):
        assert "expired: Siti Contoh" in (await office.ask("incidents"))[1]


async def test_ack_without_by_uses_login_name(office: IssuingOffice) -> None:
    service = Service()
    async with office.open(service):
        await office.ask("ack", "JCM-01")

    assert service.incident.acknowledged_by == login_name()


async def test_ack_resolved_incident_is_refused(office: IssuingOffice) -> None:
    resolved = apply(incident(), Resolve(dedup_key="JCM", at=T0, ended_at=T0))
    async with office.open(Service(incident=resolved)):
        assert await office.ask("ack", "JCM-01") == (0, "JCM-01 is resolved: nothing to acknowledge.\n")


async def test_incidents_list_marks_declared_incident(office: IssuingOffice) -> None:
    output = Declaration(type=IncidentType.RECEIVING, at=T0, by="Aminah Contoh", reason="mel web")
    async with office.open(Service(incident=replace(incident(IncidentType.RECEIVING), declared=output))):
        assert "receiving, declared" in (await office.ask("incidents"))[1]


async def test_false_alarm_is_marked_once(office: IssuingOffice) -> None:
    service = Service()
    async with office.open(service):
        code, output = await office.ask("false-alarm", "jcm-01", "--by", "Siti Contoh", "--reason", "rujukan silap")
        again = await office.ask("false-alarm", "JCM-01", "--by", "Siti Contoh", "--reason", "rujukan silap")
        listed = await office.ask("incidents")

    done, note = output.splitlines()
    assert (code, done) == (0, "JCM-01 is marked as a false alarm by Siti Contoh; corrections are sent.")
    assert note.startswith("Probes still detect it (both). It opens again when it becomes worse")
    assert service.incident.false_alarm_reason == "rujukan silap"
    assert again == (1, "JCM-01 was declared a false alarm by Siti Contoh before\n")
    assert "false alarm" in listed[1]


@pytest.mark.parametrize(
    ("status", "output"),
    [("delivered", "recorded as delivered"), ("lost", "not sent again"), ("resend", "is sent once more")],
)
async def test_set_status_records_status_and_reports_refusal(office: IssuingOffice, status: str, output: str) -> None:
    service = Service()
    async with office.open(service):
        code, answer = await office.ask(
            "set-status", "7", f"--{status}", "--by", "Siti Contoh", "--reason", "saya bertanya"
        )
        service.rejection = "notice 7 is delivered: a person settles only what is unknown"
        refused = await office.ask("set-status", "7", f"--{status}", "--by", "Siti Contoh", "--reason", "saya bertanya")

    assert (code, output in answer) == (0, True)
    assert service.commands[0] == ("7", f"{status} by Siti Contoh: saya bertanya")
    assert refused == (1, "notice 7 is delivered: a person settles only what is unknown\n")


@pytest.mark.parametrize("statuses", [(), ("--delivered", "--lost")])
async def test_set_status_needs_exactly_one_status(office: IssuingOffice, statuses: tuple[str, ...]) -> None:
    service = Service()
    async with office.open(service):
        code, output = await office.ask("set-status", "7", *statuses, "--reason", "saya bertanya")

    assert (code, service.commands) == (2, [])
    assert "one of --delivered" in output


async def test_release_by_duty_officer_releases_announcement(office: IssuingOffice) -> None:
    async with office.open(Service()):
        code, output = await office.ask("release", "JCM-01", "--by", "Siti Contoh")

    assert (code, output) == (0, "JCM-01: announcement released by Siti Contoh.\n")


async def test_release_accepts_several_numbers(office: IssuingOffice) -> None:
    async with office.open(Service()):
        code, output = await office.ask("release", "JCM-01", "jcm-01", "--by", "Siti Contoh")

    assert (code, output) == (0, "JCM-01: announcement released by Siti Contoh.\n" * 2)


async def test_release_all_lists_first_and_releases_when_count_is_confirmed(office: IssuingOffice) -> None:
    service = Service()
    async with office.open(service):
        shown = await office.ask("release", "--all", "--by", "Siti Contoh")
        other = await office.ask("release", "--all", "--confirm", "2", "--by", "Siti Contoh")
        assert service.incident.released_at is None
        done = await office.ask("release", "--all", "--confirm", "1", "--by", "Siti Contoh")
        again = await office.ask("release", "--all", "--by", "Siti Contoh")

    assert shown == other
    assert (shown[0], "JCM-01 both" in shown[1], "repeat with --confirm 1" in shown[1]) == (0, True, True)
    assert done == (0, "JCM-01: announcement released by Siti Contoh.\n")
    assert again == (1, "No announcement waits for release.\n")


async def test_release_contradicting_probes_is_refused_without_despite(
    office: IssuingOffice,
) -> None:
    service = Service(contradiction=Contradiction.WORKS_AGAIN)
    async with office.open(service):
        refused = await office.ask("release", "JCM-01", "JCM-99", "--by", "Siti Contoh")
        assert service.incident.released_at is None
        done = await office.ask("release", "JCM-01", "--despite", "works-again", "--by", "Siti Contoh")
        wrong = await office.ask("release", "--all", "--despite", "works-again")
    assert refused[0] == 1
    assert refused[1].splitlines()[0] == "JCM-01 contradicts what is measured", "and the next is tried all the same"
    assert "JCM-99" in refused[1]
    assert done == (0, "JCM-01: announcement released by Siti Contoh.\n")
    assert (wrong[0], "--despite needs the numbers" in wrong[1]) == (2, True)


@pytest.mark.parametrize("words", [(), ("JCM-01", "--all")], ids=["nothing", "both"])
async def test_release_with_no_number_or_all_and_numbers_is_refused(
    office: IssuingOffice, words: tuple[str, ...]
) -> None:
    service = Service()
    async with office.open(service):
        code, output = await office.ask("release", *words)

    assert (code, service.incident.released_at) == (2, None)
    assert "or give --all" in output


async def test_release_of_degraded_incident_is_refused(office: IssuingOffice) -> None:
    async with office.open(Service(incident=incident(IncidentType.DEGRADED))):
        code, output = await office.ask("release", "JCM-01")

    assert (code, output) == (1, "JCM-01 has no announcement: it is degraded, triggered\n")


@pytest.mark.parametrize("command", ["ack", "release"])
@pytest.mark.parametrize("number", ["JCM-99", "?", "#", "..", "100%"])
async def test_command_unknown_incident_is_reported(office: IssuingOffice, command: str, number: str) -> None:
    async with office.open(Service()):
        code, output = await office.ask(command, number)

    assert code == 1
    assert "there is no incident" in output or "there is nothing at" in output


async def test_ack_name_too_long_is_refused(office: IssuingOffice) -> None:
    async with office.open(Service()):
        code, output = await office.ask("ack", "JCM-01", "--by", "x" * 101)

    assert code == 2
    assert "by: String should have at most 100 characters" in output


async def test_letters_posted_is_recorded_once(office: IssuingOffice) -> None:
    service = Service()
    async with office.open(service, letter_commands(service)):
        for action in ("printed", "posted"):
            output = f"The letter of notification 7 is recorded as {action}.\n"
            assert await office.ask("letters", action, "7", "--by", "Kerani Contoh") == (0, output)
            output = (
                f"The letter of notification 7 was recorded as {action} before, by Kerani Contoh at 24/11/2026 14:15. "
                "Nothing is changed.\n"
            )
            assert await office.ask("letters", action, "7", "--by", "Devi Contoh") == (0, output)
        assert (await office.ask("letters", "posted", "7", "--already-posted"))[0] == 0
        assert service.commands[-1][0] == "posted already 7"
        assert (await office.ask("letters", "posted", "7", "--unprinted"))[0] == 0
        assert service.commands[-1][0] == "posted unprinted 7"
        output = "The letter of notification 7 is not posted: it is in the tray again.\n"
        assert await office.ask("letters", "not-posted", "7", "--by", "Devi Contoh") == (0, output)
        assert service.commands[-1] == ("not posted 7", "Devi Contoh")
        assert (await office.ask("letters", "posted", "8", "--on", "2026-11-23"))[0] == 0
        assert service.commands[-1][0] == "posted 8 on 2026-11-23"
    service = Service(rejection="there is no notification 7")
    async with office.open(service, letter_commands(service)):
        assert await office.ask("letters", "posted", "7") == (1, "there is no notification 7\n")


async def test_letters_list_shows_handler_and_overdue(office: IssuingOffice) -> None:
    service = Service(tray_letters=LETTERS)
    async with office.open(service, letter_commands(service)):
        code, output = await office.ask("letters", "list")

    assert code == 0
    first, second, third, fourth, *_ = [" ".join(line.split()) for line in output.splitlines()[1:]]
    assert (
        first
        == "7 JCM-01 outage Ketua Setiausaha, Kementerian Contoh 24/11/2026 14:15 25/11/2026 17:00 OVERDUE: queued"
    )
    assert second.endswith("OVERDUE: printed by Kerani Contoh, 24/11/2026 14:15")
    assert third.endswith("posted by Kerani Contoh, 24/11/2026")
    assert fourth.endswith("withdrawn: do not post what Kerani Contoh has printed")


@pytest.mark.parametrize(
    ("severity", "code", "end"),
    [
        (Severity.ERROR, 2, "Refused: the old configuration stays active."),
        (Severity.WARNING, 0, "The new configuration is active."),
    ],
)
async def test_reload_prints_problems_and_outcome(
    office: IssuingOffice, severity: Severity, code: int, end: str
) -> None:
    problem = Problem(file="pantau.yaml", message="is odd", severity=severity)
    service = Service(problems=[problem])
    async with office.open(service):
        ended, output = await office.ask("reload", "--by", "Siti Contoh")

    assert service.commands == [("reload", "Siti Contoh")]
    assert ended == code
    assert "is odd" in output
    assert end in output


def test_socket_in_directory_of_another_user_is_reported(office: IssuingOffice) -> None:
    assert not belongs_to_another(office.socket)
    if os.geteuid() != 0:
        office.state.chmod(0)
        closed, output = belongs_to_another(office.socket), office.run("incidents")
        office.state.chmod(0o700)
        assert (closed, output) == (True, another_users(office))
        return
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o711)
        office.config, office.state = Path(outer) / "pantau.yaml", Path(outer) / "state"
        office.config.write_text("state_dir: state\n")
        office.config.chmod(0o644)
        office.state.mkdir(mode=0o700)
        # This also imports modules that Python loads late, which another user may not be able to read.
        assert "the service is not running" in office.run("incidents")[1]
        os.seteuid(65534)
        try:
            closed, absent = belongs_to_another(office.socket), belongs_to_another(Path(outer) / "x" / "y")
            output = office.run("incidents")
        finally:
            os.seteuid(0)
        assert (closed, absent, output) == (True, False, another_users(office))


def another_users(office: IssuingOffice) -> tuple[int, str]:
    return 1, f"{office.socket.resolve()} belongs to another user: run this command as the service's user\n"
