"""`pantau secrets generate-key`: a key for the settings, in a file that only its owner may read."""

from __future__ import annotations

import stat
from pathlib import Path

from typer.testing import CliRunner

from monitor.access.encryption import EncryptionKey
from monitor.cli.store.secrets import app


def test_a_key_is_shown_or_written_where_only_its_owner_reads_it(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["generate-key"])
    file = tmp_path / "kunci"
    written = CliRunner().invoke(app, ["generate-key", "--to", str(file)])
    assert (shown.exit_code, written.exit_code) == (0, 0)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() not in written.output
    assert EncryptionKey.parse(shown.output).id != EncryptionKey.parse(file.read_text()).id


def test_a_key_is_never_written_over_another(tmp_path: Path) -> None:
    file = tmp_path / "kunci"
    file.write_text("kunci lama\n")
    refused = CliRunner().invoke(app, ["generate-key", "--to", str(file)])
    assert refused.exit_code == 1
    assert "may be a key: name another file" in refused.output
    assert file.read_text() == "kunci lama\n"
