"""Addresses without a login of their own, on three real mail systems, set up as docs/how-to/operator/shared-mailboxes.md says."""

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
from tests.integration.probes.postroom import configured, postroom
from tests.leaflet import examples
from tests.real.neighbours import AGENCY, REFERENCE_B, Neighbours
from tests.real.othermail import LivenessFailure
from tests.unit.probes.standin import until

pytestmark = pytest.mark.real

SECONDARY, SHARED, FORWARDS = (yaml.safe_load(text) for text in examples("yaml"))
(SHARING,) = examples("conf")
RIGHTS = examples("sh")[0].splitlines()
(RULE,) = examples("sieve")

PANTAU, PETI, PRO, WEBMASTER = (f"{name}@{AGENCY}" for name in ("pantau", "peti.pantau", "pro", "webmaster"))
#: Where mail of somebody else lies all the time.
FOREIGN_MAIL = [(PANTAU, "Junk"), (PANTAU, ""), (PRO, "Junk"), (PRO, ""), (WEBMASTER, "")]
FOREIGN = b"From: rakyat@luar.example\r\nSubject: Aduan jalan\r\n\r\nAda lubang.\r\n"
A, B = f"mel.{AGENCY}", f"mel.{REFERENCE_B}"
#: A quarter of it is what the last look has before mail is called lost.
SOON = "10s"
#: Of a copy that a rule sends on: our submission, the agency, its mail store, the agency again, the other reference.
WAY = ["mel.rujukan.example", A, A, A, B]
#: To the account that looks into the shared mailbox.
_GIVEN = " lookup read write-deleted expunge"
TO_JUNK = 'require ["fileinto"];\nfileinto "Junk";\n'


@pytest.fixture(scope="module")
def machines() -> Iterator[Neighbours]:
    if os.geteuid() != 0 or shutil.which("postfix") is None:
        pytest.fail("needs Postfix and Dovecot, Exim and Courier (tests/real/install-debian), and root to start them")
    with Neighbours() as neighbours:
        settings = SHARING.replace("/var/lib/dovecot/", f"{neighbours.agency.directory}/mail/")
        assert settings != SHARING
        for address, folder in FOREIGN_MAIL:
            neighbours.agency.rule(address, TO_JUNK if folder else None)
            neighbours.agency.deliver(address, FOREIGN)
        neighbours.agency.share(settings)
        for command in RIGHTS:
            neighbours.agency.doveadm(command)
        yield neighbours


@pytest.fixture
def systems(machines: Neighbours) -> Iterator[Neighbours]:
    """Return them as they are before an administrator has done anything for us."""
    yield machines
    machines.reference_b.recover()
    machines.agency.refuse()
    for address in (PANTAU, PETI, PRO, WEBMASTER):
        machines.agency.rule(address, None)
        machines.agency.alias(address)
    for file in (machines.agency.directory / "mail").glob("*/Maildir/**/[cn]*/*"):
        if file.parent.name in {"cur", "new"} and b"X-Pantau-Token" in file.read_bytes():
            file.unlink()


def ours(systems: Neighbours, address: str, folder: str = "") -> int:
    """Return how many messages of ours are there; everybody else's are, too."""
    mails = systems.agency.mails(address, folder)
    assert sum(b"Ada lubang." in mail for mail in mails) == ((address, folder) in FOREIGN_MAIL)
    return sum(b"X-Pantau-Token" in mail for mail in mails)


def relays(result: ProbeResult) -> list[str]:
    return [hop.by for hop in result.path.hops] if result.path else []


def reason(result: ProbeResult) -> str:
    return result.failure.reason if result.failure else ""


# -- another name of a mailbox -----------------------------------------------------------------------------------------


async def test_mail_to_another_name_lies_in_the_mailbox_that_it_is_a_name_of(
    tmp_path: Path, systems: Neighbours
) -> None:
    systems.agency.alias(PETI, PANTAU)
    async with postroom(tmp_path, systems, [SECONDARY]) as room:
        result = await room.run("peti.pantau")
        assert (result.outcome, room.arrivals) == (Outcome.DELIVERED, [])
        assert relays(result) == [B, A, A], "the reference, the agency, and its mail store"

        systems.agency.refuse(PANTAU)
        result = await room.run("peti.pantau")
        assert (result.outcome, reason(result)) == (Outcome.BOUNCED, Reason.COPY_RETURNED)
        assert result.failure is not None
        assert "mailbox disabled" in result.failure.detail
        assert result.duration < room.route("peti.pantau").probing.timeouts.arrival, "a report ends the run"
    assert ours(systems, PANTAU) == 0


