"""The machine's clock is set back by hours while an outage runs: nobody waits until it has caught up.

As where a machine keeps local time in its hardware clock, boots, and is put right by NTP some minutes later.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from alerts.model.channel import Channel
from alerts.model.event import Acknowledge, Event, Release, Resolve
from alerts.model.gateway import SubmissionState
from alerts.model.policy_snapshot import AnnouncementPlan, RedialPolicy
from alerts.persistence.store import AuditEntry
from monitor.store.backend.database import Database
from monitor.store.engine.clock_set_back import TABLES, TimeColumns
from monitor.store.schema.tables import Moment
from tests.integration.alerts.station import Station, station_at
from tests.unit.alerts.people import BRIEF, MINISTRY, MINUTE, POLICY, RAVI, T0, trigger

pytestmark = pytest.mark.blind

HOUR = timedelta(hours=1)
BACK = 8 * HOUR

PLAN = replace(
    BRIEF,
    escalation=replace(
        POLICY,
        steps=(
            POLICY.steps[0],
            replace(POLICY.steps[1], redial=RedialPolicy(interval=5 * MINUTE, times=3)),
            replace(POLICY.steps[1], after=30 * MINUTE, contacts=(RAVI,), channels=(Channel.SMS,)),
        ),
        rounds=2,
        repeat_after=30 * MINUTE,
        acknowledgement_timeout=40 * MINUTE,
    ),
    announcement=AnnouncementPlan(recipients=(MINISTRY,), release_offered_after=30 * MINUTE),
)

#: What people do and what is measured, by how long after the beginning.
EVENTS = {
    80: "acknowledge",
    145: "release",
    180: "resolve",
}


class Played(Station):
    """A station that counts the time that has passed, whatever its clock says."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        # Nobody takes a call. What arrives is not asked about every half a minute.
        self.voice.happens.extend([SubmissionState.FAILED] * 100)
        for gateway in (self.sms, self.fax, self.tray):
            gateway.happens.extend([SubmissionState.DELIVERED] * 100)
        self.set_back = timedelta(0)
        #: What left, and in which minute.
        self.left: list[tuple[int, str]] = []

    def set_clock_back(self) -> None:
        self.clock.moment -= BACK
        self.set_back += BACK

    async def settle(self) -> datetime | None:
        wake = await super().settle()
        new = Counter(sent for gateway in self.gateways for sent in gateway.sent)
        new.subtract(what for _, what in self.left)
        minute = round((self.clock.now() - T0 + self.set_back) / MINUTE)
        self.left += [(minute, what) for what in new.elements()]
        return wake


def event(name: str, now: datetime) -> Event:
    match name:
        case "acknowledge":
            return Acknowledge(incident_id=1, at=now, by="Siti Contoh")
        case "release":
            return Release(incident_id=1, at=now, by="Siti Contoh")
        case _:
            return Resolve(dedup_key="JCM", at=now, ended_at=now)


async def outage(
    directory: Path, *, back_at: Collection[int] = (), restarts: bool = False
) -> Sequence[tuple[int, str]]:
    """Play an outage of three hours; return what left in which minute. *back_at*: in which the clock is set back."""
    async with station_at(directory) as opened:
        station = Played(opened.database)
        await station.submit(trigger(brief=PLAN, at=station.clock.now()))
        passed = 0
        for minute, deed in sorted({**EVENTS, **dict.fromkeys(back_at, "set back")}.items()):
            await station.advance((minute - passed) * MINUTE)
            passed = minute
            if deed != "set back":
                await station.submit(event(deed, station.clock.now()))
                continue
            station.set_clock_back()
            if restarts:
                station.restart()
                # As each start says, before anything is looked at.
                async with station.store.transaction() as uow:
                    await uow.add_audit_entry(
                        AuditEntry(at=station.clock.now(), actor="pantau", event="service started")
                    )
        await station.advance(10 * MINUTE)
        return station.left


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Sequence[tuple[int, str]]:
    """Return what leaves in which minute while the clock goes right."""
    return asyncio.run(outage(tmp_path_factory.mktemp("plain")))


async def test_outage_clock_set_back_six_times_everything_leaves_in_same_minute(
    tmp_path: Path, plain: Sequence[tuple[int, str]]
) -> None:
    """Defect: After a clock is set back by eight hours, calls stop for 465 minutes and no release is offered.

    Pantau: Stored times move back, so everything leaves in the same minute, after six such changes too.
    """
    assert await outage(tmp_path, back_at=(2, 7, 33, 77, 85, 178)) == plain


async def test_outage_clock_set_back_and_acknowledged_at_once_did_not_begin_in_the_future(tmp_path: Path) -> None:
    """Defect: An outage acknowledged right after a clock is set back keeps a start in the future.

    Pantau: Its times move although the engine has not processed it.
    """
    async with station_at(tmp_path) as opened:
        station = Played(opened.database)
        await station.submit(trigger(brief=PLAN, at=station.clock.now()))
        station.set_clock_back()
        await station.submit(event("acknowledge", station.clock.now()))
        incident = await station.incident()
        assert (incident.opened_at, incident.began_at) == (T0 - BACK, T0 - BACK - MINUTE)
        assert incident.reported_type_began_at == incident.began_at


@pytest.mark.parametrize("instants", TABLES, ids=lambda each: each.table.name)
def test_clock_set_back_moves_every_instant_of_a_table(instants: TimeColumns) -> None:
    """Defect: A new time column is forgotten when a clock is set back.

    Pantau: Every time column of an incident moves, later ones included.
    """
    columns = {column.name for column in instants.table.c if isinstance(column.type, Moment)}
    elsewhere = {"incident": {"owned_until"}, "drill": {"ended_at"}}.get(instants.table.name, set())
    assert columns - elsewhere == {*instants.columns}


async def test_outage_clock_set_back_before_restart_delays_by_no_more_than_time_since_last_entry(
    tmp_path: Path, plain: Sequence[tuple[int, str]]
) -> None:
    """Defect: A clock set back before a restart is not noticed.

    Pantau: Times move before the first incident is processed, and nothing waits longer than once more.
    """
    # Something was last written in minute 5, two before.
    played = await outage(tmp_path, back_at=[7], restarts=True)
    assert [what for _, what in played] == [what for _, what in plain]
    assert max(came - due for (came, _), (due, _) in zip(played, plain, strict=True)) == 2
