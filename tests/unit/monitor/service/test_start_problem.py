"""Problems that prevent the start: each names file, line and remedy."""

from __future__ import annotations

import errno
import os
import re
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli import app
from monitor.config.fields.listen import Listen
from monitor.config.files.regular import explain_unreadable
from monitor.service.start_problem import port_problem, state_problem
from tests.unit.monitor.config.corpus.case import ENVIRON, lay_out_base

HERE = Listen("127.0.0.1", 80)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    lay_out_base(tmp_path / "pantau")
    return tmp_path / "pantau" / "pantau.yaml"


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EADDRINUSE, "listen: another program listens at 127.0.0.1:80; write instead: 127.0.0.1:90, or end"),
        (errno.EACCES, "listen at port 80, which is below 1024; write instead: 127.0.0.1:8080, with a proxy"),
        (
            errno.EADDRNOTAVAIL,
            "listen: 127.0.0.1 is not an address of this machine; write instead: one that `ip address`",
        ),
        (errno.ENOBUFS, "listen: nothing can listen at 127.0.0.1:80: No buffer space available; write instead: "),
    ],
)
def test_port_problem_names_line_and_remedy(config: Path, number: int, told: str) -> None:
    config.write_text(f"{config.read_text()}listen: 127.0.0.1:80\n")
    line = config.read_text().count("\n")
    problem = port_problem(config, ("listen",), HERE, OSError(number, os.strerror(number)), {})
    assert (problem.line, bool(problem.instead)) == (line, True)
    assert told in str(problem)


def test_port_problem_of_the_environment_names_the_variable(config: Path) -> None:
    in_use = OSError(errno.EADDRINUSE, "")
    said = [
        str(port_problem(config, key, HERE, in_use, {"PANTAU_LISTEN": "127.0.0.1:80"}))
        for key in (("listen",), ("callbacks", "listen"))
    ]
    assert said[0].startswith("environment: PANTAU_LISTEN: another program")
    assert said[1].startswith(f"{config}:")


@pytest.mark.parametrize(
    ("place", "reason"), [("/proc/pantau", "No such file or directory"), ("{config}/state", "Not a directory")]
)
def test_state_problem_names_line_user_and_remedy(config: Path, place: str, reason: str) -> None:
    problem = state_problem(config, Path(place.format(config=config)))
    assert problem is not None
    assert (problem.line, problem.key) == (2, "state_dir")
    assert re.fullmatch(rf".* cannot be created: {reason} \(by user \w+, as whom the service runs\)", problem.message)
    assert problem.instead.startswith("a directory that user ")


def test_state_problem_is_none_when_directory_can_be_created(config: Path, tmp_path: Path) -> None:
    assert state_problem(config, tmp_path / "a" / "b") is None
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_run_with_a_port_in_use_names_setting_file_and_line(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(f"{config.read_text()}listen: 127.0.0.1:0\ncallbacks: {{listen: 127.0.0.1:{port}}}\n")
        result = CliRunner().invoke(app, ["run", "--config", str(config)], env=ENVIRON)
    assert result.exit_code == 1
    line = config.read_text().count("\n")
    assert f"pantau cannot run: {config}:{line}: callbacks.listen: another program listens" in result.output
    assert "Errno" not in result.output


def test_run_with_unreachable_store_names_setting(config: Path) -> None:
    config.write_text(f"{config.read_text()}store: {{url: postgresql://pantau@127.0.0.1:1/pantau}}\n")
    result = CliRunner().invoke(app, ["run", "--config", str(config)], env=ENVIRON)
    assert result.exit_code == 1
    line = config.read_text().count("\n")
    assert f"pantau cannot run: {config}:{line}: store: the store, " in result.output


def test_unreadable_names_user_owner_mode_and_command(tmp_path: Path) -> None:
    file = tmp_path / "jabatan.yaml"
    file.write_text("agency: JCONTOH\n")
    file.chmod(0o604)
    reason, remedy = explain_unreadable(file, PermissionError(errno.EACCES, "Permission denied"))
    assert re.fullmatch(r"cannot be read by user \w+: it belongs to \w+, mode 604", reason)
    assert re.fullmatch(rf"chgrp \w+ {file} && chmod g\+r {file} \(in a shell\)", remedy)


def test_unreadable_file_below_closed_directory_names_directories(tmp_path: Path) -> None:
    reason, remedy = explain_unreadable(tmp_path / "closed" / "x", PermissionError(errno.EACCES, "Permission denied"))
    assert reason == "cannot be read: Permission denied"
    assert "on the directories above it, so that user" in remedy
