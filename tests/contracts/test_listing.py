"""Paged lists of incidents and notifications on both stores: filters and order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import delete

from alerts.model.delivery import NotificationState
from alerts.model.event import Acknowledge, Resolve
from alerts.model.incident import Incident, IncidentState, apply
from monitor.service.errors import NotFoundError
from monitor.service.status_reader import StatusReader
from monitor.store.backend.database import Database
from monitor.store.engine.listing import IncidentFilter, NotificationFilter
from monitor.store.engine.unit_of_work import SqlStore, SqlUnitOfWork
from monitor.store.schema.tables import notification, notification_incident
from tests.contracts.test_store import draft
from tests.unit.alerts.people import SMS_SITI, SNAPSHOT, T0, trigger

HOUR = timedelta(hours=1)
OPEN_STATES = {IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED}


def board(store: SqlStore) -> StatusReader:
    """Return a status reader with the store only."""
    nothing = cast(Any, SimpleNamespace())
    return StatusReader(
        store=store,
        history=nothing,
        days=nothing,
        gateway_pool=nothing,
        clock=nothing,
        runtime=nothing,
        self_health_inputs=nothing,
    )


async def open_incident(uow: SqlUnitOfWork, agency: str, at: datetime = T0) -> Incident:
    snapshot = replace(SNAPSHOT, agency=agency, office=replace(SNAPSHOT.office, short=agency))
    return (await uow.add_incidents([trigger(at=at, snapshot=snapshot)]))[0]


async def resolve_incident(uow: SqlUnitOfWork, found: Incident) -> None:
    over = apply(
        found, Resolve(dedup_key=found.policy.agency, at=found.opened_at + HOUR, ended_at=found.opened_at + HOUR)
    )
    await uow.save_incident(over)


async def add_incidents(store: SqlStore, agencies: Sequence[str], *, still_open: Sequence[int]) -> list[str]:
    """Open an incident per hour for each agency; resolve all but *still_open*; return the numbers, newest first."""
    numbers: list[str] = []
    async with store.transaction() as uow:
        for hour, agency in enumerate(agencies):
            found = await open_incident(uow, agency, T0 + hour * HOUR)
            if hour not in still_open:
                await resolve_incident(uow, found)
            numbers.insert(0, found.number)
    return numbers


async def numbers(store: SqlStore, filter_: IncidentFilter, limit: int = 100) -> list[list[str]]:
    """Return the numbers on each page."""
    found: list[list[str]] = []
    after = None
    while not found or after is not None:
        page = await board(store).incident_page(filter_, limit=limit, after=after)
        found.append([each.number for each in page.rows])
        after = page.after
    return found


async def test_incident_page_open_first_then_newest(store: SqlStore) -> None:
    # The second and the fourth of twelve are still open.
    await add_incidents(store, ["MDC", "JCM", "MDC", "UCM", *["PPD"] * 8], still_open=[1, 3])

    pages = await numbers(store, IncidentFilter(), limit=4)

    assert pages == [
        ["UCM-01", "JCM-01", "PPD-08", "PPD-07"],
        ["PPD-06", "PPD-05", "PPD-04", "PPD-03"],
        ["PPD-02", "PPD-01", "MDC-02", "MDC-01"],
    ]
    assert (await numbers(store, IncidentFilter(), limit=1))[:3] == [["UCM-01"], ["JCM-01"], ["PPD-08"]]
    assert (await numbers(store, IncidentFilter(states=OPEN_STATES), limit=1)) == [["UCM-01"], ["JCM-01"]]


async def test_incident_pages_complete_and_without_repeats_during_changes(store: SqlStore) -> None:
    everything = await add_incidents(store, ["JCM"] * 6, still_open=[])
    first = await board(store).incident_page(IncidentFilter(), limit=2)
    async with store.transaction() as uow:
        await open_incident(uow, "MDC", T0 + 9 * HOUR)
    rest = await board(store).incident_page(IncidentFilter(), limit=9, after=first.after)
    assert [each.number for each in (*first.rows, *rest.rows)] == everything
    assert rest.after is None

    # An incident that is resolved between two pages appears again as resolved.
    async with store.transaction() as uow:
        late = await open_incident(uow, "UCM", T0 + 10 * HOUR)
        for hour in range(2):
            await resolve_incident(uow, await open_incident(uow, "PPD", T0 + (11 + hour) * HOUR))
    first = await board(store).incident_page(IncidentFilter(), limit=1)
    assert [each.number for each in first.rows] == ["UCM-01"]
    async with store.transaction() as uow:
        await resolve_incident(uow, late)
    second = await board(store).incident_page(IncidentFilter(), limit=4, after=first.after)
    assert [each.number for each in second.rows] == ["MDC-01", "PPD-02", "PPD-01", "UCM-01"]


@pytest.mark.parametrize(
    ("filter_", "found"),
    [
        (IncidentFilter(agencies={"JCM"}), ["JCM-02", "JCM-01"]),
        (IncidentFilter(agencies={"JCM", "MDC"}), ["MDC-02", "JCM-02", "MDC-01", "JCM-01"]),
        (IncidentFilter(agencies={"JCM"}, states={IncidentState.RESOLVED}), ["JCM-01"]),
        (IncidentFilter(states={IncidentState.RESOLVED}), ["MDC-02", "MDC-01", "JCM-01"]),
        (IncidentFilter(states=OPEN_STATES), ["UCM-01", "JCM-02"]),
        (IncidentFilter(states={IncidentState.ACKNOWLEDGED}), ["UCM-01"]),
        (
            IncidentFilter(states={IncidentState.ACKNOWLEDGED, IncidentState.RESOLVED}),
            ["UCM-01", "MDC-02", "MDC-01", "JCM-01"],
        ),
        (IncidentFilter(since=T0 + 2 * HOUR), ["UCM-01", "MDC-02", "JCM-02"]),
        (IncidentFilter(until=T0 + 2 * HOUR), ["MDC-01", "JCM-01"]),
        (IncidentFilter(since=T0 + HOUR, until=T0 + 3 * HOUR), ["JCM-02", "MDC-01"]),
        (IncidentFilter(since=T0 + HOUR, until=T0 + 3 * HOUR, states=OPEN_STATES), ["JCM-02"]),
        (IncidentFilter(since=T0 + 9 * HOUR), []),
        (IncidentFilter(until=T0), []),
        (IncidentFilter(agencies={"TIADA"}), []),
    ],
)
async def test_incident_filter_by_agency_state_and_time(
    store: SqlStore, filter_: IncidentFilter, found: list[str]
) -> None:
    await add_incidents(store, ["JCM", "MDC", "JCM", "MDC"], still_open=[2])
    async with store.transaction() as uow:
        late = await open_incident(uow, "UCM", T0 + 4 * HOUR)
        await uow.save_incident(apply(late, Acknowledge(incident_id=late.id, at=T0 + 4 * HOUR, by="Siti")))

    for limit in (1, 2, 100):
        pages = await numbers(store, filter_, limit)
        seen = [number for page in pages for number in page]
        assert sorted(seen) == sorted(found)
        assert seen == sorted(found, key=lambda number: number not in {"UCM-01", "JCM-02"}), "open incidents come first"


async def test_notification_filter_by_agency_incident_and_state(store: SqlStore) -> None:
    async with store.transaction() as uow:
        first, second = await open_incident(uow, "JCM"), await open_incident(uow, "MDC")
        for number, (of, state) in enumerate(
            [
                (first, NotificationState.FAILED),
                (second, NotificationState.UNKNOWN),
                (first, NotificationState.DELIVERED),
                (second, NotificationState.FAILED),
            ]
        ):
            made = await uow.add_notification(of, draft(of, f"k{number}"), T0)
            assert made is not None
            await uow.set_notification_state(made.id, state)
        shared = await uow.add_notification(first, draft(first, "shared"), T0)
        assert shared is not None
        assert await uow.join_notification(shared.id, second, draft(second, "joined"))

    async def listed(filter_: NotificationFilter, limit: int) -> list[tuple[int, str]]:
        found: list[tuple[int, str]] = []
        page = await board(store).notification_page(filter_, limit=limit)
        found += [(each.id, each.incident) for each in page.rows]
        while page.after is not None:
            page = await board(store).notification_page(filter_, limit=limit, after=page.after)
            found += [(each.id, each.incident) for each in page.rows]
        return found

    bundle = (5, "JCM-01 +1")
    for limit in (1, 2, 9):
        everything = [bundle, (4, "MDC-01"), (3, "JCM-01"), (2, "MDC-01"), (1, "JCM-01")]
        assert await listed(NotificationFilter(), limit) == everything
        assert await listed(NotificationFilter(agencies={"MDC"}), limit) == [bundle, (4, "MDC-01"), (2, "MDC-01")]
        # Filtered by incident, the bundle is listed with that incident.
        assert await listed(NotificationFilter(incident_id=second.id), limit) == [
            (5, "MDC-01 +1"),
            (4, "MDC-01"),
            (2, "MDC-01"),
        ]
        bad = NotificationFilter(states={NotificationState.UNKNOWN, NotificationState.FAILED})
        assert await listed(bad, limit) == [(4, "MDC-01"), (2, "MDC-01"), (1, "JCM-01")]
        assert await listed(NotificationFilter(agencies={"JCM"}, states={NotificationState.FAILED}), limit) == [
            (1, "JCM-01")
        ]


async def test_notification_lists_all_incidents_and_attempts_without_number(store: SqlStore) -> None:
    async with store.transaction() as uow:
        first, second = await open_incident(uow, "JCM"), await open_incident(uow, "MDC")
        made = await uow.add_notification(first, draft(first, "a"), T0)
        assert made is not None
        assert await uow.join_notification(made.id, second, draft(second, "b"))
        delivery = await uow.add_delivery(made.id, SMS_SITI)
        await uow.add_attempt(delivery, "sms-contoh", T0, query_at=T0)

    found = await board(store).notification(made.id)
    assert found.incidents == ["JCM-01", "MDC-01"]
    assert [(each.channel, each.gateway, each.started_at) for each in found.attempts] == [("sms", "sms-contoh", T0)]
    assert SMS_SITI.number not in repr(found)
    with pytest.raises(NotFoundError, match="there is no notification 99"):
        await board(store).notification(99)


@pytest.mark.parametrize("gone", [(), (1,), (3, 4), (6,), (1, 2, 3, 4, 5, 6)])
async def test_notification_filter_by_time_with_purged_rows(
    store: SqlStore, database: Database, gone: Sequence[int]
) -> None:
    async with store.transaction() as uow:
        found = await open_incident(uow, "JCM")
        # Two with the same time, each hour.
        for number in range(6):
            assert await uow.add_notification(found, draft(found, f"k{number}"), T0 + number // 2 * HOUR)
    async with database.write() as connection:
        await connection.execute(delete(notification_incident).where(notification_incident.c.notification_id.in_(gone)))
        await connection.execute(delete(notification).where(notification.c.id.in_(gone)))
    there = [each for each in (6, 5, 4, 3, 2, 1) if each not in gone]

    async def listed(since: datetime | None = None, until: datetime | None = None) -> list[int]:
        page = await board(store).notification_page(NotificationFilter(since=since, until=until))
        return [each.id for each in page.rows]

    assert await listed(since=T0 + HOUR) == [each for each in there if each > 2]
    assert await listed(until=T0 + HOUR) == [each for each in there if each < 3]
    assert await listed(since=T0 + HOUR, until=T0 + 2 * HOUR) == [each for each in there if each in {3, 4}]
    assert await listed(since=T0 - HOUR, until=T0 + 9 * HOUR) == there
    assert await listed(since=T0 + 9 * HOUR) == []
    assert await listed(until=T0) == []