# -- a forward to a mailbox of the agency ------------------------------------------------------------------------------


async def test_an_alias_that_keeps_a_copy(tmp_path: Path, systems: Neighbours) -> None:
    systems.agency.alias(PRO, PRO, PANTAU)
    async with postroom(tmp_path, systems, [FORWARDS]) as room:
        assert (await room.run("pro")).outcome is Outcome.DELIVERED
    # The copy is delivered by itself, and may come later.
    await until(lambda: (ours(systems, PRO), ours(systems, PANTAU)) == (1, 0))
    assert room.arrivals == []


async def test_an_alias_and_a_rule_make_one_success_and_one_duplicate(tmp_path: Path, systems: Neighbours) -> None:
    systems.agency.alias(PRO, PRO, PANTAU)
    systems.agency.rule(PRO, RULE.replace(f"pantau@{REFERENCE_B}", PANTAU))
    async with postroom(tmp_path, systems, [FORWARDS]) as room:
        assert (await room.run("pro")).outcome is Outcome.DELIVERED
        await room.arrived("JCONTOH/utama", Arrival.DUPLICATE)
    assert room.arrivals == [("JCONTOH/utama", Arrival.DUPLICATE)]
    await out_of_the_way(systems, PRO)
    assert ours(systems, PANTAU) == 0


async def test_one_of_several_behind_an_address_may_be_gone(tmp_path: Path, systems: Neighbours) -> None:
    systems.agency.alias(PRO, f"tolak@{REFERENCE_B}", PANTAU)
    systems.reference_b.fall(LivenessFailure.REFUSES)
    async with postroom(tmp_path, systems, [FORWARDS]) as room:
        for _ in range(3):
            assert (await room.run("pro")).outcome is Outcome.DELIVERED


# -- a forward out of the agency ---------------------------------------------------------------------------------------


async def test_the_rule_of_the_document_sends_a_copy_to_a_reference_and_nothing_else(
    tmp_path: Path, systems: Neighbours
) -> None:
    systems.agency.rule(WEBMASTER, RULE)
    async with postroom(tmp_path, systems, [FORWARDS]) as room:
        result = await room.run("webmaster")
    assert (result.outcome, room.arrivals) == (Outcome.DELIVERED, [])
    assert relays(result) == WAY
    await out_of_the_way(systems, WEBMASTER)
    await until(lambda: f"forwarded to <pantau@{REFERENCE_B}>" in systems.agency.log())
    assert systems.agency.log().count(f"forwarded to <pantau@{REFERENCE_B}>") == 1


async def out_of_the_way(systems: Neighbours, address: str) -> None:
    """Wait until what the rule keeps lies in its folder and not among people's mail; the copy may be there before."""
    await until(lambda: [ours(systems, address, folder) for folder in ("", "Pantau")] == [0, 1])


def by_rule(systems: Neighbours) -> None:
    systems.agency.rule(WEBMASTER, RULE)


def by_alias(systems: Neighbours) -> None:
    systems.agency.alias(WEBMASTER, WEBMASTER, f"pantau@{REFERENCE_B}")


@pytest.mark.parametrize("forward", [by_rule, by_alias])
async def test_a_copy_that_is_refused_is_no_fault_of_the_agency(
    tmp_path: Path, systems: Neighbours, forward: Callable[[Neighbours], None]
) -> None:
    forward(systems)
    systems.reference_b.fall(LivenessFailure.REFUSES)
    async with postroom(tmp_path, systems, [FORWARDS]) as room:
        result = await room.run("webmaster")
    assert (result.outcome, reason(result)) == (Outcome.BOUNCED, Reason.COPY_RETURNED)
    # What is kept may come after what was sent on is back; the next test would find it.
    await until(lambda: [ours(systems, WEBMASTER, folder) for folder in ("", "Pantau")] in ([1, 0], [0, 1]))
    verdict = attribute(room.route("webmaster"), result, Evidence())
    assert (verdict.grade, verdict.domain, verdict.mailbox) == (Grade.NONE, FaultDomain.REFERENCE, "rujukan-b")


