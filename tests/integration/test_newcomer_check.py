"""`deploy/newcomer-check`: what is missing on a machine for `make setup`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[2] / "deploy" / "newcomer-check"


class Machine:
    """A machine on which only the programs exist that are installed here."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def install(self, name: str, script: str = "exit 0") -> None:
        program = self._directory / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def install_python(self, name: str, *, lacking: str = "nothing at all") -> None:
        """Install a Python for which every import fails that names *lacking*."""
        self.install(name, f'case "$*" in *"{lacking}"*) exit 1;; esac\nexec {sys.executable} "$@"')

    def check(self, python: str = "python3") -> tuple[int, str]:
        done = subprocess.run(
            ["/bin/sh", CHECK, python],
            env={"PATH": str(self._directory)}, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert not done.stdout
        return done.returncode, done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    for name in ("git", "make"):
        machine.install(name)
    return machine


def test_nothing_missing_prints_nothing(machine: Machine) -> None:
    machine.install_python("python3")
    assert machine.check() == (0, "")


def test_everything_missing_is_listed_at_once(tmp_path: Path) -> None:
    code, errors = Machine(tmp_path).check()
    assert code == 1
    assert errors.splitlines() == [
        "Pantau cannot be set up here yet. Missing:",
        "  - git",
        "  - make",
        "  - Python 3.11 or newer (python3 was not found)",
        "On Debian 12 or 13, as root:",
        "  apt-get install git make python3 python3-venv",
    ]


def test_venv_without_ensurepip_names_package(machine: Machine) -> None:
    machine.install_python("python3", lacking="ensurepip")
    code, errors = machine.check()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert code == 1
    assert errors.splitlines()[1:] == [
        f"  - venv with ensurepip for python3 ({version})",
        "On Debian 12 or 13, as root:",
        f"  apt-get install python{version}-venv",
    ]


def test_old_python_is_named_with_version(machine: Machine) -> None:
    machine.install("python3", 'case "$*" in *platform*) echo 3.9.2;; *) exit 1;; esac')
    code, errors = machine.check()
    assert code == 1
    assert "Python 3.11 or newer (python3 is 3.9.2; name another with make PYTHON=python3.13)" in errors


def test_other_python_can_be_chosen(machine: Machine) -> None:
    machine.install("python3", "exit 1")
    machine.install_python("python3.13")
    assert machine.check("python3.13") == (0, "")


def test_setup_without_package_index_prints_way_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", f"VENV={tmp_path}", "PYTHON=true", "PIP=false", f"{tmp_path}/.lab"],
        cwd=CHECK.parents[1], capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    errors = done.stderr.splitlines()[0]
    assert errors.startswith("Setting up needs a package index. Without a network: ")
    assert "pip download -d wheels --require-hashes -r requirements/lab.txt &&" in errors
    assert errors.endswith(f"PIP_NO_INDEX=1 PIP_FIND_LINKS={CHECK.parents[1]}/wheels make setup")
