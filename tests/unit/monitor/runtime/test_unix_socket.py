"""Unix sockets at paths of any length."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from monitor.runtime.unix_socket import short_socket_path


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("depth", [0, 1, 8])
def test_short_socket_path_allows_deep_directories(tmp_path: Path, depth: int) -> None:
    directory = tmp_path.joinpath(*["a-rather-long-name"] * depth)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        with short_socket_path(path) as name:
            listener.bind(name)
        listener.listen()
        with short_socket_path(path) as name:
            client.connect(name)

    assert path.is_socket()


def test_short_socket_path_closes_descriptor(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 120)
    directory.mkdir()
    before = _open_descriptors()
    with short_socket_path(directory / "control.sock"):
        assert _open_descriptors() == before + 1

    assert _open_descriptors() == before


def test_short_socket_path_missing_directory_is_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), short_socket_path(tmp_path / ("x" * 120) / "control.sock"):
        pass
