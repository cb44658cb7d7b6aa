"""Which files are read at all."""

from __future__ import annotations

import os
from pathlib import Path

from monitor.config.document import read_document


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "z.yaml")

    assert "is no regular file" in str(read_document(tmp_path / "z.yaml").problems[0])


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "z.yaml").write_text("x" * 600_000)

    assert "is larger than" in str(read_document(tmp_path / "z.yaml").problems[0])
