"""Addresses without a login of their own, on three real mail systems, set up as docs/forwarding.md says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from monitor.attribution import Blame, weigh
from monitor.evidence import Evidence
from monitor.health import Grade
from probes.reply import Reason
from probes.result import Arrival, Outcome, ProbeResult
from tests.integration.probes.postroom import postroom
from tests.leaflet import examples
from tests.real.neighbours import AGENCY, Neighbours
from tests.real.othermail import Ailment

SECONDARY, SHARED, FORWARDS = (yaml.safe_load(text) for text in examples("yaml"))
(SHARING,) = examples("conf")
RIGHTS = examples("sh")[0].replace("doveadm ", "").splitlines()
(RULE,) = examples("sieve")

PANTAU, PETI, PRO, WEBMASTER = (f"{name}@{AGENCY}" for name in ("pantau", "peti.pantau", "pro", "webmaster"))
FOREIGN = b"From: rakyat@luar.example\r\nSubject: Aduan jalan\r\n\r\nAda lubang.\r\n"
FULL = 'require ["ereject"];\nereject "552 5.2.2 peti penuh";\n'
TO_JUNK = 'require ["fileinto"];\nfileinto "Junk";\n'


@pytest.fixture(scope="module")
def machines() -> Iterator[Neighbours]:
    if os.geteuid() != 0 or shutil.which("postfix") is None:
        pytest.fail("needs Postfix and Dovecot, Exim and Courier (tests/real/install-debian), and root to start them")
    with Neighbours() as neighbours:
        settings = SHARING.replace("/var/lib/dovecot/", f"{neighbours.agency.directory}/mail/")
        assert settings != SHARING
        for address in (PANTAU, PRO):
            neighbours.agency.deliver(address, FOREIGN)
        neighbours.agency.share(settings, *RIGHTS)
        yield neighbours


@pytest.fixture
def systems(machines: Neighbours) -> Iterator[Neighbours]:
    """Return them as they are before an administrator has done anything for us."""
    yield machines
    machines.reference_b.recover()
    for address in (PANTAU, PETI, PRO, WEBMASTER):
        machines.agency.rule(address, None)
        machines.agency.alias(address)


def ours(systems: Neighbours, address: str, folder: str = "") -> int:
    return sum(b"X-Pantau-Token" in mail for mail in systems.agency.mails(address, folder))


def relays(result: ProbeResult) -> list[str]:
    return [hop.by for hop in result.path.hops] if result.path else []


async def test_all(tmp_path: Path, systems: Neighbours) -> None:
    agency = systems.agency
    agency.alias(PETI, PANTAU)
    agency.alias(PRO, PRO, PANTAU)
    agency.rule(WEBMASTER, RULE)
    async with postroom(tmp_path, systems, [SECONDARY, SHARED, FORWARDS]) as room:
        for each in ("peti.pantau", "awam", "pro", "webmaster"):
            result = await room.run(each)
            print(each, result, relays(result))
        print(room.arrivals)
    for a in (PANTAU, PETI, PRO, WEBMASTER):
        print(a, len(agency.mails(a)), ours(systems, a), ours(systems, a, "Pantau"))
    print(agency.log()[-3000:])
