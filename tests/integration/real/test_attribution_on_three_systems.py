"""Whichever side of three real mail systems is broken, that side is named, and no other."""

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
from tests.integration.real.watchpost import BOTH, RECEIVING, SENDING, watchpost
from tests.real.line import Line
from tests.real.neighbours import LivenessFailure, Neighbours
from tests.real.othermail import LivenessFailure as OtherAilment

pytestmark = pytest.mark.real

INTERNAL, OUTBOUND, INBOUND = Direction.INTERNAL, Direction.OUTBOUND, Direction.INBOUND


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakage:
    """Something that breaks, and what is told of it."""

    breaks: Callable[[], None]
    repair: Callable[[], None]
    told: str
    #: What Prometheus is shown to be down.
    down: Collection[Direction] = ()


@pytest.fixture(scope="module")
def systems() -> Iterator[Neighbours]:
    if os.geteuid() != 0 or shutil.which("postfix") is None:
        # Never skipped quietly: what this shows cannot be shown without the real servers.
        pytest.fail("needs Postfix and Dovecot, Exim and Courier (tests/real/install-debian), and root to start them")
    with Neighbours() as neighbours:
        yield neighbours


async def test_the_side_that_is_named_is_the_one_that_is_broken(tmp_path: Path, systems: Neighbours) -> None:
    async with Line() as line:
        agency, reference_a, reference_b = [await line.to(mailbox) for mailbox in systems.mailboxes()]
        async with watchpost(tmp_path, agency, reference_a, reference_b) as post:
            await post.is_warm()
            for breakage in _breakages(systems):
                await asyncio.to_thread(breakage.breaks)
                await post.is_told(breakage.told, breakage.down)
                await asyncio.to_thread(breakage.repair)
                await post.is_well(f"{breakage.told.partition(':')[0]}: over")

            await line.cut()
            await post.is_told("ours/network: monitoring_fault", ())
            await line.mend()
            await post.is_well("ours/network: over")


def _breakages(systems: Neighbours) -> Iterator[Breakage]:
    agency, a, b = systems.agency, systems.reference_a, systems.reference_b
    for ailment, told, down in (
        (LivenessFailure.KEEPS, SENDING, {OUTBOUND}),
        (LivenessFailure.MAY_NOT_SEND, SENDING, {INTERNAL, OUTBOUND}),
        (LivenessFailure.REFUSES, RECEIVING, {INBOUND}),
        (LivenessFailure.LOSES, RECEIVING, {INTERNAL, INBOUND}),
    ):
        yield Breakage(breaks=partial(agency.fall, ailment), repair=agency.recover, told=told, down=down)
    yield Breakage(breaks=agency.close_imap, repair=agency.open_imap, told=RECEIVING, down={INTERNAL, INBOUND})
    yield Breakage(breaks=agency.stop, repair=agency.start, told=BOTH, down={INTERNAL, OUTBOUND, INBOUND})

    a_is_broken, b_is_broken = (f"ours/reference/rujukan-{each}: monitoring_fault" for each in "ab")
    yield Breakage(breaks=partial(a.fall, LivenessFailure.LOSES), repair=a.recover, told=a_is_broken)
    yield Breakage(breaks=a.stop, repair=a.start, told=a_is_broken)
    yield Breakage(breaks=partial(b.fall, OtherAilment.REFUSES), repair=b.recover, told=b_is_broken)
    yield Breakage(breaks=b.stop, repair=b.start, told=b_is_broken)
