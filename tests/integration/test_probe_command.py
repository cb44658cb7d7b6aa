"""`pantau probe` against mail systems with one fault each: explanation, remedy and exit code."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli import app
from pantau_lab.config_files import ProviderAccess, Timing, write
from pantau_lab.mail import Fault, LabNetwork, SystemPlan
from pantau_lab.world import AGENCIES, REFERENCES

AGENCY = AGENCIES[0].code
PROVIDERS = ProviderAccess(
    carrier_url="http://127.0.0.1:9",
    account_sid="AC" + "0" * 32,
    auth_token="kata-laluan-contoh",
    from_number="+60300000100",
    fax_url="http://127.0.0.1:9",
    project_id="projek",
    key_id="kunci",
    key_secret="rahsia-kunci",
    fax_from_number="+60300000199",
)
#: Long enough for a busy machine.
LONG_TIMEOUTS = Timing(
    interval="20s", session_timeout="20s", arrival_timeout="20s", slow_threshold="15s", deferral_timeout="30s"
)
#: Shorter timeouts for faults that are reported after a timeout.
SHORT_TIMEOUTS = {
    Fault.LOSE: replace(LONG_TIMEOUTS, arrival_timeout="2s", slow_threshold="1s"),
    Fault.CUT_LOST: replace(LONG_TIMEOUTS, arrival_timeout="2s", slow_threshold="1s"),
    Fault.MUTE: replace(LONG_TIMEOUTS, session_timeout="4s"),
}


@dataclass(frozen=True, slots=True)
class Terminal:
    """An operator's terminal, eighty columns wide."""

    network: LabNetwork
    config: Path

    def write_timing(self, timing: Timing) -> None:
        """Write the configuration with this timing."""
        write(self.config.parent, self.network, PROVIDERS, timing, listen="127.0.0.1:0", callbacks="127.0.0.1:8081")

    async def probe(self, *words: str) -> tuple[int, str]:
        command = ["probe", AGENCY, *words, "--config", str(self.config)]
        result = await asyncio.to_thread(CliRunner().invoke, app, command, env={**os.environ, "COLUMNS": "80"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    plans = [SystemPlan.with_one_mailbox(each.code, each.domain) for each in AGENCIES]
    plans += [SystemPlan.with_one_mailbox(each.key, each.domain) for each in REFERENCES]
    async with LabNetwork(plans, folder=tmp_path) as network:
        made = Terminal(network, tmp_path / "pantau.yaml")
        made.write_timing(LONG_TIMEOUTS)
        yield made


def unwrapped(text: str) -> str:
    """Return *text* without line breaks."""
    return " ".join(text.split())


FAULTS = [
    (Fault.PASSWORD, "outbound/rujukan-a", 16, "refuses the password"),
    (Fault.POLICY, "outbound/rujukan-a", 16, "no longer takes a password for sending"),
    (Fault.AUTH, "inbound/rujukan-a", 16, "cannot authenticate anybody at present"),
    (Fault.SMTP, "outbound/rujukan-a", 19, "nothing listens on its port"),
    (Fault.EXPIRED, "outbound/rujukan-a", 17, "is not valid today"),
    (Fault.OTHER_NAME, "inbound/rujukan-a", 17, "is for another name, not for 127.0.0.1"),
    (Fault.UNTRUSTED, "outbound/rujukan-a", 17, "mailboxes.utama.ca_file"),
    (Fault.NO_STARTTLS, "outbound/rujukan-a", 17, "offers no STARTTLS"),
    (Fault.PLAIN, "inbound/rujukan-a", 17, "did not answer the TLS handshake with TLS"),
    (Fault.GREYLIST, "outbound/rujukan-a", 13, "it greylists senders"),
    (Fault.QUOTA, "inbound/rujukan-a", 11, "is full"),
    (Fault.UNKNOWN, "inbound/rujukan-a", 11, "there is no mailbox"),
    (Fault.REFUSE, "outbound/rujukan-a", 12, "554 5.3.2"),
    (Fault.FULL, "outbound/rujukan-a", 13, "no room"),
    (Fault.BOUNCE, "inbound/rujukan-a", 11, "came back"),
    (Fault.LOSE, "outbound/rujukan-a", 15, "no report came back"),
    (Fault.CUT_TAKEN, "outbound/rujukan-a", 9, "mail programs report an error, and people send again"),
    (Fault.CUT_LOST, "outbound/rujukan-a", 19, "the submission ended without an answer after the message"),
    (Fault.CORRUPT, "inbound/rujukan-a", 14, "arrived, but the content changed"),
    (Fault.JUNK, "inbound/rujukan-a", 10, "in the junk folder"),
    (Fault.MUTE, "outbound/rujukan-a", 20, "stopped answering"),
]


@pytest.mark.parametrize(("fault", "route", "code", "expected"), FAULTS, ids=[each[0] for each in FAULTS])
async def test_probe_fault_is_explained_with_remedy(
    terminal: Terminal, fault: Fault, route: str, code: int, expected: str
) -> None:
    system = terminal.network.systems[AGENCY]
    terminal.write_timing(SHORT_TIMEOUTS.get(fault, LONG_TIMEOUTS))
    await system.break_(fault)
    try:
        ended, text = await terminal.probe(route)
    finally:
        await system.repair()

    assert (ended, expected in unwrapped(text)) == (code, True), text
    assert "Traceback" not in text
    assert "level=" not in text
    assert max(map(len, text.splitlines())) <= 80, text
    assert all(label in text for label in ("  Means   ", "  Do      "))


async def test_probe_delivered_shows_relays_and_dialogue(terminal: Terminal) -> None:
    code, text = await terminal.probe("outbound/rujukan-b", "--verbose")

    assert code == 0
    assert "DELIVERED: arrived in the inbox, unchanged" in text
    assert text.count("\n  relay ") == 2
    assert "AUTH PLAIN ***" in text
    assert "recipient IMAP C: LOGIN ***" in text
    assert "recipient IMAP C: SELECT INBOX" in text


async def test_probe_several_routes_are_shown_and_worst_is_exit_code(terminal: Terminal) -> None:
    await terminal.network.systems[AGENCY].break_(Fault.SMTP)
    try:
        code, text = await terminal.probe("outbound", "--explain")
    finally:
        await terminal.network.systems[AGENCY].repair()

    assert code == 19
    assert text.count("Check these, in this order:") == len(REFERENCES)


async def test_probe_check_prints_table_and_fails_on_finding(terminal: Terminal) -> None:
    code, text = await terminal.probe("--check", "certificate")
    assert code == 0, text
    assert "PASS" in text or "WARN" in text

    await terminal.network.systems[AGENCY].break_(Fault.EXPIRED)
    try:
        code, text = await terminal.probe("--check", "certificate")
    finally:
        await terminal.network.systems[AGENCY].repair()
    assert code == 22, text
    assert "FAIL" in text


async def test_probe_check_unable_to_look_fails(terminal: Terminal) -> None:
    for system in terminal.network.systems.values():
        await system.break_(Fault.SMTP)
        await system.break_(Fault.IMAP)
    try:
        code, text = await terminal.probe("--check", "certificate")
    finally:
        for system in terminal.network.systems.values():
            await system.repair()
    assert (code, "PASS" in text) == (21, False), text


async def test_probe_check_with_route_is_refused(terminal: Terminal) -> None:
    code, text = await terminal.probe("outbound", "--check", "certificate")
    assert code == 2
    assert "leave out the route outbound" in text


async def test_probe_check_unknown_lists_checks(terminal: Terminal) -> None:
    code, text = await terminal.probe("--check", "horoscope")
    assert code == 2
    assert "there is no check horoscope; there are " in text
