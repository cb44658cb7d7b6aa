"""`pantau probe` against mail systems that are broken in turn: whether an operator would know what to do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli import app
from pantau_lab.config_files import StandIns, Timing, write
from pantau_lab.mail import Fault, LabNetwork, SystemPlan
from pantau_lab.world import AGENCIES, REFERENCES

AGENCY = AGENCIES[0].code
PROVIDERS = StandIns(
    carrier_url="http://127.0.0.1:9",
    account_sid="AC" + "0" * 32,
    auth_token="kata-laluan-contoh",
    caller="+60300000100",
    fax_url="http://127.0.0.1:9",
    project_id="projek",
    key_id="kunci",
    key_secret="rahsia-kunci",
    fax_caller="+60300000199",
)
#: Nothing that is answered, or arrives, comes too late on a machine that stands still for a while.
PATIENT = Timing(
    interval="20s", session_timeout="20s", arrival_timeout="20s", slow_threshold="15s", deferral_timeout="30s"
)
#: What is told only once nothing has come for so long.
BRIEF = {
    Fault.LOSE: replace(PATIENT, arrival_timeout="2s", slow_threshold="1s"),
    Fault.CUT_LOST: replace(PATIENT, arrival_timeout="2s", slow_threshold="1s"),
    Fault.MUTE: replace(PATIENT, session_timeout="4s"),
}


@dataclass(frozen=True, slots=True)
class CallbackHandler:
    """An operator's terminal, eighty columns wide."""

    network: LabNetwork
    config: Path

    def waits(self, timing: Timing) -> None:
        """Let nobody wait longer than this says."""
        write(self.config.parent, self.network, PROVIDERS, timing, listen="127.0.0.1:0", callbacks="127.0.0.1:8081")

    async def probe(self, *words: str) -> tuple[int, str]:
        command = ["probe", AGENCY, *words, "--config", str(self.config)]
        result = await asyncio.to_thread(CliRunner().invoke, app, command, env={**os.environ, "COLUMNS": "80"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[CallbackHandler]:
    plans = [SystemPlan.with_one_mailbox(each.code, each.domain) for each in AGENCIES]
    plans += [SystemPlan.with_one_mailbox(each.key, each.domain) for each in REFERENCES]
    async with LabNetwork(plans, folder=tmp_path) as network:
        made = CallbackHandler(network, tmp_path / "pantau.yaml")
        made.waits(PATIENT)
        yield made


def squeezed(text: str) -> str:
    """Return *text* as if nothing had been wrapped."""
    return " ".join(text.split())


FAULTS = [
    (Fault.PASSWORD, "outbound/rujukan-a", 16, "refuses the password"),
    (Fault.POLICY, "outbound/rujukan-a", 16, "no longer takes a password for sending"),
    (Fault.AUTH, "inbound/rujukan-a", 16, "can let nobody in at present"),
    (Fault.SMTP, "outbound/rujukan-a", 19, "nothing listens on its port"),
    (Fault.EXPIRED, "outbound/rujukan-a", 17, "is not valid today"),
    (Fault.OTHER_NAME, "inbound/rujukan-a", 17, "is for another name, not for 127.0.0.1"),
    (Fault.UNTRUSTED, "outbound/rujukan-a", 17, "mailboxes.utama.ca_file"),
    (Fault.NO_STARTTLS, "outbound/rujukan-a", 17, "offers no STARTTLS"),
    (Fault.PLAIN, "inbound/rujukan-a", 17, "was asked for TLS and answered with something else"),
    (Fault.GREYLIST, "outbound/rujukan-a", 13, "it greylists senders"),
    (Fault.QUOTA, "inbound/rujukan-a", 11, "is full"),
    (Fault.UNKNOWN, "inbound/rujukan-a", 11, "there is no mailbox"),
    (Fault.REFUSE, "outbound/rujukan-a", 12, "554 5.3.2"),
    (Fault.FULL, "outbound/rujukan-a", 13, "no room"),
    (Fault.BOUNCE, "inbound/rujukan-a", 11, "came back"),
    (Fault.LOSE, "outbound/rujukan-a", 15, "no report came back"),
    (Fault.CUT_TAKEN, "outbound/rujukan-a", 9, "mail programs report an error, and people send again"),
    (Fault.CUT_LOST, "outbound/rujukan-a", 19, "the submission ended without an answer after the message"),
    (Fault.CORRUPT, "inbound/rujukan-a", 14, "arrived, and is not what was sent"),
    (Fault.JUNK, "inbound/rujukan-a", 10, "among the junk"),
    (Fault.MUTE, "outbound/rujukan-a", 20, "stopped answering"),
]


@pytest.mark.parametrize(("fault", "route", "code", "expected"), FAULTS, ids=[each[0] for each in FAULTS])
async def test_a_fault_is_told_with_what_to_do(
    desk: CallbackHandler, fault: Fault, route: str, code: int, expected: str
) -> None:
    system = desk.network.systems[AGENCY]
    desk.waits(BRIEF.get(fault, PATIENT))
    await system.break_(fault)
    try:
        ended, text = await desk.probe(route)
    finally:
        await system.repair()

    assert (ended, expected in squeezed(text)) == (code, True), text
    assert "Traceback" not in text
    assert "level=" not in text
    assert max(map(len, text.splitlines())) <= 80, text
    assert all(label in text for label in ("  Means   ", "  Do      "))


async def test_mail_that_flows_is_told_to_and_its_way_is_shown(desk: CallbackHandler) -> None:
    code, text = await desk.probe("outbound/rujukan-b", "--verbose")

    assert code == 0
    assert "DELIVERED: arrived in the inbox, whole" in text
    assert text.count("\n  relay ") == 2
    assert "AUTH PLAIN ***" in text
    assert "recipient IMAP C: LOGIN ***" in text
    assert "recipient IMAP C: SELECT INBOX" in text


async def test_every_route_that_was_asked_for_is_told_and_the_worst_is_the_exit_code(desk: CallbackHandler) -> None:
    await desk.network.systems[AGENCY].break_(Fault.SMTP)
    try:
        code, text = await desk.probe("outbound", "--explain")
    finally:
        await desk.network.systems[AGENCY].repair()

    assert code == 19
    assert text.count("Check these, in this order:") == len(REFERENCES)


async def test_a_check_is_shown_as_a_table_and_fails_when_something_does(desk: CallbackHandler) -> None:
    code, text = await desk.probe("--check", "certificate")
    assert code == 0, text
    assert "PASS" in text or "WARN" in text

    await desk.network.systems[AGENCY].break_(Fault.EXPIRED)
    try:
        code, text = await desk.probe("--check", "certificate")
    finally:
        await desk.network.systems[AGENCY].repair()
    assert code == 22, text
    assert "FAIL" in text


async def test_a_check_that_could_look_at_nothing_is_no_success(desk: CallbackHandler) -> None:
    for system in desk.network.systems.values():
        await system.break_(Fault.SMTP)
        await system.break_(Fault.IMAP)
    try:
        code, text = await desk.probe("--check", "certificate")
    finally:
        for system in desk.network.systems.values():
            await system.repair()
    assert (code, "PASS" in text) == (21, False), text


async def test_a_check_is_of_no_route(desk: CallbackHandler) -> None:
    code, text = await desk.probe("outbound", "--check", "certificate")
    assert code == 2
    assert "leave out the route outbound" in text


async def test_a_check_that_there_is_not_is_said_with_those_that_there_are(desk: CallbackHandler) -> None:
    code, text = await desk.probe("--check", "horoscope")
    assert code == 2
    assert "there is no check horoscope; there are " in text
