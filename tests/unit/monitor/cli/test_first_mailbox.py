"""The answers about the first mailbox, and the configuration that is built from them."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import typer
import yaml

from monitor.cli.operation.draft import (
    CA_FILE,
    FirstMailbox,
    InvalidAnswerError,
    build_files,
    format_server,
    read_address,
    read_code,
    read_password,
    read_server,
    suggest_code,
)
from monitor.cli.operation.init import _first_server, init
from monitor.cli.service import run_command
from monitor.config.loading import load
from probes.model.mail_platform import MailPlatform
from probes.preauth.discovery import platform_candidates

KEY = bytes(32)
PASSWORD = "kata: laluan # 'contoh'"
DRAFT = FirstMailbox(
    address="pantau@jabatan-contoh.gov.my",
    smtp=read_server("mel.jabatan-contoh.gov.my:587"),
    imap=read_server("mel.jabatan-contoh.gov.my"),
    username="pantau",
    password=PASSWORD,
    code="JCONTOH",
)


@pytest.mark.parametrize(
    ("text", "host", "port", "security", "name"),
    [
        ("mel.contoh.gov.my", "mel.contoh.gov.my", None, "implicit", None),
        (" mel.contoh.gov.my:465 ", "mel.contoh.gov.my", 465, "implicit", None),
        ("mel.contoh.gov.my:587", "mel.contoh.gov.my", 587, "starttls", None),
        ("mel.contoh.gov.my:587 implicit", "mel.contoh.gov.my", 587, "implicit", None),
        ("mel.contoh.gov.my STARTTLS", "mel.contoh.gov.my", None, "starttls", None),
        ("10.0.0.7:2525 starttls as mel.contoh.gov.my", "10.0.0.7", 2525, "starttls", "mel.contoh.gov.my"),
        ("[2001:db8::7]:993", "2001:db8::7", 993, "implicit", None),
    ],
)
def test_read_server_parses_one_line(text: str, host: str, port: int | None, security: str, name: str | None) -> None:
    server = read_server(text)
    assert (server.host, server.port, server.security, server.tls_name) == (host, port, security, name)
    assert read_server(format_server(server)) == server, "what is offered again is what was answered"


@pytest.mark.parametrize("text", ["", "dua kata", "mel.contoh.gov.my:99999", "mel.contoh.gov.my:0", "ada_ruang .my"])
def test_read_server_invalid_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidAnswerError, match=r"write|port"):
        read_server(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pantau", "is no mail address; write "),
        ("pantau@gmail.com", "at a private provider"),
        ("", "is no mail address"),
    ],
)
def test_read_address_not_of_agency_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidAnswerError, match=message):
        read_address(text)


@pytest.mark.parametrize(
    "text", ["", "  ", f"{PASSWORD} ", f"\t{PASSWORD}", f"{PASSWORD}\u200b", f"\x1b[200~{PASSWORD}"]
)
def test_read_password_badly_copied_is_refused(text: str) -> None:
    with pytest.raises(InvalidAnswerError, match=r"is empty|--password-file") as wrong:
        read_password(text)
    assert PASSWORD not in str(wrong.value)


@pytest.mark.parametrize("text", [PASSWORD, "dua kata", "kätá laluan"])
def test_read_password_is_kept_verbatim(text: str) -> None:
    assert read_password(text) == text


def test_suggest_code_uses_domain_and_read_code_accepts_lower_case() -> None:
    assert [
        suggest_code(each)
        for each in ("jabatan-contoh.gov.my", "moh.gov.my", "x.my", "jabatan-sangat-panjang-sekali.my")
    ] == [
        "JCONTOH",
        "MOH",
        "X",
        "JSPSEKALI",
    ]
    assert read_code(" jcontoh ") == "JCONTOH"
    with pytest.raises(InvalidAnswerError, match="short code"):
        read_code("jabatan contoh")


def test_first_server_is_suggested_in_answer_format() -> None:
    proposed = [_first_server(platform_candidates(each)[:1]) for each in MailPlatform]
    assert proposed == ["smtp.gmail.com:465", "smtp.office365.com:587"]
    assert _first_server([]) == ""


@pytest.mark.parametrize(
    "draft",
    [
        DRAFT,
        replace(DRAFT, has_ca=False, smtp=read_server("10.0.0.7:2525 starttls as mel.jabatan-contoh.gov.my")),
        replace(DRAFT, address="pantau@ujian.contoh.example", code="NO", username="on"),
    ],
)
def test_build_files_are_valid_and_match_answers(tmp_path: Path, draft: FirstMailbox) -> None:
    files = build_files(draft, KEY, "127.0.0.1:8082", "127.0.0.1:8083")
    for name, octets in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(octets)
        (tmp_path / name).chmod(0o600)
    loaded = load(tmp_path / "pantau.yaml", {})

    assert [str(each) for each in loaded.problems] == []
    accepted = loaded.require_configuration()
    mailbox = accepted.registry.agencies[draft.code].mailboxes["utama"]
    assert (mailbox.address, mailbox.smtp, mailbox.imap) == (draft.address, draft.smtp, draft.imap)
    assert mailbox.login.username == draft.username
    assert mailbox.login.password is not None
    assert mailbox.login.password.get_secret_value() == PASSWORD
    assert not accepted.settings.notifies
    assert [route.name for route in accepted.registry.routes] == [f"{draft.code}/internal"]
    assert list(files)[-1] == "pantau.yaml", "without it the rest is no configuration"


def test_build_files_password_is_in_its_own_file_only() -> None:
    files = build_files(replace(DRAFT, has_ca=True), KEY, "", "")
    assert [name for name, octets in files.items() if PASSWORD.encode() in octets] == ["secrets/utama"]
    assert PASSWORD not in repr(DRAFT)
    assert yaml.safe_load(files["agencies/jcontoh.yaml"])["mailboxes"]["utama"]["ca_file"] == CA_FILE
    assert "listen" not in yaml.safe_load(files["pantau.yaml"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("p" * 300, "File name too long"),
        ("file", "is not a directory"),
        ("file/under", "Not a directory"),
        ("nowhere", "is not a directory"),
        ("circle", "symbolic links"),
    ],
)
def test_init_unwritable_directory_is_reported_before_questions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(typer.Exit) as ended:
        init(tmp_path / name)
    assert ended.value.exit_code == 2
    assert message in capsys.readouterr().err


def test_init_closed_standard_input_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(typer.Exit):
        init(tmp_path / "ministry")
    assert "there is no terminal for questions" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["ministry", "Jabatan Contoh (ujian)", "it's ours"])
def test_run_command_can_be_typed_as_printed(place: str) -> None:
    assert shlex.split(run_command(Path(place))) == ["pantau", "run", "--config", place]
