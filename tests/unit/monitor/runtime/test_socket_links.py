"""Links to control sockets: a running service is found without its configuration."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from monitor.runtime.control_socket import link_socket, linked_sockets

#: User id that owns no file of ours.
NOBODY = 65534


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "session").mkdir(mode=0o700)
    return {"XDG_RUNTIME_DIR": str(tmp_path / "session")}


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[list[Path]]:
    """Bind the sockets of two services."""
    found = [tmp_path / "a" / "control.sock", tmp_path / "b" / "control.sock"]
    with ExitStack() as stack:
        for path in found:
            path.parent.mkdir(mode=0o700)
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))
        yield found


def test_link_socket_without_runtime_directory_does_nothing(sockets: list[Path], tmp_path: Path) -> None:
    assert link_socket(sockets[0], {}) is None
    assert linked_sockets({}, tmp_path / "run") == ([], [])


def test_linked_sockets_finds_services_in_user_session(sockets: list[Path], environ: dict[str, str]) -> None:
    for each in (*sockets, sockets[0]):  # A restarted service leaves no second link.
        link_socket(each, environ)

    assert linked_sockets(environ, Path("/nowhere")) == (sockets, [])


def test_link_socket_prefers_systemd_directory(sockets: list[Path], environ: dict[str, str], tmp_path: Path) -> None:
    units = [tmp_path / "run" / name for name in ("pantau", "pantau-b")]
    for unit, each in zip(units, sockets, strict=True):
        unit.mkdir(mode=0o700, parents=True)
        link_socket(each, {**environ, "RUNTIME_DIRECTORY": str(unit)})

    assert not (tmp_path / "session" / "pantau").exists()
    assert linked_sockets({}, tmp_path / "run") == (sockets, [])


def test_linked_sockets_omits_removed_socket(sockets: list[Path], environ: dict[str, str]) -> None:
    link_socket(sockets[0], environ)
    sockets[0].unlink()

    assert linked_sockets(environ, Path("/nowhere")) == ([], [])


def test_linked_sockets_omits_regular_file(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    link_socket(tmp_path / "file", environ)

    assert linked_sockets(environ, Path("/nowhere")) == ([], [])


def test_socket_directory_writable_by_others_is_refused(
    sockets: list[Path], environ: dict[str, str], tmp_path: Path
) -> None:
    link_socket(sockets[0], environ)
    directory = tmp_path / "session" / "pantau"
    directory.chmod(0o770)

    assert linked_sockets(environ, Path("/nowhere")) == ([], [directory])
    with pytest.raises(PermissionError, match="does not belong to this user alone"):
        link_socket(sockets[1], environ)


def test_socket_directory_that_is_symlink_is_refused(
    sockets: list[Path], environ: dict[str, str], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "a.sock").symlink_to(sockets[0])
    (tmp_path / "session" / "pantau").symlink_to(elsewhere)

    assert linked_sockets(environ, Path("/nowhere")) == ([], [tmp_path / "session" / "pantau"])
    with pytest.raises(PermissionError):
        link_socket(sockets[0], environ)


def test_link_socket_session_writable_by_others_is_refused(
    sockets: list[Path], environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "session").chmod(0o777)

    with pytest.raises(PermissionError):
        link_socket(sockets[0], environ)

    assert not (tmp_path / "session" / "pantau").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_linked_sockets_omits_socket_of_other_user(
    sockets: list[Path], environ: dict[str, str], tmp_path: Path
) -> None:
    for each in sockets:
        link_socket(each, environ)
    os.chown(sockets[0], NOBODY, -1)
    planted = linked_sockets(environ, Path("/nowhere"))
    os.chown(tmp_path / "session" / "pantau", NOBODY, -1)

    assert planted == ([sockets[1]], [])
    assert linked_sockets(environ, Path("/nowhere")) == ([], [tmp_path / "session" / "pantau"])
