"""What `pantau init` shows of a trial and makes of an answer, as tables; test_init_command.py plays it on real servers."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import typer

from monitor.cli.operation.draft import Change, InvalidAnswerError, connection_candidates, read_change, read_server
from monitor.cli.operation.init import _Dialogue, init
from monitor.cli.operation.trial import Display, Trial, find_connection
from monitor.config.agency.mailbox import ServerSettings
from probes.model.mailbox import Security
from probes.model.result import Phase
from probes.preauth.session import Protocol
from probes.run.trace import TraceRecorder
from tests.unit.monitor.cli.test_first_mailbox import DRAFT, KEY, PASSWORD


@pytest.mark.parametrize(
    ("text", "change"),
    [
        *[(str(each), each) for each in Change],
        (" SMTP ", Change.SMTP),
        ("ad", Change.ADDRESS),
        ("ag", Change.AGAIN),
        ("u", Change.USERNAME),
        ("pass", Change.PASSWORD),
        ("e", Change.END),
    ],
)
def test_read_change_takes_a_word_or_its_beginning(text: str, change: Change) -> None:
    assert read_change(text) is change


@pytest.mark.parametrize("text", ["", " ", "a", "no", "smtps", "address,smtp"])
def test_read_change_refuses_what_is_no_one_answer(text: str) -> None:
    with pytest.raises(
        InvalidAnswerError, match="is none of these; write one of address, smtp, imap, username, password, ca, again"
    ):
        read_change(text)


@pytest.mark.parametrize(
    ("username", "other"),
    [
        ("pantau", None),
        ("pantau@jabatan-contoh.gov.my", None),
        ("PANTAU@Jabatan-Contoh.gov.my", None),
        ("siti", "siti@jabatan-contoh.gov.my"),
        ("siti@jabatan-contoh.gov.my", "siti@jabatan-contoh.gov.my"),
        ("siti@lain.gov.my", "siti@lain.gov.my"),
        (r"CONTOH\siti", None),
        ("siti binti contoh", None),
    ],
)
def test_other_address_is_what_the_user_name_may_receive_mail_at(username: str, other: str | None) -> None:
    assert replace(DRAFT, username=username).other_address == other


def test_ways_begin_with_what_was_written_and_end_at_the_registered_ports() -> None:
    tried = [
        (each.port, each.security)
        for each in connection_candidates(read_server("mel.contoh.gov.my:2525"), Protocol.SMTP)
    ]
    assert tried[:2] == [(2525, Security.IMPLICIT), (2525, Security.STARTTLS)]
    assert {(None, Security.IMPLICIT)} < set(tried)
    assert len(tried) == len(set(tried))


async def test_find_way_where_nothing_answers_names_the_port_and_the_reason() -> None:
    closed = ServerSettings(host="127.0.0.1", port=1)
    way = await find_connection(Protocol.IMAP, closed)
    assert way.server is None
    assert way.message.startswith("127.0.0.1:1 does not answer as a server for IMAP over TLS (port refused)")


def questions(*, is_unattended: bool = False) -> _Dialogue:
    return _Dialogue(Trial(KEY), is_unattended=is_unattended)


def test_keep_answers_shows_a_command_with_all_but_the_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = questions()
    asked._draft = replace(DRAFT, username="siti contoh", smtp=read_server("[2001:db8::7]:2525 starttls as mel.gov.my"))
    asked.print_continuation(tmp_path / "jabatan contoh")
    show_progress = capsys.readouterr().err
    words = shlex.split(show_progress.partition(":  ")[2])
    assert words[:3] == ["pantau", "init", str(tmp_path / "jabatan contoh")]
    given = dict(zip(words[3::2], words[4::2], strict=True))
    command = typer.Typer()
    command.command()(init)
    known = {option for each in typer.main.get_command(command).params for option in each.opts}
    assert given.keys() <= known
    assert read_server(given["--smtp"]) == asked._draft.smtp
    assert read_server(given["--imap"]) == DRAFT.imap
    assert (given["--address"], given["--username"]) == (DRAFT.address, "siti contoh")
    assert PASSWORD not in show_progress


@pytest.mark.parametrize("is_unattended", [True, False])
def test_keep_answers_is_silent_before_there_are_any_and_for_scripts(
    *, is_unattended: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = questions(is_unattended=is_unattended)
    asked._draft = DRAFT if is_unattended else None
    asked.print_continuation(tmp_path)
    assert capsys.readouterr() == ("", "")


async def test_clean_up_of_a_trial_that_has_sent_nothing_asks_no_server() -> None:
    assert await Trial(KEY).clean_up() is False


def test_display_on_a_terminal_writes_a_slow_phase_over_its_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    display, recorder = Display(is_terminal=True), TraceRecorder()
    display.enter(Phase.CONNECT, recorder, 100.0)
    display.tick(101.9)
    assert capsys.readouterr().out == ""
    display.tick(102.0)
    display.tick(103.0)
    assert capsys.readouterr().out == "\r  connect            2 s \r  connect            3 s "
    recorder.phases[Phase.CONNECT] = timedelta(milliseconds=1234.56)
    display.enter(Phase.TLS, recorder, 104.0)
    assert capsys.readouterr().out == "\r  connect      1,234.6 ms\n"
    display.end(recorder)
    assert capsys.readouterr().out == "\r  tls              failed\n"
    display.end(recorder)
    display.tick(200.0)
    assert capsys.readouterr().out == "", "what has ended is not shown again"


def test_display_in_a_file_writes_a_line_each_15_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    display, recorder = Display(is_terminal=False), TraceRecorder()
    display.enter(Phase.TRANSIT, recorder, 0.0)
    for second in range(1, 47):
        # A phase that is entered again goes on.
        display.enter(Phase.TRANSIT, recorder, float(second))
        display.tick(float(second))
    assert capsys.readouterr().out == "".join(f"  transit   {at:10} s ...\n" for at in (15, 30, 45))
