"""The control socket: permissions, path length, stale sockets and concurrency."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import httpx
import pytest

from monitor.cli.service import request
from monitor.web.command.control import control
from monitor.web.letters import letter_commands
from monitor.web.serving import open_unix, serve
from tests.unit.monitor.web.fake_service import Service


async def test_socket_is_accessible_to_owner_only(tmp_path: Path) -> None:
    listener = open_unix(tmp_path / "control.sock")
    listener.close()

    assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == 0o600


@pytest.mark.parametrize("depth", [0, 8])
async def test_socket_answers_at_any_path_length(tmp_path: Path, depth: int) -> None:
    path = tmp_path.joinpath(*["a-rather-long-name"] * depth) / "control.sock"
    path.parent.mkdir(parents=True, exist_ok=True)
    async with serve(control(Service()), open_unix(path)):
        answer = await asyncio.to_thread(request, path, "GET", "/incidents")

    assert answer.status_code == 200
    assert answer.json()[0]["number"] == "JCM-01"


async def test_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serve(control(Service()), open_unix(path)):
        answer = await asyncio.to_thread(request, path, "GET", "/incidents")

    assert answer.status_code == 200
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_socket_after_service_stop_refuses(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serve(control(Service()), open_unix(path)):
        pass

    with pytest.raises((httpx.ConnectError, OSError)):
        request(path, "GET", "/incidents")


async def test_concurrent_commands_are_all_answered(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    service = Service()
    async with serve(control(service, letter_commands(service)), open_unix(path)):
        answers = await asyncio.gather(
            *(
                asyncio.to_thread(request, path, "POST", f"/notifications/{n}/posted", {"by": "Siti"})
                for n in range(1, 21)
            )
        )

    assert {answer.status_code for answer in answers} == {200}
    assert sorted(service.commands) == sorted((f"posted {n}", "Siti") for n in range(1, 21))
