"""The key that signs tokens: made once, and nobody else's to read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from monitor.runtime.token_key import token_key


def test_the_key_is_made_once(tmp_path: Path) -> None:
    first = token_key(tmp_path)

    assert len(first) == 32
    assert token_key(tmp_path) == first


def test_only_its_user_may_read_the_key(tmp_path: Path) -> None:
    token_key(tmp_path)

    assert stat.S_IMODE((tmp_path / "token.key").stat().st_mode) == 0o600


def test_two_services_have_two_keys(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()

    assert token_key(tmp_path / "one") != token_key(tmp_path / "two")


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_file_that_is_no_key_is_not_taken_for_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token.key").write_bytes(content)

    with pytest.raises(ValueError, match="is not a token key"):
        token_key(tmp_path)


def test_a_directory_that_is_not_there_is_made_for_its_user_alone(tmp_path: Path) -> None:
    token_key(tmp_path / "state")

    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_directory_that_cannot_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")

    with pytest.raises(OSError, match=r"state"):
        token_key(tmp_path / "state" / "deeper")
