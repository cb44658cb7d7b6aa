"""State file of the out-of-band alerter, also on a full disk."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.evaluation.out_of_band import ActiveReason, ActiveReasons, OutOfBandReason
from monitor.watchdog.out_of_band import StateFile

T0 = datetime(2026, 11, 24, 6, 15, tzinfo=UTC)
TOLD: ActiveReasons = {OutOfBandReason.STORE: ActiveReason(since=T0, notified_at=T0 + timedelta(minutes=10))}


def test_state_file_written_is_read_again(tmp_path: Path) -> None:
    assert StateFile(tmp_path / "x").read() == {}
    assert StateFile(tmp_path / "x").write(TOLD)
    assert StateFile(tmp_path / "x").read() == TOLD
    assert StateFile(tmp_path / "x").write({})
    assert StateFile(tmp_path / "x").read() == {}
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff" * 512, b'{"store": {"since": "semalam"}}'])
def test_state_file_invalid_is_empty_and_rewritten(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(text)
    assert StateFile(tmp_path / "x").read() == {}
    assert StateFile(tmp_path / "x").write(TOLD)
    assert StateFile(tmp_path / "x").read() == TOLD


def test_state_file_long_peer_name_is_dropped_and_times_kept(tmp_path: Path) -> None:
    spell = ActiveReason(since=T0, notified_at=T0, whose="p" * 600)
    assert StateFile(tmp_path / "x").write({OutOfBandReason.PEER: spell})
    assert StateFile(tmp_path / "x").read() == {OutOfBandReason.PEER: ActiveReason(since=T0, notified_at=T0)}


def test_state_file_of_0_2_is_renamed_and_read(tmp_path: Path) -> None:
    assert StateFile(tmp_path / "lifeline.json").write(TOLD)
    assert StateFile(tmp_path / "out_of_band.json").read() == TOLD
    assert [path.name for path in tmp_path.iterdir()] == ["out_of_band.json"]


def test_state_file_unwritable_returns_false(tmp_path: Path) -> None:
    assert not StateFile(tmp_path / "tiada" / "x").write(TOLD)


_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from monitor.watchdog.out_of_band import StateFile
from tests.unit.monitor.watchdog.test_state_file import TOLD
place = Path(sys.argv[1])
# No file may grow, and none may be begun: the room that is left on a full disk.
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
print(StateFile(place).write(TOLD), StateFile(place).read() == TOLD)
"""


@pytest.mark.parametrize(("made_before", "said"), [(True, "True True"), (False, "False False")])
def test_state_file_on_full_disk_is_overwritten_in_place(said: str, tmp_path: Path, *, made_before: bool) -> None:
    place = tmp_path / "x"
    if made_before:
        StateFile(place).write({})
    room = str(place.stat().st_size if made_before else 0)
    done = subprocess.run(
        [sys.executable, "-c", _ON_A_FULL_DISK, str(place), room],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == said


def test_state_file_of_earlier_version_keeps_time_of_last_alert(tmp_path: Path) -> None:
    written = b'{"store":{"since":"2026-11-24T06:15:00Z","told_at":"2026-11-24T06:25:00Z","failed_at":null,"whose":""}}'
    (tmp_path / "lifeline.json").write_bytes(written.ljust(512))
    assert StateFile(tmp_path / "out_of_band.json").read() == TOLD
