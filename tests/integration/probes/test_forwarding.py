"""Shared and forwarded addresses on three real mail systems, set up as in docs/how-to/operator/shared-mailboxes.md."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from monitor.cli import app
from monitor.evaluation.attribution import FaultDomain, attribute
from monitor.evaluation.evidence import Evidence
from monitor.model.health import Grade
from probes.model.reply import Reason
from probes.model.result import Arrival, Outcome, ProbeResult
from tests.document_examples import examples
from tests.integration.probes.watched_agency import watch_agency, write_configuration
from tests.real.exim_courier import EximFault
from tests.real.mail_systems import AGENCY, REFERENCE_B, MailSystems
from tests.unit.probes.standin import until

pytestmark = pytest.mark.real

SECONDARY, SHARED, FORWARDS = (yaml.safe_load(text) for text in examples("yaml"))
(SHARED_SETTINGS,) = examples("conf")
ACL_COMMANDS = examples("sh")[0].splitlines()
(RULE,) = examples("sieve")

PANTAU, PETI, PRO, WEBMASTER = (f"{name}@{AGENCY}" for name in ("pantau", "peti.pantau", "pro", "webmaster"))
#: Folders with foreign mail.
FOREIGN_FOLDERS = [(PANTAU, "Junk"), (PANTAU, ""), (PRO, "Junk"), (PRO, ""), (WEBMASTER, "")]
FOREIGN = b"From: rakyat@luar.example\r\nSubject: Aduan jalan\r\n\r\nAda lubang.\r\n"
A, B = f"mel.{AGENCY}", f"mel.{REFERENCE_B}"
#: The final search has a quarter of it.
SHORT_ARRIVAL = "10s"
#: Relays of a copy that a rule forwards: our submission, the agency, its mail store, the agency, the other reference.
RELAYS = ["mel.rujukan.example", A, A, A, B]
#: Permissions of the account that reads the shared mailbox.
_PERMISSIONS = " lookup read write-deleted expunge"
TO_JUNK = 'require ["fileinto"];\nfileinto "Junk";\n'


@pytest.fixture(scope="module")
def machines() -> Iterator[MailSystems]:
    if os.geteuid() != 0 or shutil.which("postfix") is None:
        pytest.fail("needs Postfix and Dovecot, Exim and Courier (tests/real/install-debian), and root to start them")
    with MailSystems() as neighbours:
        settings = SHARED_SETTINGS.replace("/var/lib/dovecot/", f"{neighbours.agency.directory}/mail/")
        assert settings != SHARED_SETTINGS
        for address, folder in FOREIGN_FOLDERS:
            neighbours.agency.rule(address, TO_JUNK if folder else None)
            neighbours.agency.deliver(address, FOREIGN)
        neighbours.agency.share(settings)
        for command in ACL_COMMANDS:
            neighbours.agency.doveadm(command)
        yield neighbours


@pytest.fixture
def systems(machines: MailSystems) -> Iterator[MailSystems]:
    """Mail systems without any forwarding or sharing for us."""
    yield machines
    machines.reference_b.clear_faults()
    machines.agency.refuse()
    for address in (PANTAU, PETI, PRO, WEBMASTER):
        machines.agency.rule(address, None)
        machines.agency.alias(address)
    for file in (machines.agency.directory / "mail").glob("*/Maildir/**/[cn]*/*"):
        if file.parent.name in {"cur", "new"} and b"X-Pantau-Token" in file.read_bytes():
            file.unlink()


def count_probe_mails(systems: MailSystems, address: str, folder: str = "") -> int:
    """Return the number of probe messages, and assert that foreign mail is still there."""
    mails = systems.agency.mails(address, folder)
    assert sum(b"Ada lubang." in mail for mail in mails) == ((address, folder) in FOREIGN_FOLDERS)
    return sum(b"X-Pantau-Token" in mail for mail in mails)


def relays_of(result: ProbeResult) -> list[str]:
    return [hop.by for hop in result.path.hops] if result.path else []


def reason_of(result: ProbeResult) -> str:
    return result.failure.reason if result.failure else ""


# -- another name of a mailbox -----------------------------------------------------------------------------------------


async def test_alias_of_mailbox_delivers_to_that_mailbox_and_bounces_as_copy(
    tmp_path: Path, systems: MailSystems
) -> None:
    systems.agency.alias(PETI, PANTAU)
    async with watch_agency(tmp_path, systems, [SECONDARY]) as watched:
        result = await watched.run("peti.pantau")
        assert (result.outcome, watched.arrivals) == (Outcome.DELIVERED, [])
        assert relays_of(result) == [B, A, A], "the reference, the agency, and its mail store"

        systems.agency.refuse(PANTAU)
        result = await watched.run("peti.pantau")
        assert (result.outcome, reason_of(result)) == (Outcome.BOUNCED, Reason.COPY_RETURNED)
        assert result.failure is not None
        assert "mailbox disabled" in result.failure.detail
        assert result.duration < watched.route("peti.pantau").probing.timeouts.arrival, "a report ends the run"
    assert count_probe_mails(systems, PANTAU) == 0


# -- a forward to a mailbox of the agency ------------------------------------------------------------------------------


async def test_alias_keeping_copy_is_delivered(tmp_path: Path, systems: MailSystems) -> None:
    systems.agency.alias(PRO, PRO, PANTAU)
    async with watch_agency(tmp_path, systems, [FORWARDS]) as watched:
        assert (await watched.run("pro")).outcome is Outcome.DELIVERED
    # The copy is delivered by itself, and may come later.
    await until(lambda: (count_probe_mails(systems, PRO), count_probe_mails(systems, PANTAU)) == (1, 0))
    assert watched.arrivals == []


async def test_alias_and_rule_yield_one_delivery_and_one_duplicate(tmp_path: Path, systems: MailSystems) -> None:
    systems.agency.alias(PRO, PRO, PANTAU)
    systems.agency.rule(PRO, RULE.replace(f"pantau@{REFERENCE_B}", PANTAU))
    async with watch_agency(tmp_path, systems, [FORWARDS]) as watched:
        assert (await watched.run("pro")).outcome is Outcome.DELIVERED
        await watched.arrived("JCONTOH/utama", Arrival.DUPLICATE)
    assert watched.arrivals == [("JCONTOH/utama", Arrival.DUPLICATE)]
    await wait_until_filed(systems, PRO)
    assert count_probe_mails(systems, PANTAU) == 0


async def test_alias_with_one_refusing_member_is_delivered(tmp_path: Path, systems: MailSystems) -> None:
    systems.agency.alias(PRO, f"tolak@{REFERENCE_B}", PANTAU)
    systems.reference_b.inject_fault(EximFault.REFUSES)
    async with watch_agency(tmp_path, systems, [FORWARDS]) as watched:
        for _ in range(3):
            assert (await watched.run("pro")).outcome is Outcome.DELIVERED


# -- a forward out of the agency ---------------------------------------------------------------------------------------


async def test_documented_rule_forwards_only_one_copy_to_reference(tmp_path: Path, systems: MailSystems) -> None:
    systems.agency.rule(WEBMASTER, RULE)
    async with watch_agency(tmp_path, systems, [FORWARDS]) as watched:
        result = await watched.run("webmaster")
    assert (result.outcome, watched.arrivals) == (Outcome.DELIVERED, [])
    assert relays_of(result) == RELAYS
    await wait_until_filed(systems, WEBMASTER)
    await until(lambda: f"forwarded to <pantau@{REFERENCE_B}>" in systems.agency.log())
    assert systems.agency.log().count(f"forwarded to <pantau@{REFERENCE_B}>") == 1


async def wait_until_filed(systems: MailSystems, address: str) -> None:
    """Wait until the rule has filed the kept message into its folder; the copy may arrive earlier."""
    await until(lambda: [count_probe_mails(systems, address, folder) for folder in ("", "Pantau")] == [0, 1])


def forward_by_rule(systems: MailSystems) -> None:
    systems.agency.rule(WEBMASTER, RULE)


def forward_by_alias(systems: MailSystems) -> None:
    systems.agency.alias(WEBMASTER, WEBMASTER, f"pantau@{REFERENCE_B}")


@pytest.mark.parametrize("forward", [forward_by_rule, forward_by_alias])
async def test_refused_copy_is_attributed_to_reference(
    tmp_path: Path, systems: MailSystems, forward: Callable[[MailSystems], None]
) -> None:
    forward(systems)
    systems.reference_b.inject_fault(EximFault.REFUSES)
    async with watch_agency(tmp_path, systems, [FORWARDS]) as watched:
        result = await watched.run("webmaster")
    assert (result.outcome, reason_of(result)) == (Outcome.BOUNCED, Reason.COPY_RETURNED)
    # The kept message may arrive after the bounce; wait, or the next test would find it.
    await until(
        lambda: [count_probe_mails(systems, WEBMASTER, folder) for folder in ("", "Pantau")] in ([1, 0], [0, 1])
    )
    verdict = attribute(watched.route("webmaster"), result, Evidence())
    assert (verdict.grade, verdict.domain, verdict.mailbox) == (Grade.NONE, FaultDomain.REFERENCE, "rujukan-b")


async def test_unforwarded_mail_is_lost(tmp_path: Path, systems: MailSystems) -> None:
    # This server takes mail for every address, as one with a catch-all does.
    async with watch_agency(tmp_path, systems, [SECONDARY, FORWARDS], arrival=SHORT_ARRIVAL) as watched:
        results = await asyncio.gather(*map(watched.run, ("peti.pantau", "pro", "webmaster")))
    assert [result.outcome for result in results] == [Outcome.LOST] * 3
    await until(lambda: [count_probe_mails(systems, address) for address in (PETI, PRO, WEBMASTER)] == [1, 1, 1])


# -- a shared mailbox --------------------------------------------------------------------------------------------------


async def test_shared_mailbox_is_read_and_only_own_mail_deleted(tmp_path: Path, systems: MailSystems) -> None:
    async with watch_agency(tmp_path, systems, [SHARED]) as watched:
        for _ in range(3):
            assert (await watched.run("awam")).outcome is Outcome.DELIVERED
        systems.agency.rule(PRO, TO_JUNK)
        assert (await watched.run("awam")).outcome is Outcome.JUNK
        systems.agency.rule(PRO, "discard;\n")
    assert [count_probe_mails(systems, PRO, folder) for folder in ("", "Junk")] == [0, 0]
    assert watched.arrivals == []


async def test_shared_mailbox_junk_is_distinguished_from_readers_junk(tmp_path: Path, systems: MailSystems) -> None:
    systems.agency.alias(PETI, PANTAU)
    systems.agency.rule(PANTAU, TO_JUNK)
    systems.agency.rule(PRO, TO_JUNK)
    async with watch_agency(tmp_path, systems, [SECONDARY, SHARED]) as watched:
        for _ in range(4):
            results = await asyncio.gather(watched.run("peti.pantau"), watched.run("awam"))
            assert [result.outcome for result in results] == [Outcome.JUNK, Outcome.JUNK]
    assert watched.arrivals == []


async def test_shared_mailbox_without_mail_is_lost(tmp_path: Path, systems: MailSystems) -> None:
    systems.agency.rule(PRO, "discard;\n")
    async with watch_agency(tmp_path, systems, [SHARED], arrival=SHORT_ARRIVAL) as watched:
        assert (await watched.run("awam")).outcome is Outcome.LOST


async def test_shared_mailbox_revoked_permission_is_attributed_to_credentials(
    tmp_path: Path, systems: MailSystems
) -> None:
    for command in ACL_COMMANDS:
        systems.agency.doveadm(command.replace("acl set", "acl delete").removesuffix(_PERMISSIONS))
    async with watch_agency(tmp_path, systems, [SHARED]) as watched:
        result = await watched.run("awam")
    for command in ACL_COMMANDS:
        systems.agency.doveadm(command)
    verdict = attribute(watched.route("awam"), result, Evidence())
    assert (result.outcome, reason_of(result)) == (Outcome.AUTH, Reason.MAILBOX_REFUSED)
    assert (verdict.grade, verdict.domain, verdict.mailbox) == (Grade.NONE, FaultDomain.CREDENTIALS, "JCONTOH/awam")


# -- by hand -----------------------------------------------------------------------------------------------------------


async def test_probe_command_shows_forward_target_and_relays(tmp_path: Path, systems: MailSystems) -> None:
    systems.agency.rule(WEBMASTER, RULE)
    config = write_configuration(tmp_path, systems, [FORWARDS])
    command = ["probe", "JCONTOH", "webmaster", "--verbose", "--config", str(config)]
    ran = await asyncio.to_thread(CliRunner().invoke, app, command, env={**os.environ, "COLUMNS": "80"})

    assert ran.exit_code == 0, ran.output
    assert f"  pantau@rujukan.example -> {WEBMASTER}\n  looked for in pantau@{REFERENCE_B}\n" in ran.output
    assert [line.split()[-1] for line in ran.output.splitlines() if line.startswith("  relay")] == RELAYS
