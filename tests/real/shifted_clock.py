"""Shifted wall clock for programs, which can be set while they run. Monotonic clocks are not shifted.

It uses Debian's libfaketime: a time namespace of the kernel shifts monotonic clocks only.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Self


class ShiftedClock:
    """Context manager. The clock is right until it is set."""

    def __enter__(self) -> Self:
        # Readable for every user: pytest's own directories are root's.
        self._directory = Path(tempfile.mkdtemp(prefix="pantau-clock-"))
        self._directory.chmod(0o755)
        self.set(timedelta(0))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory)

    def set(self, ahead: timedelta) -> None:
        """Set the difference to the machine's clock; programs see it within a second."""
        new = self._directory / "new"
        new.write_text(f"{ahead.total_seconds():+.0f}\n")
        # Replaced atomically: half a line would be another time.
        new.replace(self._file)

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of programs that use this clock."""
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
        if library is None:
            raise FileNotFoundError("libfaketime is missing: tests/real/install-debian installs it, as root")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    @property
    def _file(self) -> Path:
        return self._directory / "clock"
