"""Monitor-only mode: incidents are recorded without notifications, and notified after the mode change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.engine.processing_result import OpenIncident
from alerts.inbound.callback_handler import CallbackHandlers
from alerts.inbound.pin import PinStore
from alerts.inbound.poller import Poller
from alerts.model.channel import Channel
from alerts.model.delivery import NotificationState
from alerts.model.incident import Incident, IncidentState
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.wording.texts import load
from tests.integration.alerts.dispatcher_env import DispatcherEnv, ScriptedGateway, open_dispatcher_env
from tests.unit.alerts.people import MINUTE, SNAPSHOT, trigger


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[DispatcherEnv]:
    async with open_dispatcher_env(tmp_path) as opened:
        yield opened


def of(agency: str) -> PolicySnapshot:
    return replace(SNAPSHOT, agency=agency, office=replace(SNAPSHOT.office, short=agency))


async def outage(env: DispatcherEnv, agency: str = "JCM", matter: IncidentType = IncidentType.BOTH) -> Incident:
    snapshot = of(agency).without_people() if env.is_monitor_only else of(agency)
    opened = await env.submit(trigger(matter, env.clock.now(), snapshot))
    assert opened is not None
    return opened


def notify_from_now(env: DispatcherEnv, snapshot: Callable[[Incident], PolicySnapshot | None] | None = None) -> None:
    """Notify from now on, as a reload does."""
    env.is_monitor_only, env.snapshot = False, snapshot or env.snapshot
    env.dispatcher.wake()


async def test_monitor_only_notifies_nobody_and_notify_mode_everybody(env: DispatcherEnv) -> None:
    env.is_monitor_only, env.snapshot = True, lambda incident: of(incident.policy.agency)
    opened = await outage(env)
    await env.advance(timedelta(hours=30))
    assert (env.calls, await env.notifications(opened.id)) == ([], [])
    shown = OpenIncident(agency="JCM", number=opened.number, opened_at=opened.opened_at)
    assert env.watcher.open == [shown], "it is shown all the same"

    notify_from_now(env)
    await env.settle()
    assert not (await env.incident(opened.id)).policy.has_nobody_to_notify
    first = await env.notifications(opened.id)
    assert [(n.round, n.step) for n in first] == [(0, 0)] * len(first), "the steps missed meanwhile do not all begin"
    assert first
    await env.advance(6 * MINUTE)
    assert {n.step for n in await env.notifications(opened.id)} == {0, 1}, "it goes on"


async def test_outage_within_monitor_only_is_never_notified(env: DispatcherEnv) -> None:
    env.is_monitor_only = True
    opened = await outage(env)
    await env.settle()
    await env.resolve()
    assert await env.active() == [], "it is at rest"

    notify_from_now(env, lambda incident: of(incident.policy.agency))
    await env.advance(timedelta(hours=1))
    assert (env.calls, await env.notifications(opened.id)) == ([], [])


async def test_recovery_during_monitor_only_is_sent_after_mode_change(env: DispatcherEnv) -> None:
    opened = await outage(env)
    told = [n.state for n in await env.notifications(opened.id)]
    assert NotificationState.SENT in told or NotificationState.DELIVERED in told
    asked = len(env.calls)

    env.is_monitor_only = True
    await env.advance(10 * MINUTE)
    await env.resolve()
    await env.advance(timedelta(hours=2))
    assert len(env.calls) == asked, "no gateway is asked for anything"
    assert await env.active() == [opened.id], "something is owed"

    notify_from_now(env)
    await env.advance(2 * MINUTE)
    assert (await env.incident(opened.id)).state is IncidentState.RESOLVED
    assert "recovery" in {n.purpose for n in await env.notifications(opened.id)}


async def test_outages_opened_in_monitor_only_are_bundled_after_mode_change(env: DispatcherEnv) -> None:
    env.is_monitor_only, env.snapshot = True, lambda incident: of(incident.policy.agency)
    for number in range(40):
        await outage(env, f"A{number}")
    notify_from_now(env)
    await env.advance(4 * MINUTE)
    texts = [call for call in env.sms.calls if call.startswith("send")]
    assert 1 <= len(texts) <= 6, "they hear of all of them, and their telephones do not ring forty times"


class Inbox(ScriptedGateway):
    """A gateway whose provider is polled for replies."""

    receives_replies = True

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def collect(self, since: datetime, desk: object) -> None:
        self.asked += 1


async def test_monitor_only_polls_no_provider(env: DispatcherEnv) -> None:
    inbox = Inbox()
    pool = GatewayPool([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=inbox)])
    desks = CallbackHandlers(
        dispatcher=env.dispatcher,
        store=env.store,
        wording=load(),
        pins=lambda: PinStore({}),
        clock=env.clock,
    )
    poller = Poller(
        store=env.store,
        pool=pool,
        callback_handlers=desks,
        clock=env.clock,
        is_monitor_only=lambda: env.is_monitor_only,
    )
    env.is_monitor_only = True
    await outage(env)
    await poller.poll()
    assert inbox.asked == 0
    env.is_monitor_only = False
    await poller.poll()
    assert inbox.asked == 1


async def test_unmonitored_agency_incident_stays_without_contacts(env: DispatcherEnv) -> None:
    env.is_monitor_only = True
    opened = await outage(env)
    notify_from_now(env, lambda _: None)
    await env.advance(timedelta(hours=1))
    assert env.calls == []
    assert (await env.incident(opened.id)).policy.has_nobody_to_notify
