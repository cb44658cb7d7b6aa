"""A directory is emptied only by whoever made it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pantau_lab.faultlab.directory import DirectoryInUseError, claimed

MARK = ".ours"


def test_what_the_lab_left_behind_is_gone_at_its_next_start(tmp_path: Path) -> None:
    place = tmp_path / "lab"
    with claimed(place, MARK):
        (place / "secrets").mkdir()
        (place / "secrets" / "jcm").write_text("rahsia")
    with claimed(place, MARK):
        assert [path.name for path in place.iterdir()] == [MARK]


def test_what_somebody_else_left_there_stays(tmp_path: Path) -> None:
    (tmp_path / "tesis.txt").write_text("bab 1")
    with pytest.raises(DirectoryInUseError, match="files that are not the lab's"), claimed(tmp_path, MARK):
        pass
    assert (tmp_path / "tesis.txt").read_text() == "bab 1"


def test_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "lab", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "fail").touch()
    with claimed(place, MARK):
        (place / "link").symlink_to(elsewhere)
    with claimed(place, MARK):
        assert not (place / "link").exists()
    assert (elsewhere / "fail").exists()


def test_a_lab_that_runs_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "lab"
    with claimed(place, MARK):
        (place / "ca.pem").touch()
        with pytest.raises(DirectoryInUseError, match="already running"), claimed(place, MARK):
            pass
        assert (place / "ca.pem").exists()
