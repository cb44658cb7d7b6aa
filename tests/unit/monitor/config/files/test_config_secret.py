"""Secrets from files and environment variables, and where they must not appear."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.config.files.regular import FileStamp
from tests.mailbox_parts import password_of
from tests.unit.monitor.config.ministry import SECRET, Ministry

HOUR = 3600 * 10**9

_FILE = "write instead: the path of a file that holds only the secret; a relative one starts at ."
_VARIABLE = "write instead: the name of a variable that the service is given, or ..._file: PATH"
_PLACE = "agencies/jabatan.yaml:16: mailboxes.utama.login"


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (
            "password: hunter2",
            (
                "password: a secret is never written in the configuration; "
                "write instead: password_file: PATH, or password_env: NAME"
            ),
        ),
        (
            "password: [hunter2]",
            (
                "password: a secret is never written in the configuration; "
                "write instead: password_file: PATH, or password_env: NAME"
            ),
        ),
        (
            "password: hunter2, password_file: secrets/mail",
            (
                "password: a secret is never written in the configuration; "
                "write instead: password_file: PATH, or password_env: NAME"
            ),
        ),
        (
            "password_file: secrets/mail, password_env: RUJUKAN_B",
            "password_env: is a second source beside password_file; write instead: one of the two",
        ),
        ("port: 1", "port: is no known key; write instead: password_file"),
        (
            "password_file: secrets/tiada",
            ("password_file: the file secrets/tiada does not exist; " + _FILE),
        ),
        ("password_file: /dev/zero", "password_file: the file /dev/zero is no regular file; " + _FILE),
        ("password_file: secrets/paip", "password_file: the file secrets/paip is no regular file; " + _FILE),
        ("password_file: secrets/besar", "password_file: the file secrets/besar is larger than 64 KiB; " + _FILE),
        ("password_file: hunter2", "password_file: the file that is named here does not exist; " + _FILE),
        ("password_file: hunter2/x", "password_file: the file that is named here does not exist; " + _FILE),
        (
            f"password_file: {'hunter2' * 99}",
            "password_file: the file that is named here cannot be read: File name too long; " + _FILE,
        ),
        ("password_env: hunter2", "password_env: the environment variable that is named here is not set; " + _VARIABLE),
        ("password_file: secrets", "password_file: the file secrets cannot be read: Is a directory; " + _FILE),
        (
            "password_file: secrets/kosong",
            "password_file: the file secrets/kosong is empty; write instead: the secret alone, in one line",
        ),
        (
            "password_file: secrets/biner",
            "password_file: the file secrets/biner is not UTF-8 text; write instead: the secret alone, saved as UTF-8",
        ),
        (
            "password_file: secrets/terbuka",
            (
                "password_file: everybody on this machine can read secrets/terbuka; "
                "write instead: chmod o-rwx secrets/terbuka (in a shell)"
            ),
        ),
        ("password_file:", "password_file: must be the path of a file; write instead: PATH"),
        ("password_env: TIADA", "password_env: the environment variable that is named here is not set; " + _VARIABLE),
        (
            "password_env: KOSONG",
            "password_env: the environment variable KOSONG is empty; write instead: the secret alone, in one line",
        ),
        (
            "password_env: [TIADA]",
            "password_env: must be the name of an environment variable; write instead: NAME",
        ),
    ],
)
def test_secret_unavailable_or_inline_is_a_problem(ministry: Ministry, written: str, problem: str) -> None:
    ministry.put_secret("kosong", "\n")
    ministry.put_secret("terbuka", SECRET, mode=0o644)
    ministry.put_secret("besar", "x" * 70_000)
    os.mkfifo(ministry.directory / "secrets" / "paip")
    (ministry.directory / "secrets" / "biner").write_bytes(b"\xff\xfe")
    ministry.edit("jabatan", "password_file: secrets/mail", written)
    warning = "warning: " if "everybody" in problem else ""
    place = _PLACE.replace(": ", f": {warning}", 1)
    problems = ministry.problems({"KOSONG": ""})
    if "port" in written:
        assert [line.split(": ")[1] for line in problems] == [
            "mailboxes.utama.login.password",
            "mailboxes.utama.login.port",
        ]
    else:
        assert problems == [f"{place}.{problem}"]


@pytest.mark.parametrize(("text", "secret"), [("a b\n", "a b"), ("a\r\n", "a"), (" a ", " a ")])
def test_secret_file_final_newline_is_stripped(ministry: Ministry, text: str, secret: str) -> None:
    ministry.put_secret("lain", text)
    ministry.edit("jabatan", "password_file: secrets/mail", "password_file: secrets/lain")
    agency = ministry.load().require_configuration().registry.agencies["JCONTOH"]
    password = agency.mailboxes["utama"].login.password
    assert password is not None
    assert password.get_secret_value() == secret


@pytest.mark.parametrize("text", ["a\nb", "a\n\n", "a\rb\n", "a\0b"])
def test_secret_with_several_lines_is_refused(ministry: Ministry, text: str) -> None:
    ministry.put_secret("lain", text)
    ministry.edit("jabatan", "password_file: secrets/mail", "password_file: secrets/lain")

    [problem] = ministry.problems()

    assert "has more than one line" in problem
    assert "the secret alone, in one line" in problem


def test_gateway_list_of_secrets_is_read(ministry: Ministry) -> None:
    ministry.edit("pantau", "token_file: secrets/mail", "token_env: A, old_tokens_env: [A, B]")
    assert ministry.problems({"A": "1", "B": "2"}) == []
    assert ministry.problems({"A": "1"}) == [
        "pantau.yaml:16: gateways.sms[0].old_tokens_env[1]: the environment variable that is named here is not set; "
        + _VARIABLE
    ]


def test_secrets_are_not_in_repr_or_json(ministry: Ministry) -> None:
    loaded = ministry.load()
    configuration = loaded.require_configuration()
    for value in (loaded, configuration.settings, configuration.registry, configuration.registry.routes):
        assert SECRET not in f"{value!r} {value!s}"
    assert SECRET not in configuration.settings.model_dump_json(exclude={"gateways"})
    assert password_of(configuration.registry.routes[0].route.sender).secret == SECRET


@pytest.mark.parametrize(
    "written",
    [
        "password: hunter2",
        "pasword: hunter2",
        "password: *hunter2",
        "password: !hunter2 x",
        "password: &hunter2 x, user: *hunter2",
        "password: '@hunter2",
        "password: @hunter2",
        "password: %hunter2: x",
        "password: {hunter2: x",
    ],
)
def test_password_in_wrong_place_is_not_repeated(ministry: Ministry, written: str) -> None:
    ministry.edit("jabatan", "password_file: secrets/mail", written)
    problems = ministry.problems()
    assert problems
    assert "hunter2" not in " ".join(problems)
    assert "hunter2" not in repr(ministry.load())


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_text("lain"),
        lambda file: file.chmod(0o640),
        lambda file: file.unlink(),
        lambda file: (file.with_name("lain").write_text(SECRET), file.with_name("lain").replace(file)),
        lambda file: (file.rename(file.with_name("dahulu")), file.symlink_to("dahulu"), file.write_text("lain")),
    ],
    ids=["written", "for others to read", "gone", "replaced by its like", "behind a link"],
)
def test_file_stamp_of_old_file_detects_change(change: Callable[[Path], object], tmp_path: Path) -> None:
    file = tmp_path / "mail"
    file.write_text(SECRET)
    assert FileStamp.of(file) is None, "what was written a moment ago may be written again within one tick"
    stamp = FileStamp.of(file, time.time_ns() + HOUR)
    assert stamp is not None
    assert stamp.is_current()
    change(file)
    assert not stamp.is_current()


def test_file_stamp_of_missing_file_is_none(tmp_path: Path) -> None:
    assert FileStamp.of(tmp_path / "tiada", time.time_ns() + HOUR) is None
    assert FileStamp.of(tmp_path / "a\0b", time.time_ns() + HOUR) is None
