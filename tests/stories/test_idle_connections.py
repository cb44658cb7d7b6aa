"""Idle and malformed connections of a third party while an agency's mail fails."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from pantau_lab.mail import Fault
from tests.stories.running_service import JCM, RunningService, running_service

#: The service itself has some sixty open descriptors, and each connection takes one.
DESCRIPTORS, IDLE, GARBAGE = 256, 400, 300


async def connect(address: tuple[str, int], count: int, says: bytes = b"") -> list[socket.socket]:
    """Return connections that have sent the same octets, without the refused ones."""
    loop = asyncio.get_running_loop()
    found = []
    for _ in range(count):
        line = socket.socket()
        line.setblocking(False)
        found.append(line)
        try:
            await loop.sock_connect(line, address)
            await loop.sock_sendall(line, says)
        except OSError:
            pass
    return found


def addresses(env: RunningService) -> tuple[tuple[str, int], tuple[str, int]]:
    """Return the addresses of portal and callback listener, from the log."""
    started = next(line for line in env.log().splitlines() if "event=started" in line)
    ports = [int(started.partition(f"{name}=http://127.0.0.1:")[2].split()[0]) for name in ("portal", "callbacks")]
    return ("127.0.0.1", ports[0]), ("127.0.0.1", ports[1])


@pytest.mark.blind
async def test_idle_connections_leave_probes_store_and_portal_their_descriptors(tmp_path: Path) -> None:
    """Defect: Idle connections of a stranger take every descriptor.

    51 s until an outage is notified, and 1.1 million log lines.

    Pantau: Each listener has an eighth of the descriptors, an address a quarter of that; the longest idle one is
    closed. Handshake and headers have 5 s each.
    """
    async with running_service(tmp_path, program=("tests.stories.few_descriptors", str(DESCRIPTORS))) as env:
        await env.wait_until_up()
        portal, callbacks = addresses(env)
        idle = [*await connect(portal, IDLE), *await connect(callbacks, IDLE, b"GET / HTTP/1.1\r\n")]
        garbage = await connect(callbacks, GARBAGE, b"\x16\x03\x01 garbage\r\n\r\n")
        try:
            await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
            await env.duty.expect_sms("RM0 JCM ICT: AMARAN", "keluar dan masuk gagal", "Ruj JCM-01")
            [incident] = await env.get("/incidents")
            assert incident["number"] == "JCM-01"
        finally:
            for each in (*idle, *garbage):
                each.close()
        log = env.log()
    assert "database not writable" not in log
    assert log.count("Invalid HTTP request") == 1
    assert len(log.splitlines()) < 60, log[-4000:]
