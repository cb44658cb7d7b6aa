"""What every store keeps of people's answers: codes on their phones, numbers that stop, PINs that were typed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from alerts.model.delivery import Notification
from alerts.model.notification import IncidentType
from alerts.persistence.store import PinAttempt, SmsNumber, Store, UnitOfWork
from tests.contracts.test_store import with_attempt, with_notice
from tests.unit.alerts.people import MINUTE, SMS_RAVI, SMS_SITI, T0

SITI, RAVI = SMS_SITI.number, SMS_RAVI.number
A_DAY = timedelta(hours=24)


async def notices(uow: UnitOfWork, *keys: str) -> list[Notification]:
    """Return a notice about an incident of its own for each key."""
    return [await with_notice(uow, key) for key in keys]


async def test_a_phone_has_the_smallest_free_code_for_each_trouble_and_keeps_it(store: Store) -> None:
    async with store.transaction() as uow:
        first, second = await notices(uow, "a", "b")
        codes = [await uow.responses.assign_response_code(SITI, of, T0) for of in (first, second, first, second)]
        assert codes == [1, 2, 1, 2]
        assert await uow.responses.assign_response_code(RAVI, second, T0) == 1, "another phone counts for itself"


async def test_a_code_is_free_when_its_incident_is_at_rest_and_a_day_has_gone_by(store: Store) -> None:
    async with store.transaction() as uow:
        first, second, third, fourth = await notices(uow, "a", "b", "c", "d")
        await uow.responses.assign_response_code(SITI, first, T0)
        assert await uow.responses.assign_response_code(SITI, second, T0 + A_DAY) == 2, "its incident goes on"
        await uow.deactivate_incident(first.incident_id)
        assert await uow.responses.assign_response_code(SITI, third, T0 + A_DAY - MINUTE) == 3, (
            "somebody may still answer"
        )
        assert await uow.responses.assign_response_code(SITI, fourth, T0 + A_DAY) == 1


async def test_what_a_phone_was_told_comes_newest_first_and_committed(store: Store) -> None:
    async with store.transaction() as uow:
        first, second = await notices(uow, "a", "b")
        for minutes, of in enumerate((first, second, first)):
            await uow.responses.assign_response_code(SITI, of, T0 + minutes * MINUTE)
    async with store.transaction() as uow:
        told = await uow.responses.coded_notifications(SITI)
        assert [(t.code, t.notification_id, t.given_at) for t in told] == [
            (1, first.id, T0 + 2 * MINUTE),
            (2, second.id, T0 + MINUTE),
        ]
        assert await uow.responses.coded_notifications(RAVI) == []


async def test_two_who_give_a_phone_codes_at_the_same_time_do_not_give_the_same_one(store: Store) -> None:
    async with store.transaction() as uow:
        told = await notices(uow, *"abcdef")

    async def give(of: Notification) -> int:
        async with store.transaction() as uow:
            code = await uow.responses.assign_response_code(SITI, of, T0)
            await asyncio.sleep(0)  # Others come before this one has committed.
            return code

    assert sorted(await asyncio.gather(*map(give, told))) == [1, 2, 3, 4, 5, 6]


async def test_response_code_of_an_incident_that_got_worse_is_another(store: Store) -> None:
    async with store.transaction() as uow:
        (outage,) = await notices(uow, "a")
        slow = replace(
            outage, parts=tuple(replace(p, facts=replace(p.facts, type=IncidentType.DEGRADED)) for p in outage.parts)
        )
        assert await uow.responses.assign_response_code(SITI, slow, T0) == 1
        assert await uow.responses.assign_response_code(SITI, outage, T0) == 2


async def test_response_code_of_an_outage_that_is_told_anew_stays_the_same(store: Store) -> None:
    async with store.transaction() as uow:
        first, second, again = await notices(uow, "a", "b", "c")
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


async def test_a_number_is_known_once_an_sms_was_meant_for_it(store: Store) -> None:
    async with store.transaction() as uow:
        assert not await uow.responses.has_sms_to(SITI)
        await notices(uow, "a")
        assert await uow.responses.has_sms_to(SITI)
        assert not await uow.responses.has_sms_to(RAVI)


async def test_what_is_known_of_a_number_is_kept(store: Store) -> None:
    async with store.transaction() as uow:
        assert await uow.responses.sms_number(SITI) == SmsNumber()
        for known in (SmsNumber(unrecognised=2), SmsNumber(stopped_at=T0, unrecognised=1), SmsNumber()):
            await uow.responses.save_sms_number(SITI, known)
            assert await uow.responses.sms_number(SITI) == known
        assert await uow.responses.sms_number(RAVI) == SmsNumber()


async def test_pins_that_were_typed_come_back_in_their_order_and_for_one_person(store: Store) -> None:
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


async def test_an_attempt_keeps_the_code_that_it_asks_for(store: Store) -> None:
    async with store.transaction() as uow:
        plain = await with_attempt(uow, "a")
        notice = await with_notice(uow, "b")
        coded = await uow.add_attempt(notice.deliveries[0], "sms", T0, query_at=T0, response="12A")
    async with store.transaction() as uow:
        found = [await uow.attempt(a.reference) for a in (plain, coded)]
        assert [pair[1].response for pair in found if pair] == ["", "12A"]
