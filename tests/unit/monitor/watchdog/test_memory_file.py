"""What the lifeline remembers over a restart, on a disk that is full as well."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.evaluation.out_of_band import ActiveReason, ActiveReasons, OutOfBandReason
from monitor.watchdog.out_of_band import MemoryFile

T0 = datetime(2026, 11, 24, 6, 15, tzinfo=UTC)
TOLD: ActiveReasons = {OutOfBandReason.STORE: ActiveReason(since=T0, notified_at=T0 + timedelta(minutes=10))}


def test_what_was_written_is_read_by_the_next_life(tmp_path: Path) -> None:
    assert MemoryFile(tmp_path / "x").read() == {}
    assert MemoryFile(tmp_path / "x").write(TOLD)
    assert MemoryFile(tmp_path / "x").read() == TOLD
    assert MemoryFile(tmp_path / "x").write({})
    assert MemoryFile(tmp_path / "x").read() == {}
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff" * 512, b'{"store": {"since": "semalam"}}'])
def test_a_file_that_makes_no_sense_is_as_good_as_none(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(text)
    assert MemoryFile(tmp_path / "x").read() == {}
    assert MemoryFile(tmp_path / "x").write(TOLD)
    assert MemoryFile(tmp_path / "x").read() == TOLD


def test_a_name_that_is_too_long_is_left_out_and_the_times_are_kept(tmp_path: Path) -> None:
    spell = ActiveReason(since=T0, notified_at=T0, whose="p" * 600)
    assert MemoryFile(tmp_path / "x").write({OutOfBandReason.PEER: spell})
    assert MemoryFile(tmp_path / "x").read() == {OutOfBandReason.PEER: ActiveReason(since=T0, notified_at=T0)}


def test_memory_file_of_0_2_is_renamed_and_read(tmp_path: Path) -> None:
    assert MemoryFile(tmp_path / "lifeline.json").write(TOLD)
    assert MemoryFile(tmp_path / "out_of_band.json").read() == TOLD
    assert [path.name for path in tmp_path.iterdir()] == ["out_of_band.json"]


def test_where_it_cannot_be_written_it_says_so(tmp_path: Path) -> None:
    assert not MemoryFile(tmp_path / "tiada" / "x").write(TOLD)


_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from monitor.watchdog.out_of_band import MemoryFile
from tests.unit.monitor.watchdog.test_memory_file import TOLD
place = Path(sys.argv[1])
# No file may grow, and none may be begun: the room that is left on a full disk.
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
print(MemoryFile(place).write(TOLD), MemoryFile(place).read() == TOLD)
"""


@pytest.mark.parametrize(("made_before", "said"), [(True, "True True"), (False, "False False")])
def test_on_a_disk_that_is_full_it_is_written_over_in_place(said: str, tmp_path: Path, *, made_before: bool) -> None:
    place = tmp_path / "x"
    if made_before:
        MemoryFile(place).write({})
    room = str(place.stat().st_size if made_before else 0)
    done = subprocess.run(
        [sys.executable, "-c", _ON_A_FULL_DISK, str(place), room],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == said


def test_memory_file_of_an_earlier_version_keeps_the_time_of_the_last_alert(tmp_path: Path) -> None:
    written = b'{"store":{"since":"2026-11-24T06:15:00Z","told_at":"2026-11-24T06:25:00Z","failed_at":null,"whose":""}}'
    (tmp_path / "lifeline.json").write_bytes(written.ljust(512))
    assert MemoryFile(tmp_path / "out_of_band.json").read() == TOLD
