"""Responses on both stores: response codes, stopped numbers and PIN attempts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from alerts.model.delivery import Notification
from alerts.model.notification import IncidentType
from alerts.persistence.store import PinAttempt, SmsNumber, Store, UnitOfWork
from tests.contracts.test_store import add_attempt_in_new_incident, add_notification_with_delivery
from tests.unit.alerts.people import MINUTE, SMS_RAVI, SMS_SITI, T0

SITI, RAVI = SMS_SITI.number, SMS_RAVI.number
A_DAY = timedelta(hours=24)


async def add_notifications(uow: UnitOfWork, *keys: str) -> list[Notification]:
    """Return a notification about a separate incident for each key."""
    return [await add_notification_with_delivery(uow, key) for key in keys]


async def test_assign_response_code_smallest_free_per_phone_and_incident(store: Store) -> None:
    async with store.transaction() as uow:
        first, second = await add_notifications(uow, "a", "b")
        codes = [await uow.responses.assign_response_code(SITI, of, T0) for of in (first, second, first, second)]
        assert codes == [1, 2, 1, 2]
        assert await uow.responses.assign_response_code(RAVI, second, T0) == 1, "codes are per phone"


async def test_response_code_is_free_one_day_after_incident_is_inactive(store: Store) -> None:
    async with store.transaction() as uow:
        first, second, third, fourth = await add_notifications(uow, "a", "b", "c", "d")
        await uow.responses.assign_response_code(SITI, first, T0)
        assert await uow.responses.assign_response_code(SITI, second, T0 + A_DAY) == 2, "its incident is still active"
        await uow.deactivate_incident(first.incident_id)
        assert await uow.responses.assign_response_code(SITI, third, T0 + A_DAY - MINUTE) == 3, (
            "somebody may still answer"
        )
        assert await uow.responses.assign_response_code(SITI, fourth, T0 + A_DAY) == 1


async def test_coded_notifications_newest_first(store: Store) -> None:
    async with store.transaction() as uow:
        first, second = await add_notifications(uow, "a", "b")
        for minutes, of in enumerate((first, second, first)):
            await uow.responses.assign_response_code(SITI, of, T0 + minutes * MINUTE)
    async with store.transaction() as uow:
        told = await uow.responses.coded_notifications(SITI)
        assert [(t.code, t.notification_id, t.given_at) for t in told] == [
            (1, first.id, T0 + 2 * MINUTE),
            (2, second.id, T0 + MINUTE),
        ]
        assert await uow.responses.coded_notifications(RAVI) == []


async def test_assign_response_code_concurrent_codes_differ(store: Store) -> None:
    async with store.transaction() as uow:
        told = await add_notifications(uow, *"abcdef")

    async def assign(of: Notification) -> int:
        async with store.transaction() as uow:
            code = await uow.responses.assign_response_code(SITI, of, T0)
            await asyncio.sleep(0)  # Other transactions run before this one commits.
            return code

    assert sorted(await asyncio.gather(*map(assign, told))) == [1, 2, 3, 4, 5, 6]


async def test_assign_response_code_worse_incident_gets_another(store: Store) -> None:
    async with store.transaction() as uow:
        (outage,) = await add_notifications(uow, "a")
        degraded = replace(
            outage, parts=tuple(replace(p, facts=replace(p.facts, type=IncidentType.DEGRADED)) for p in outage.parts)
        )
        assert await uow.responses.assign_response_code(SITI, degraded, T0) == 1
        assert await uow.responses.assign_response_code(SITI, outage, T0) == 2


async def test_assign_response_code_restarted_outage_keeps_code(store: Store) -> None:
    async with store.transaction() as uow:
        first, second, again = await add_notifications(uow, "a", "b", "c")
        later = replace(first, id=again.id, parts=tuple(replace(part, restarts=7, round=3) for part in first.parts))
        assert [await uow.responses.assign_response_code(SITI, of, T0) for of in (first, later)] == [1, 1]
        both = [replace(each, parts=(*first.parts, *second.parts)) for each in (first, again)]
        assert [await uow.responses.assign_response_code(SITI, of, T0) for of in both] == [2, 2]
        three = replace(first, parts=(*first.parts, *second.parts, *again.parts))
        assert await uow.responses.assign_response_code(SITI, three, T0) == 3
        assert [told.notification_id for told in await uow.responses.coded_notifications(SITI)][1:] == [
            again.id,
            again.id,
        ]


async def test_has_sms_to_known_after_sms_is_planned(store: Store) -> None:
    async with store.transaction() as uow:
        assert not await uow.responses.has_sms_to(SITI)
        await add_notifications(uow, "a")
        assert await uow.responses.has_sms_to(SITI)
        assert not await uow.responses.has_sms_to(RAVI)


async def test_sms_number_state_is_kept(store: Store) -> None:
    async with store.transaction() as uow:
        assert await uow.responses.sms_number(SITI) == SmsNumber()
        for known in (SmsNumber(unrecognised=2), SmsNumber(stopped_at=T0, unrecognised=1), SmsNumber()):
            await uow.responses.save_sms_number(SITI, known)
            assert await uow.responses.sms_number(SITI) == known
        assert await uow.responses.sms_number(RAVI) == SmsNumber()


async def test_pin_attempts_are_ordered_and_of_one_person(store: Store) -> None:
    entries = [
        PinAttempt(reference=f"p{n}", agency="JCM", person="siti", at=T0 + n * MINUTE, accepted=n == 2)
        for n in range(4)
    ]
    async with store.transaction() as uow:
        for entry in entries:
            await uow.responses.add_pin_attempt(entry)
            await uow.responses.add_pin_attempt(replace(entry, person="ravi"))
            await uow.responses.add_pin_attempt(replace(entry, agency="MDC"))
        assert await uow.responses.pin_attempts({"JCM"}, "siti", T0 - MINUTE) == entries
        assert await uow.responses.pin_attempts({"JCM"}, "siti", T0 + MINUTE) == entries[2:]


async def test_attempt_keeps_response_code(store: Store) -> None:
    async with store.transaction() as uow:
        plain = await add_attempt_in_new_incident(uow, "a")
        notice = await add_notification_with_delivery(uow, "b")
        coded = await uow.add_attempt(notice.deliveries[0], "sms", T0, query_at=T0, response="12A")
    async with store.transaction() as uow:
        found = [await uow.attempt(a.reference) for a in (plain, coded)]
        assert [pair[1].response for pair in found if pair] == ["", "12A"]
