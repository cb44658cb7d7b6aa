"""The shipped systemd unit, with an installation in a directory. No systemd needs to run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.cli import load_command
from monitor.cli.operation import run
from monitor.config.files.duration import parse_duration
from monitor.watchdog import heartbeat, process_heartbeat

UNIT = Path(__file__).parents[2] / "deploy" / "pantau.service"

#: Exposure level of the sandbox by systemd-analyze: 0 is closed, 10 is open. The rest is the network, which the service
#: needs, and /proc/stat. Lower it when the level falls.
EXPOSURE = 1.1

#: Denies itself memory that is writable and executable, as the unit does, then uses the libraries of the service.
WITHOUT_WRITABLE_CODE = """
import ctypes, mmap, sys
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
    sys.exit(77)
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    pass
else:
    sys.exit("not denied")
import asyncio
import pydantic, sqlalchemy, typst, uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.ext.asyncio import create_async_engine
ec.generate_private_key(ec.SECP256R1())
pydantic.create_model("Model", number=(int, ...))(number="3")
assert typst.compile(b"= Notis").startswith(b"%PDF")
async def ask():
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.connect() as connection:
        assert (await connection.execute(sqlalchemy.text("select 2"))).scalar() == 2
    await engine.dispose()
asyncio.run(ask())
"""


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """Install as in docs/how-to/operator/install.md into a directory with the targets of Debian."""
    units = tmp_path / "usr" / "lib" / "systemd" / "system"
    units.mkdir(parents=True)
    for target in Path("/usr/lib/systemd/system").glob("*.target"):
        shutil.copy(target, units)
    (tmp_path / "etc" / "systemd" / "system").mkdir(parents=True)
    shutil.copy(UNIT, tmp_path / "etc" / "systemd" / "system")
    for installed, program in (
        ("opt/pantau/bin/pantau", Path(sys.executable).with_name("pantau")),
        ("bin/kill", Path("/bin/kill")),
    ):
        (tmp_path / installed).parent.mkdir(parents=True)
        shutil.copy(program, tmp_path / installed)
    return tmp_path


def analyze(stage: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments, f"--root={stage}", "--no-pager", "pantau.service"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_systemd_analyze_verify_reports_nothing(stage: Path) -> None:
    done = analyze(stage, "verify")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("written", "mistaken"), [("ProtectClock=", "ProtectKlock="), ("/opt/pantau/bin/pantau", "/opt/pantau/bin/panto")]
)
def test_systemd_analyze_verify_detects_mistakes(stage: Path, written: str, mistaken: str) -> None:
    unit = stage / "etc" / "systemd" / "system" / UNIT.name
    unit.write_text(unit.read_text().replace(written, mistaken))
    assert mistaken.rstrip("=") in analyze(stage, "verify").stderr


def test_sandbox_exposure_is_not_above_limit(stage: Path) -> None:
    done = analyze(stage, "security", "--offline=yes", f"--threshold={round(EXPOSURE * 10)}")
    level = re.search(r"Overall exposure level for pantau.service: ([\d.]+)", done.stdout)
    assert level, done.stderr
    assert float(level[1]) <= EXPOSURE
    assert done.returncode == 0


def test_sandbox_leaves_open_only_what_is_needed(stage: Path) -> None:
    done = analyze(stage, "security", "--offline=yes", "--json=short")
    unset = {check["json_field"] for check in json.loads(done.stdout) if not check["set"]}
    assert unset == {
        "RootDirectoryOrRootImage",
        "RestrictAddressFamilies_AF_UNIX",
        "RestrictAddressFamilies_AF_INET_INET6",
        "ProcSubset",
        "PrivateNetwork",
        "DeviceAllow",
        "IPAddressDeny",
    }


def test_service_needs_no_writable_executable_memory() -> None:
    assert "\nMemoryDenyWriteExecute=yes\n" in UNIT.read_text()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_WRITABLE_CODE], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode == 77:
        pytest.skip("a process can deny itself this only from Linux 6.3 on")
    assert (done.returncode, done.stderr) == (0, "")


def setting(key: str) -> str:
    found = re.search(rf"^{key}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert found, key
    return found[1]


def test_unit_and_program_agree_on_exit_status_without_restart() -> None:
    assert setting("Type") == "notify"
    assert setting("RestartPreventExitStatus") == str(run._MISCONFIGURED)


def test_watchdog_exceeds_longest_heartbeat_interval() -> None:
    beat = (
        process_heartbeat._INTERVAL.total_seconds()
        + process_heartbeat._WRITE_TIMEOUT_SECONDS
        + heartbeat._TIMEOUT_SECONDS
    )
    watchdog = parse_duration(setting("WatchdogSec").replace("min", "m"))
    assert timedelta(seconds=3 * beat) <= watchdog


@pytest.mark.parametrize("key", ["ExecStart", "ExecReload"])
def test_unit_commands_and_options_exist(key: str) -> None:
    _, name, *words = setting(key).split()
    parsed = load_command(name).make_context(name, words, resilient_parsing=False)
    assert str(parsed.params["config"]) == "/etc/pantau/pantau.yaml"
