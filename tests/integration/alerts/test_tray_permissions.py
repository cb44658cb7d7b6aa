"""Permissions of the installed tray: the service writes letters, clerks take them, others see none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TMPFILES = Path(__file__).parents[3] / "deploy" / "pantau.tmpfiles"
SERVICE, TRAY, CLERK, OTHER_USER = 61001, 61002, 61003, 61004

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can be several people")

SCRIPT = """
import asyncio, concurrent.futures.thread, encodings.idna, os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from alerts.gateways.tray import Tray, TraySettings
from alerts.model.gateway import SendRequest, PageContent, GatewayContext
# After all imports: they may be where this user has no access.
os.setgroups([])
os.setgid(int(sys.argv.pop(1)))
os.setuid(int(sys.argv.pop(1)))
os.umask(0o077)
tray = Tray(TraySettings(directory=Path(sys.argv[1])), GatewayContext(callback_base=None, directory="/"))
now = datetime.now(UTC)
def order(reference):
    page = PageContent(pdf=b"%PDF", title="Surat", pages=1)
    return SendRequest(reference=reference, address="Kementerian", content=page, created_at=now, expires_at=now + timedelta(1))
async def main():
    match sys.argv[2]:
        case "lay": print(*[(await tray.send(order(each))).progress for each in sys.argv[3:]])
        case "look": print(*[(await tray.check(order(each), each)).progress for each in sys.argv[3:]])
        case "withdraw": print(*[await tray.withdraw(order(each), each) for each in sys.argv[3:]])
        case "dispatch": print(*[await tray.record_posting(each) for each in sys.argv[3:]])
asyncio.run(main())
"""


@pytest.fixture
def tray() -> Iterator[Path]:
    """Create the directories as systemd does, from the shipped file."""
    # pytest's directories are closed to other users.
    root = Path(tempfile.mkdtemp(prefix="tray-", dir="/var/tmp"))
    try:
        root.chmod(0o755)
        (root / "etc").mkdir()
        (root / "etc" / "passwd").write_text(f"root:x:0:0::/:/bin/sh\npantau:x:{SERVICE}:{SERVICE}::/:/bin/sh\n")
        (root / "etc" / "group").write_text(f"root:x:0:\npantau:x:{SERVICE}:\npantau-tray:x:{TRAY}:\n")
        made = ["systemd-tmpfiles", f"--root={root}", "--create", str(TMPFILES)]
        subprocess.run(made, check=True, timeout=60)
        yield root / "var" / "spool" / "pantau" / "surat"
    finally:
        shutil.rmtree(root)


def as_user(number: int, *command: str, groups: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, user=number, group=number, extra_groups=groups, umask=0o022, cwd="/",
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def service(tray: Path, deed: str, *references: str) -> str:
    """Run a step of the service in its tray, as its own user and with the unit's umask."""
    words = [sys.executable, "-c", SCRIPT, str(SERVICE), str(SERVICE), str(tray), deed, *references]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def clerk(*command: str) -> subprocess.CompletedProcess[str]:
    return as_user(CLERK, *command, groups=(TRAY,))


def name(place: Path, reference: str) -> str:
    return next(str(path) for path in place.iterdir() if f"_{reference}_" in path.name)


def test_clerk_reads_queued_letters_and_other_users_do_not(tray: Path) -> None:
    service(tray, "lay", "d1-1")
    letter = name(tray, "d1-1")
    assert Path(letter).name in clerk("ls", str(tray)).stdout
    assert clerk("cat", letter).stdout == "%PDF"
    assert as_user(OTHER_USER, "ls", str(tray)).returncode != 0
    assert as_user(OTHER_USER, "cat", letter).returncode != 0


def test_clerk_posts_letter_by_moving_it(tray: Path) -> None:
    service(tray, "lay", "d1-1", "d2-1")
    assert clerk("mv", name(tray, "d1-1"), str(tray / "posted")).returncode == 0
    assert service(tray, "look", "d1-1", "d2-1") == "sent accepted"


def test_clerk_reads_withdrawn_and_posted_letters(tray: Path) -> None:
    service(tray, "lay", "d1-1", "d2-1")
    assert service(tray, "withdraw", "d1-1") == "True"
    assert service(tray, "dispatch", "d2-1") == "True"
    for place, reference in (("withdrawn", "d1-1"), ("posted", "d2-1")):
        assert clerk("cat", name(tray / place, reference)).stdout == "%PDF"
    assert clerk("mv", name(tray / "withdrawn", "d1-1"), str(tray)).returncode == 0, "it was not to be taken back"
    assert service(tray, "look", "d1-1") == "accepted"


def test_clerk_cannot_change_letter(tray: Path) -> None:
    service(tray, "lay", "d1-1")
    assert clerk("sh", "-c", f"echo lain > '{name(tray, 'd1-1')}'").returncode != 0
