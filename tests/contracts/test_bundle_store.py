"""Bundles, rate limits and silences on both stores."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from alerts.model.delivery import AttemptState, NotificationState
from alerts.model.event import Resolve
from alerts.model.incident import Incident, apply
from alerts.model.urgency import Urgency
from alerts.persistence.store import Store, UnitOfWork
from monitor.store.engine.unit_of_work import SqlStore
from tests.contracts.test_store import draft
from tests.unit.alerts.people import MINUTE, SECOND, SMS_RAVI, SMS_SITI, T0, trigger


async def open_incidents(uow: UnitOfWork, *keys: str) -> list[Incident]:
    return [(await uow.add_incidents([replace(trigger(), dedup_key=key)]))[0] for key in keys]


async def add_bundle(uow: UnitOfWork, *keys: str) -> tuple[int, list[Incident]]:
    """Add a notification with an incident for each key; return its id and the incidents."""
    incidents = await open_incidents(uow, *keys)
    await uow.add_notification(incidents[0], draft(incidents[0], keys[0]), T0, bundle_key="g", not_before=T0 + MINUTE)
    (notice,) = await uow.notifications(incidents[0].id)
    for number, incident in enumerate(incidents[1:], start=1):
        assert await uow.join_notification(notice.id, incident, replace(draft(incident, keys[number]), step=number))
    return notice.id, incidents


async def test_bundle_has_part_per_incident_and_each_reads_its_own(store: Store) -> None:
    async with store.transaction() as uow:
        notification_id, incidents = await add_bundle(uow, "a", "b", "c")
    async with store.transaction() as uow:
        whole = await uow.notification(notification_id)
        own_view = [(await uow.notifications(incident.id))[0] for incident in incidents]

    assert whole.incident_ids == tuple(incident.id for incident in incidents)
    assert [part.facts.number for part in whole.parts] == [incident.number for incident in incidents]
    assert (whole.incident_count, whole.leads) == (3, True)
    assert [notice.step for notice in own_view] == [0, 1, 2]
    assert [notice.leads for notice in own_view] == [True, False, False]
    assert [len(notice.parts) for notice in own_view] == [1, 1, 1]
    assert whole.not_before == whole.due_at == T0 + MINUTE


async def test_bundled_notification_is_decided(store: Store) -> None:
    async with store.transaction() as uow:
        _, incidents = await add_bundle(uow, "a", "b")
        joined = replace(draft(incidents[1], "b"), step=1)
        assert await uow.is_notification_decided(joined.key)
        assert not await uow.is_notification_decided(draft(incidents[1], "c").key)
        assert not await uow.add_notification(incidents[1], joined, T0)


async def test_leave_notification_moves_sending_to_next_incident(store: Store) -> None:
    async with store.transaction() as uow:
        notification_id, (first, second, third) = await add_bundle(uow, "a", "b", "c")
        await uow.leave_notification(notification_id, first.id, T0)
        assert await uow.sending_incident(notification_id) == second.id

        assert await uow.notifications(first.id) == []
        assert (await uow.notification(notification_id)).incident_ids == (second.id, third.id)
        assert (await uow.notifications(second.id))[0].leads
        assert await uow.is_notification_decided(draft(first, "a").key), "it stays decided"


async def test_join_notification_refused_once_gateway_is_called(store: Store) -> None:
    async with store.transaction() as uow:
        notification_id, _ = await add_bundle(uow, "a", "b")
        (late,) = await open_incidents(uow, "late")
        delivery = await uow.add_delivery(notification_id, SMS_SITI)
        assert [(g.is_started, g.has_incident) for g in await uow.bundle_candidates("g", T0 - MINUTE, late.id)] == [
            (False, False)
        ]
        await uow.add_attempt(delivery, "sms", T0, query_at=T0)

        assert not await uow.join_notification(notification_id, late, draft(late, "late"))
        assert [g.is_started for g in await uow.bundle_candidates("g", T0 - MINUTE, late.id)] == [True]
        assert await uow.notifications(late.id) == []


async def test_join_and_send_concurrent_send_what_has_joined(store: SqlStore) -> None:
    """Two engines at the same time: an incident that has joined is in the sent notification."""
    async with store.transaction() as uow:
        notification_id, _ = await add_bundle(uow, "a", "b")
        (late,) = await open_incidents(uow, "late")
        delivery = await uow.add_delivery(notification_id, SMS_SITI)

    async def send() -> int:
        async with store.transaction() as uow:
            await uow.lock_notification(notification_id)
            await uow.add_attempt(delivery, "sms", T0, query_at=T0)
            return (await uow.notification(notification_id)).incident_count

    async def join() -> bool:
        async with store.transaction() as uow:
            return await uow.join_notification(notification_id, late, draft(late, "late"))

    sent_count, joined = await asyncio.gather(send(), join())
    assert sent_count == (3 if joined else 2)


async def test_bundle_candidates_are_found_by_key_and_age(store: Store) -> None:
    async with store.transaction() as uow:
        notification_id, (first, *_) = await add_bundle(uow, "a", "b")
        await uow.set_notification_state(notification_id, NotificationState.SENT)

        (found,) = await uow.bundle_candidates("g", T0 - SECOND, first.id)
        assert (found.notification_id, found.due_at, found.state, found.has_incident) == (
            *(notification_id, T0 + MINUTE, NotificationState.SENT),
            True,
        )
        assert await uow.bundle_candidates("g", T0, first.id) == []
        assert await uow.bundle_candidates("other", T0 - SECOND, first.id) == []


async def test_throttled_notification_has_due_time_and_urgency(store: Store) -> None:
    async with store.transaction() as uow:
        (incident,) = await open_incidents(uow, "a")
        await uow.add_notification(incident, draft(incident), T0, urgency=Urgency.REPEAT)
        (notice,) = await uow.notifications(incident.id)
        assert (notice.urgency, notice.not_before, notice.due_at) == (Urgency.REPEAT, None, T0)
        await uow.throttle(notice.id, T0 + 5 * MINUTE)
        assert (await uow.notification(notice.id)).due_at == T0 + 5 * MINUTE


async def test_reopened_notification_can_be_sent_until_new_expiry(store: Store) -> None:
    async with store.transaction() as uow:
        (incident,) = await open_incidents(uow, "a")
        await uow.add_notification(incident, draft(incident), T0)
        (notice,) = await uow.notifications(incident.id)
        await uow.set_notification_state(notice.id, NotificationState.UNKNOWN)
        await uow.reopen_notification(notice.id, T0 + 90 * MINUTE)

        again = await uow.notification(notice.id)
        assert (again.state, again.expires_at) == (NotificationState.PENDING, T0 + 90 * MINUTE)


async def test_accepted_attempt_times_by_address_and_gateway_leave_out_refused(store: Store) -> None:
    async with store.transaction() as uow:
        (incident,) = await open_incidents(uow, "a")
        for number, (address, gateway, state, provider_id) in enumerate(
            [
                (SMS_SITI, "sms", AttemptState.ACCEPTED, "1"),
                (SMS_SITI, "modem", AttemptState.DELIVERED, "2"),
                (SMS_SITI, "sms", AttemptState.FAILED, "3"),
                (SMS_SITI, "sms", AttemptState.FAILED, None),
                (SMS_SITI, "sms", AttemptState.UNKNOWN, None),
                (SMS_SITI, "sms", AttemptState.CALLING, None),
                (SMS_RAVI, "sms", AttemptState.SENT, "4"),
            ]
        ):
            await uow.add_notification(incident, draft(incident, f"k{number}"), T0)
            notice = (await uow.notifications(incident.id))[-1]
            delivery = await uow.add_delivery(notice.id, address)
            made = await uow.add_attempt(delivery, gateway, T0 + number * MINUTE, query_at=T0)
            await uow.save_attempt(replace(made, state=state, provider_id=provider_id))

        def minutes(*numbers: int) -> list[object]:
            return [T0 + number * MINUTE for number in numbers]

        before = T0 - MINUTE
        assert await uow.accepted_attempt_times(before, address=SMS_SITI) == minutes(0, 1, 2, 5)
        assert await uow.accepted_attempt_times(before, gateway="sms") == minutes(0, 2, 5, 6)
        assert await uow.accepted_attempt_times(T0 + MINUTE, address=SMS_SITI) == minutes(2, 5)


async def test_silence_is_listed_until_it_ends_or_is_ended(store: Store) -> None:
    hour = timedelta(hours=1)
    async with store.transaction() as uow:
        short = await uow.add_silence("JCM", T0, T0 + hour, "kerja", "Siti Contoh")
        long = await uow.add_silence("JKT", T0, T0 + 2 * hour, "kerja", "Siti Contoh")
    async with store.transaction() as uow:
        assert await uow.silences(T0) == [short, long]
        assert await uow.silences(T0 + hour) == [long]
        assert await uow.end_silence(long.id, T0 + MINUTE) == long
        assert await uow.end_silence(long.id, T0 + 2 * MINUTE) is None
        assert await uow.silences(T0 + MINUTE) == [short]


async def test_flapping_incident_is_stored_and_counted(store: SqlStore) -> None:
    async with store.transaction() as uow:
        [steady] = await uow.add_incidents([replace(trigger(), dedup_key="a")])
        [unsteady] = await uow.add_incidents([replace(trigger(at=T0 + MINUTE), dedup_key="b", flapping=True)])
        await uow.save_incident(apply(steady, Resolve(dedup_key="a", at=T0, ended_at=T0)))
        assert await uow.incident(unsteady.id) == unsteady
        assert unsteady.flapping
        assert await uow.opened_since(T0 - MINUTE) == [("a", T0), ("b", T0 + MINUTE)]
        assert await uow.opened_since(T0) == [("b", T0 + MINUTE)]
