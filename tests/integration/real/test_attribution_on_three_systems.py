"""Fault attribution with three real mail systems: the broken side is reported, and no other."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from monitor.model.route import Direction
from tests.integration.real.service_under_test import BOTH, RECEIVING, SENDING, service_under_test
from tests.real.exim_courier import EximFault
from tests.real.mail_proxy import MailProxy
from tests.real.mail_systems import MailSystems, PostfixFault

pytestmark = pytest.mark.real

INTERNAL, OUTBOUND, INBOUND = Direction.INTERNAL, Direction.OUTBOUND, Direction.INBOUND


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakage:
    """A fault, its repair, and the incident that is reported."""

    breaks: Callable[[], None]
    repair: Callable[[], None]
    reported: str
    #: Directions that the metrics show as down.
    down: Collection[Direction] = ()


@pytest.fixture(scope="module")
def systems() -> Iterator[MailSystems]:
    if os.geteuid() != 0 or shutil.which("postfix") is None:
        # Not skipped: nothing else tests this with real servers.
        pytest.fail("needs Postfix and Dovecot, Exim and Courier (tests/real/install-debian), and root to start them")
    with MailSystems() as neighbours:
        yield neighbours


async def test_broken_side_is_attributed(tmp_path: Path, systems: MailSystems) -> None:
    async with MailProxy() as line:
        agency, reference_a, reference_b = [await line.proxied(mailbox) for mailbox in systems.mailboxes()]
        async with service_under_test(tmp_path, agency, reference_a, reference_b) as service:
            await service.wait_until_up()
            for breakage in _breakages(systems):
                await asyncio.to_thread(breakage.breaks)
                await service.expect_incident(breakage.reported, breakage.down)
                await asyncio.to_thread(breakage.repair)
                await service.expect_recovery(f"{breakage.reported.partition(':')[0]}: over")

            await line.disconnect()
            await service.expect_incident("ours/network: monitoring_fault", ())
            await line.reconnect()
            await service.expect_recovery("ours/network: over")


def _breakages(systems: MailSystems) -> Iterator[Breakage]:
    agency, a, b = systems.agency, systems.reference_a, systems.reference_b
    for fault, reported, down in (
        (PostfixFault.KEEPS, SENDING, {OUTBOUND}),
        (PostfixFault.MAY_NOT_SEND, SENDING, {INTERNAL, OUTBOUND}),
        (PostfixFault.REFUSES, RECEIVING, {INBOUND}),
        (PostfixFault.LOSES, RECEIVING, {INTERNAL, INBOUND}),
    ):
        yield Breakage(
            breaks=partial(agency.inject_fault, fault), repair=agency.clear_faults, reported=reported, down=down
        )
    yield Breakage(breaks=agency.close_imap, repair=agency.open_imap, reported=RECEIVING, down={INTERNAL, INBOUND})
    yield Breakage(breaks=agency.stop, repair=agency.start, reported=BOTH, down={INTERNAL, OUTBOUND, INBOUND})

    a_is_broken, b_is_broken = (f"ours/reference/rujukan-{each}: monitoring_fault" for each in "ab")
    yield Breakage(breaks=partial(a.inject_fault, PostfixFault.LOSES), repair=a.clear_faults, reported=a_is_broken)
    yield Breakage(breaks=a.stop, repair=a.start, reported=a_is_broken)
    yield Breakage(breaks=partial(b.inject_fault, EximFault.REFUSES), repair=b.clear_faults, reported=b_is_broken)
    yield Breakage(breaks=b.stop, repair=b.start, reported=b_is_broken)