async def test_what_is_not_forwarded_is_lost(tmp_path: Path, systems: Neighbours) -> None:
    # This server takes mail for every address, as one with a catch-all does.
    async with postroom(tmp_path, systems, [SECONDARY, FORWARDS], arrival=SOON) as room:
        results = await asyncio.gather(*map(room.run, ("peti.pantau", "pro", "webmaster")))
    assert [result.outcome for result in results] == [Outcome.LOST] * 3
    await until(lambda: [ours(systems, address) for address in (PETI, PRO, WEBMASTER)] == [1, 1, 1])


# -- a shared mailbox --------------------------------------------------------------------------------------------------


async def test_a_shared_mailbox_is_read_and_only_our_mail_deleted(tmp_path: Path, systems: Neighbours) -> None:
    async with postroom(tmp_path, systems, [SHARED]) as room:
        for _ in range(3):
            assert (await room.run("awam")).outcome is Outcome.DELIVERED
        systems.agency.rule(PRO, TO_JUNK)
        assert (await room.run("awam")).outcome is Outcome.JUNK
        systems.agency.rule(PRO, "discard;\n")
    assert [ours(systems, PRO, folder) for folder in ("", "Junk")] == [0, 0]
    assert room.arrivals == []


async def test_the_junk_of_a_shared_mailbox_and_of_who_reads_it_are_told_apart(
    tmp_path: Path, systems: Neighbours
) -> None:
    systems.agency.alias(PETI, PANTAU)
    systems.agency.rule(PANTAU, TO_JUNK)
    systems.agency.rule(PRO, TO_JUNK)
    async with postroom(tmp_path, systems, [SECONDARY, SHARED]) as room:
        for _ in range(4):
            results = await asyncio.gather(room.run("peti.pantau"), room.run("awam"))
            assert [result.outcome for result in results] == [Outcome.JUNK, Outcome.JUNK]
    assert room.arrivals == []


async def test_mail_that_never_comes_to_a_shared_mailbox_is_lost(tmp_path: Path, systems: Neighbours) -> None:
    systems.agency.rule(PRO, "discard;\n")
    async with postroom(tmp_path, systems, [SHARED], arrival=SOON) as room:
        assert (await room.run("awam")).outcome is Outcome.LOST


async def test_a_right_that_is_taken_from_us_is_no_fault_of_the_mail(tmp_path: Path, systems: Neighbours) -> None:
    for command in RIGHTS:
        systems.agency.doveadm(command.replace("acl set", "acl delete").removesuffix(_GIVEN))
    async with postroom(tmp_path, systems, [SHARED]) as room:
        result = await room.run("awam")
    for command in RIGHTS:
        systems.agency.doveadm(command)
    verdict = attribute(room.route("awam"), result, Evidence())
    assert (result.outcome, reason(result)) == (Outcome.AUTH, Reason.MAILBOX_REFUSED)
    assert (verdict.grade, verdict.domain, verdict.mailbox) == (Grade.NONE, FaultDomain.CREDENTIALS, "JCONTOH/awam")


# -- by hand -----------------------------------------------------------------------------------------------------------


async def test_the_command_shows_where_a_forwarded_message_is_looked_for_and_its_way(
    tmp_path: Path, systems: Neighbours
) -> None:
    systems.agency.rule(WEBMASTER, RULE)
    config = configured(tmp_path, systems, [FORWARDS])
    command = ["probe", "JCONTOH", "webmaster", "--verbose", "--config", str(config)]
    ran = await asyncio.to_thread(CliRunner().invoke, app, command, env={**os.environ, "COLUMNS": "80"})

    assert ran.exit_code == 0, ran.output
    assert f"  pantau@rujukan.example -> {WEBMASTER}\n  looked for in pantau@{REFERENCE_B}\n" in ran.output
    assert [line.split()[-1] for line in ran.output.splitlines() if line.startswith("  relay")] == WAY
