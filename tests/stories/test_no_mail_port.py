"""Notifications on all four channels open no connection to a mail port."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pantau_lab.mail import Fault
from tests.stories.running_service import JCM, running_service

#: SMTP, submission, IMAP and POP3, each in clear and with TLS.
MAIL_PORTS = {25, 465, 587, 110, 143, 993, 995}


def ports(connections: Path) -> set[int]:
    return {int(line) for line in connections.read_text().split()}


@pytest.mark.peerbug
async def test_18_notifications_on_all_four_channels_open_no_mail_port(
    tmp_path: Path,
) -> None:
    """Defect (HylaFAX, CUPS, smstools, gammu): They send mail themselves when something fails.

    Pantau: Notifications by all four channels open no connection to a mail port.
    """
    connections = tmp_path / "connections"
    async with running_service(tmp_path, program=("tests.stories.recorded_connections", str(connections))) as env:
        await env.wait_until_up()
        env.duty.keys = ["1"] * 9
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await env.duty.expect_sms("RM0 JCM ICT: AMARAN")
        await env.duty.expect_call("Tekan satu untuk mengesahkan")
        await env.until_notification("fax", "outage", "delivered")
        await env.until_notification("letter", "outage", "sent")

    seen = ports(connections)
    carrier = env.world.carrier
    assert carrier is not None
    assert seen, "the service's connections are recorded"
    assert seen & MAIL_PORTS == set()


def test_connection_recorder_sees_mail_port(tmp_path: Path) -> None:
    connections = tmp_path / "connections"
    knock = "import socket, sys; from tests.stories.recorded_connections import record_connections"
    knock += "; record_connections(sys.argv[1])"
    knock += "; socket.socket().connect_ex(('127.0.0.1', 25))"
    subprocess.run([sys.executable, "-c", knock, str(connections)], check=True, cwd=Path(__file__).parents[2])
    assert ports(connections) == {25}
    assert socket.getservbyname("smtp") in MAIL_PORTS
