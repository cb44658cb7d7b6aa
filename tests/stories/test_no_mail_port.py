"""While people are told by all four channels, no connection to a mail port is opened."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pantau_lab.mail import Fault
from tests.stories.theatre import JCM, theatre

#: SMTP, submission, IMAP and POP3, each in clear and with TLS.
MAIL_PORTS = {25, 465, 587, 110, 143, 993, 995}


def ports(connections: Path) -> set[int]:
    return {int(line) for line in connections.read_text().split()}


@pytest.mark.peerbug
async def test_18_notices_by_all_four_channels_open_no_connection_to_a_mail_port(
    tmp_path: Path,
) -> None:
    """Defect (HylaFAX, CUPS, smstools, gammu): They send mail themselves when something fails.

    Pantau: Notifications by all four channels open no connection to a mail port.
    """
    connections = tmp_path / "connections"
    async with theatre(tmp_path, program=("tests.stories.witnessed", str(connections))) as play:
        await play.everybody_is_up()
        play.duty.keys = ["1"] * 9
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await play.duty.expect_sms("RM0 JCM ICT: AMARAN")
        await play.duty.expect_call("Tekan satu untuk mengesahkan")
        await play.until_notice("fax", "outage", "delivered")
        await play.until_notice("letter", "outage", "sent")

    seen = ports(connections)
    carrier = play.world.carrier
    assert carrier is not None
    assert seen, "the witness saw the service's connections"
    assert seen & MAIL_PORTS == set()


def test_the_witness_sees_a_connection_to_a_mail_port(tmp_path: Path) -> None:
    connections = tmp_path / "connections"
    knock = "import socket, sys; from tests.stories.witnessed import witness; witness(sys.argv[1])"
    knock += "; socket.socket().connect_ex(('127.0.0.1', 25))"
    subprocess.run([sys.executable, "-c", knock, str(connections)], check=True, cwd=Path(__file__).parents[2])
    assert ports(connections) == {25}
    assert socket.getservbyname("smtp") in MAIL_PORTS
