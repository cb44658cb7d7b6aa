"""A clock that is set back by hours during an outage delays no notification.

This happens when a hardware clock keeps local time and NTP corrects it some minutes after the boot.
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
from monitor.store.schema.tables import UtcDateTime
from tests.integration.alerts.dispatcher_env import DispatcherEnv, open_dispatcher_env
from tests.unit.alerts.people import MINISTRY, MINUTE, POLICY, RAVI, SNAPSHOT, T0, trigger

pytestmark = pytest.mark.blind

HOUR = timedelta(hours=1)
BACK = 8 * HOUR

PLAN = replace(
    SNAPSHOT,
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

#: What people do and probes measure, by minutes after the beginning.
EVENTS = {
    80: "acknowledge",
    145: "release",
    180: "resolve",
}


class TimedEnv(DispatcherEnv):
    """An environment that counts the time that has passed, whatever its clock shows."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        # Nobody answers a call, and receipts are not polled every half minute.
        self.voice.happens.extend([SubmissionState.FAILED] * 100)
        for gateway in (self.sms, self.fax, self.tray):
            gateway.happens.extend([SubmissionState.DELIVERED] * 100)
        self.set_back = timedelta(0)
        #: What was sent, and in which minute.
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
    """Run an outage of three hours; return what was sent in which minute. *back_at*: minutes of a clock change."""
    async with open_dispatcher_env(directory) as opened:
        env = TimedEnv(opened.database)
        await env.submit(trigger(snapshot=PLAN, at=env.clock.now()))
        passed = 0
        for minute, deed in sorted({**EVENTS, **dict.fromkeys(back_at, "set back")}.items()):
            await env.advance((minute - passed) * MINUTE)
            passed = minute
            if deed != "set back":
                await env.submit(event(deed, env.clock.now()))
                continue
            env.set_clock_back()
            if restarts:
                env.restart()
                # Each start is audited before any incident is processed.
                async with env.store.transaction() as uow:
                    await uow.add_audit_entry(AuditEntry(at=env.clock.now(), actor="pantau", event="service started"))
        await env.advance(10 * MINUTE)
        return env.left


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Sequence[tuple[int, str]]:
    """Return what is sent in which minute with a correct clock."""
    return asyncio.run(outage(tmp_path_factory.mktemp("plain")))


async def test_clock_set_back_six_times_sends_everything_in_same_minute(
    tmp_path: Path, undisturbed: Sequence[tuple[int, str]]
) -> None:
    """Defect: After a clock is set back by eight hours, calls stop for 465 minutes and no release is offered.

    Pantau: Stored times move back, so everything leaves in the same minute, after six such changes too.
    """
    assert await outage(tmp_path, back_at=(2, 7, 33, 77, 85, 178)) == undisturbed


async def test_clock_set_back_after_opening_moves_start_out_of_future(tmp_path: Path) -> None:
    """Defect: An outage acknowledged right after a clock is set back keeps a start in the future.

    Pantau: Its times move although the engine has not processed it.
    """
    async with open_dispatcher_env(tmp_path) as opened:
        env = TimedEnv(opened.database)
        await env.submit(trigger(snapshot=PLAN, at=env.clock.now()))
        env.set_clock_back()
        await env.submit(event("acknowledge", env.clock.now()))
        incident = await env.incident()
        assert (incident.opened_at, incident.began_at) == (T0 - BACK, T0 - BACK - MINUTE)
        assert incident.reported_type_began_at == incident.began_at


@pytest.mark.parametrize("instants", TABLES, ids=lambda each: each.table.name)
def test_clock_set_back_moves_all_time_columns(instants: TimeColumns) -> None:
    """Defect: A new time column is forgotten when a clock is set back.

    Pantau: Every time column of an incident moves, later ones included.
    """
    columns = {column.name for column in instants.table.c if isinstance(column.type, UtcDateTime)}
    elsewhere = {"incident": {"owned_until"}, "drill": {"ended_at"}}.get(instants.table.name, set())
    assert columns - elsewhere == {*instants.columns}


async def test_clock_set_back_before_restart_delays_at_most_time_since_last_entry(
    tmp_path: Path, undisturbed: Sequence[tuple[int, str]]
) -> None:
    """Defect: A clock set back before a restart is not noticed.

    Pantau: Times move before the first incident is processed, and nothing waits longer than once more.
    """
    # The last entry was written in minute 5, two before.
    played = await outage(tmp_path, back_at=[7], restarts=True)
    assert [what for _, what in played] == [what for _, what in undisturbed]
    assert max(came - due for (came, _), (due, _) in zip(played, undisturbed, strict=True)) == 2
