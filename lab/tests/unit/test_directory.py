"""Directories of the lab: only its own files are removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pantau_lab.faultlab.directory import DirectoryInUseError, claimed

MARK = ".ours"


def test_claimed_removes_own_files_of_previous_run(tmp_path: Path) -> None:
    place = tmp_path / "lab"
    with claimed(place, MARK):
        (place / "secrets").mkdir()
        (place / "secrets" / "jcm").write_text("rahsia")
    with claimed(place, MARK):
        assert [path.name for path in place.iterdir()] == [MARK]


def test_claimed_refuses_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "tesis.txt").write_text("bab 1")
    with pytest.raises(DirectoryInUseError, match="files that are not the lab's"), claimed(tmp_path, MARK):
        pass
    assert (tmp_path / "tesis.txt").read_text() == "bab 1"


def test_claimed_removes_link_without_following(tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "lab", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "fail").touch()
    with claimed(place, MARK):
        (place / "link").symlink_to(elsewhere)
    with claimed(place, MARK):
        assert not (place / "link").exists()
    assert (elsewhere / "fail").exists()


def test_claimed_refuses_directory_of_running_lab(tmp_path: Path) -> None:
    place = tmp_path / "lab"
    with claimed(place, MARK):
        (place / "ca.pem").touch()
        with pytest.raises(DirectoryInUseError, match="already running"), claimed(place, MARK):
            pass
        assert (place / "ca.pem").exists()
