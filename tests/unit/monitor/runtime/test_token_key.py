"""Key that signs tokens: created once, and private."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from monitor.runtime.token_key import token_key


def test_token_key_is_created_once(tmp_path: Path) -> None:
    first = token_key(tmp_path)

    assert len(first) == 32
    assert token_key(tmp_path) == first


def test_token_key_is_readable_by_owner_only(tmp_path: Path) -> None:
    token_key(tmp_path)

    assert stat.S_IMODE((tmp_path / "token.key").stat().st_mode) == 0o600


def test_token_key_differs_between_directories(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()

    assert token_key(tmp_path / "one") != token_key(tmp_path / "two")


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_token_key_invalid_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token.key").write_bytes(content)

    with pytest.raises(ValueError, match="is not a token key"):
        token_key(tmp_path)


def test_token_key_missing_directory_is_created_private(tmp_path: Path) -> None:
    token_key(tmp_path / "state")

    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_token_key_directory_not_creatable_is_os_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")

    with pytest.raises(OSError, match=r"state"):
        token_key(tmp_path / "state" / "deeper")
