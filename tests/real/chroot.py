"""Programs of unpacked packages in a root directory of their own (chroot).

Their built-in paths are right in there, and their libraries are found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path


def install_programs(root: Path, unpacked: Path, programs: Iterable[str]) -> None:
    """Copy *programs*, by their paths in *unpacked*, and the libraries that they need into *root*.

    Raise `FileNotFoundError`, with the remedy, when a file is missing.
    """
    sources = {unpacked / program for program in programs}
    if missing := [str(source) for source in sources if not source.exists()]:
        raise FileNotFoundError(f"{missing[0]} is missing: tests/real/install-debian unpacks it, as root")
    for source in sources | _libraries(sources, unpacked):
        target = root / str(source).removeprefix(str(unpacked)).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _libraries(programs: Iterable[Path], unpacked: Path) -> set[Path]:
    """Return the shared libraries of *programs*, unpacked ones before those of this machine."""
    where = (unpacked / "usr/lib", unpacked / f"usr/lib/{os.uname().machine}-linux-gnu")
    environment = {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": ":".join(map(str, where))}
    command = ["ldd", *map(str, programs)]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    if "not found" in listed:
        raise FileNotFoundError(
            f"remove {unpacked}.list and run tests/real/install-debian; libraries are missing:\n{listed}"
        )
    # ldd also prints a line for each program: its path and a colon.
    words = (word for line in listed.splitlines() for word in line.split())
    return {Path(word) for word in words if word.startswith("/") and not word.endswith(":")}
