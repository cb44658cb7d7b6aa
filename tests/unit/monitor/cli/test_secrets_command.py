"""`pantau secrets generate-key`: a key on standard output, or in a file that only its owner can read."""

from __future__ import annotations

import stat
from pathlib import Path

from typer.testing import CliRunner

from monitor.access.encryption import EncryptionKey
from monitor.cli.store.secrets import app


def test_generate_key_prints_or_writes_owner_only_file(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["generate-key"])
    file = tmp_path / "kunci"
    written = CliRunner().invoke(app, ["generate-key", "--to", str(file)])
    assert (shown.exit_code, written.exit_code) == (0, 0)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() not in written.output
    assert EncryptionKey.parse(shown.output).id != EncryptionKey.parse(file.read_text()).id


def test_generate_key_does_not_overwrite_file(tmp_path: Path) -> None:
    file = tmp_path / "kunci"
    file.write_text("kunci lama\n")
    refused = CliRunner().invoke(app, ["generate-key", "--to", str(file)])
    assert refused.exit_code == 1
    assert "may be a key: name another file" in refused.output
    assert file.read_text() == "kunci lama\n"
