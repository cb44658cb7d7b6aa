"""The engine at rest: what is found out is written down, and nobody is told; afterwards people are told what is true then."""

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
from tests.integration.alerts.station import Scripted, Station, station_at
from tests.unit.alerts.people import BRIEF, MINUTE, trigger


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[Station]:
    async with station_at(tmp_path) as opened:
        yield opened


def of(agency: str) -> PolicySnapshot:
    return replace(BRIEF, agency=agency, office=replace(BRIEF.office, short=agency))


async def outage(station: Station, agency: str = "JCM", matter: IncidentType = IncidentType.BOTH) -> Incident:
    brief = of(agency).without_people() if station.is_monitor_only else of(agency)
    opened = await station.submit(trigger(matter, station.clock.now(), brief))
    assert opened is not None
    return opened


def tell(station: Station, brief: Callable[[Incident], PolicySnapshot | None] | None = None) -> None:
    """Let people be told from now on, as a reload does."""
    station.is_monitor_only, station.brief = False, brief or station.brief
    station.dispatcher.wake()


async def test_nobody_is_told_while_it_rests_and_everybody_is_from_then_on(station: Station) -> None:
    station.is_monitor_only, station.brief = True, lambda incident: of(incident.policy.agency)
    opened = await outage(station)
    await station.advance(timedelta(hours=30))
    assert (station.calls, await station.notifications(opened.id)) == ([], [])
    shown = OpenIncident(agency="JCM", number=opened.number, opened_at=opened.opened_at)
    assert station.watcher.open == [shown], "it is shown all the same"

    tell(station)
    await station.settle()
    assert not (await station.incident(opened.id)).policy.has_nobody_to_notify
    first = await station.notifications(opened.id)
    assert [(n.round, n.step) for n in first] == [(0, 0)] * len(first), "the steps missed meanwhile do not all begin"
    assert first
    await station.advance(6 * MINUTE)
    assert {n.step for n in await station.notifications(opened.id)} == {0, 1}, "it goes on"


async def test_of_what_began_and_ended_meanwhile_nobody_ever_hears(station: Station) -> None:
    station.is_monitor_only = True
    opened = await outage(station)
    await station.settle()
    await station.resolve()
    assert await station.active() == [], "it is at rest"

    tell(station, lambda incident: of(incident.policy.agency))
    await station.advance(timedelta(hours=1))
    assert (station.calls, await station.notifications(opened.id)) == ([], [])


async def test_whoever_was_told_before_hears_that_it_is_over_when_people_are_told_again(station: Station) -> None:
    opened = await outage(station)
    told = [n.state for n in await station.notifications(opened.id)]
    assert NotificationState.SENT in told or NotificationState.DELIVERED in told
    asked = len(station.calls)

    station.is_monitor_only = True
    await station.advance(10 * MINUTE)
    await station.resolve()
    await station.advance(timedelta(hours=2))
    assert len(station.calls) == asked, "no gateway is asked for anything"
    assert await station.active() == [opened.id], "something is owed"

    tell(station)
    await station.advance(2 * MINUTE)
    assert (await station.incident(opened.id)).state is IncidentState.RESOLVED
    assert "recovery" in {n.purpose for n in await station.notifications(opened.id)}


async def test_a_hundred_that_opened_meanwhile_are_told_together(station: Station) -> None:
    station.is_monitor_only, station.brief = True, lambda incident: of(incident.policy.agency)
    for number in range(40):
        await outage(station, f"A{number}")
    tell(station)
    await station.advance(4 * MINUTE)
    texts = [call for call in station.sms.calls if call.startswith("send")]
    assert 1 <= len(texts) <= 6, "they hear of all of them, and their telephones do not ring forty times"


class Inbox(Scripted):
    """A gateway whose provider is asked what people have answered."""

    receives_replies = True

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def collect(self, since: datetime, desk: object) -> None:
        self.asked += 1


async def test_no_provider_is_asked_for_answers_while_it_rests(station: Station) -> None:
    inbox = Inbox()
    pool = GatewayPool([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=inbox)])
    desks = CallbackHandlers(
        dispatcher=station.dispatcher,
        store=station.store,
        wording=load(),
        pins=lambda: PinStore({}),
        clock=station.clock,
    )
    poller = Poller(
        store=station.store,
        pool=pool,
        callback_handlers=desks,
        clock=station.clock,
        is_monitor_only=lambda: station.is_monitor_only,
    )
    station.is_monitor_only = True
    await outage(station)
    await poller.poll()
    assert inbox.asked == 0
    station.is_monitor_only = False
    await poller.poll()
    assert inbox.asked == 1


async def test_one_whose_agency_is_watched_no_more_stays_as_it_is(station: Station) -> None:
    station.is_monitor_only = True
    opened = await outage(station)
    tell(station, lambda _: None)
    await station.advance(timedelta(hours=1))
    assert station.calls == []
    assert (await station.incident(opened.id)).policy.has_nobody_to_notify
