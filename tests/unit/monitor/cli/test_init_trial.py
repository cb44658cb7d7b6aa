"""`pantau init`: parsing of answers and display of a trial. test_init_command.py runs it with real servers."""

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
def test_read_change_accepts_word_or_prefix(text: str, change: Change) -> None:
    assert read_change(text) is change


@pytest.mark.parametrize("text", ["", " ", "a", "no", "smtps", "address,smtp"])
def test_read_change_refuses_ambiguous_or_unknown_text(text: str) -> None:
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
def test_other_address_is_derived_from_username(username: str, other: str | None) -> None:
    assert replace(DRAFT, username=username).other_address == other


def test_connection_candidates_start_with_given_port_and_end_with_standard_ones() -> None:
    tried = [
        (each.port, each.security)
        for each in connection_candidates(read_server("mel.contoh.gov.my:2525"), Protocol.SMTP)
    ]
    assert tried[:2] == [(2525, Security.IMPLICIT), (2525, Security.STARTTLS)]
    assert {(None, Security.IMPLICIT)} < set(tried)
    assert len(tried) == len(set(tried))


async def test_find_connection_without_answer_names_port_and_reason() -> None:
    closed = ServerSettings(host="127.0.0.1", port=1)
    connection = await find_connection(Protocol.IMAP, closed)
    assert connection.server is None
    assert connection.message.startswith("127.0.0.1:1 does not answer as a server for IMAP over TLS (port refused)")


def dialogue(*, is_unattended: bool = False) -> _Dialogue:
    return _Dialogue(Trial(KEY), is_unattended=is_unattended)


def test_print_continuation_has_all_answers_but_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unfinished = dialogue()
    unfinished._draft = replace(
        DRAFT, username="siti contoh", smtp=read_server("[2001:db8::7]:2525 starttls as mel.gov.my")
    )
    unfinished.print_continuation(tmp_path / "jabatan contoh")
    printed = capsys.readouterr().err
    words = shlex.split(printed.partition(":  ")[2])
    assert words[:3] == ["pantau", "init", str(tmp_path / "jabatan contoh")]
    given = dict(zip(words[3::2], words[4::2], strict=True))
    command = typer.Typer()
    command.command()(init)
    known = {option for each in typer.main.get_command(command).params for option in each.opts}
    assert given.keys() <= known
    assert read_server(given["--smtp"]) == unfinished._draft.smtp
    assert read_server(given["--imap"]) == DRAFT.imap
    assert (given["--address"], given["--username"]) == (DRAFT.address, "siti contoh")
    assert PASSWORD not in printed


@pytest.mark.parametrize("is_unattended", [True, False])
def test_print_continuation_without_answers_or_unattended_prints_nothing(
    *, is_unattended: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = dialogue(is_unattended=is_unattended)
    unfinished._draft = DRAFT if is_unattended else None
    unfinished.print_continuation(tmp_path)
    assert capsys.readouterr() == ("", "")


async def test_clean_up_trial_without_messages_contacts_no_server() -> None:
    assert await Trial(KEY).clean_up() is False


def test_display_on_terminal_overwrites_line_of_slow_phase(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_display_in_file_writes_line_each_15_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    display, recorder = Display(is_terminal=False), TraceRecorder()
    display.enter(Phase.TRANSIT, recorder, 0.0)
    for second in range(1, 47):
        # A phase that starts again continues.
        display.enter(Phase.TRANSIT, recorder, float(second))
        display.tick(float(second))
    assert capsys.readouterr().out == "".join(f"  transit   {at:10} s ...\n" for at in (15, 30, 45))
