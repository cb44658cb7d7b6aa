"""The two wheels: contents, reproducible build, and use in an environment without the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RELEASE = ROOT / "deploy" / "release.py"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

#: Time of a commit, in seconds.
EPOCH = "1795737600"


def run(*command: str | Path, cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environ, capture_output=True, text=True, check=False, timeout=300
    )


def tracked() -> list[str]:
    """Return the names of tracked files and of new ones that are not ignored."""
    done = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return sorted(name for name in done.stdout.split("\0") if (ROOT / name).is_file())


def clone(to: Path, umask: int) -> Path:
    """Copy the tree to *to*, as `git clone` writes it with *umask*."""
    before = os.umask(umask)
    try:
        for name in tracked():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            (to / name).write_bytes((ROOT / name).read_bytes())
    finally:
        os.umask(before)
    return to


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build both wheels twice: in two directories, with different permissions, and with an ignored file."""
    place = tmp_path_factory.mktemp("clones")
    one, other = clone(place / "one", 0o022), clone(place / "another" / "place", 0o077)
    (other / "monitor" / "__pycache__").mkdir()
    (other / "monitor" / "__pycache__" / "left.pyc").write_bytes(b"left")
    for source in (one, other):
        done = run(sys.executable, RELEASE, "wheels", source, source / "dist", EPOCH, TZ="Asia/Kuala_Lumpur")
        assert done.returncode == 0, done.stderr
    return one / "dist", other / "dist"


def test_two_clones_build_identical_wheels(built: tuple[Path, Path]) -> None:
    one, other = built
    names = {f"pantau-{VERSION}-py3-none-any.whl", f"pantau_lab-{VERSION}-py3-none-any.whl"}
    assert {wheel.name for wheel in one.iterdir()} == {wheel.name for wheel in other.iterdir()} == names
    assert [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()] == []


@pytest.mark.parametrize(
    ("distribution", "below", "packages"),
    [("pantau", "", ("alerts/", "monitor/", "probes/")), ("pantau_lab", "lab/", ("pantau_lab/",))],
)
def test_wheel_contains_exactly_files_of_its_packages(
    built: tuple[Path, Path], distribution: str, below: str, packages: tuple[str, ...]
) -> None:
    about = f"{distribution}-{VERSION}.dist-info/"
    with zipfile.ZipFile(built[0] / f"{distribution}-{VERSION}-py3-none-any.whl") as wheel:
        held = {name for name in wheel.namelist() if not name.startswith(about)}
        assert b"Typing :: Typed" in wheel.read(f"{about}METADATA")
    names = {name.removeprefix(below) for name in tracked() if name.startswith(below)}
    assert held == {name for name in names if name.startswith(packages)}
    assert {f"{package}py.typed" for package in packages} < held


@pytest.fixture(scope="module")
def environment(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install both wheels into a new environment that has the libraries of this one, and not its Pantau."""
    place = tmp_path_factory.mktemp("environment")
    wheels = sorted(built[0].iterdir())
    made = run(sys.executable, "-m", "venv", "--without-pip", place)
    assert made.returncode == 0, made.stderr
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(place))
    installed = run(*pip, "install", "--quiet", "--no-index", "--no-deps", "--no-compile", *wheels)
    assert installed.returncode == 0, installed.stderr
    libraries = sysconfig.get_paths()["purelib"]
    inside = sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)})
    # Directories in a .pth file are added without reading their own .pth files, which would add this source tree.
    (Path(inside) / "libraries.pth").write_text(f"{libraries}\n")
    return place


def test_installed_program_is_from_wheel(environment: Path, tmp_path: Path) -> None:
    where = "import alerts, monitor, pantau_lab, probes; print(alerts, monitor, pantau_lab, probes, sep='\\n')"
    found = run(environment / "bin" / "python", "-c", where, cwd=tmp_path).stdout.splitlines()
    assert [line for line in found if str(environment) in line] == found
    assert len(found) == 4

    assert run(environment / "bin" / "pantau", "--version", cwd=tmp_path).stdout == f"pantau {VERSION}\n"
    help_output = run(environment / "bin" / "pantau", "--help", cwd=tmp_path)
    assert {"run", "check", "ack", "demo"} < set(help_output.stdout.split())


def test_installed_program_checks_sample_and_renders_letter(environment: Path, sample: Path) -> None:
    pantau, here = environment / "bin" / "pantau", sample.parent
    secret = {"PANTAU_MPCONTOH_PASSWORD": "kata-laluan-contoh"}
    checked = run(pantau, "check", cwd=here, **secret)
    assert checked.returncode == 1, "no number is verified"
    assert checked.stdout.splitlines()[-1].startswith("pantau.yaml: accepted: 2 agencies")

    printed = run(pantau, "letter-preview", "JCONTOH", "--output", "letter.pdf", cwd=here, **secret)
    assert printed.returncode == 0, printed.stderr
    assert (here / "letter.pdf").read_bytes().startswith(b"%PDF-")


def test_lab_commands_are_found_with_installed_wheel(environment: Path, tmp_path: Path) -> None:
    listed = run(environment / "bin" / "pantau", "lab", "--list", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "greylist" in listed.stdout
