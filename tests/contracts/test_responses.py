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


async def notices(ledger: UnitOfWork, *keys: str) -> list[Notification]:
    """Return a notice about an incident of its own for each key."""
    return [await with_notice(ledger, key) for key in keys]


async def test_a_phone_has_the_smallest_free_code_for_each_trouble_and_keeps_it(store: Store) -> None:
    async with store.transaction() as ledger:
        first, second = await notices(ledger, "a", "b")
        codes = [await ledger.responses.code_for(SITI, of, T0) for of in (first, second, first, second)]
        assert codes == [1, 2, 1, 2]
        assert await ledger.responses.code_for(RAVI, second, T0) == 1, "another phone counts for itself"


async def test_a_code_is_free_when_its_incident_is_at_rest_and_a_day_has_gone_by(store: Store) -> None:
    async with store.transaction() as ledger:
        first, second, third, fourth = await notices(ledger, "a", "b", "c", "d")
        await ledger.responses.code_for(SITI, first, T0)
        assert await ledger.responses.code_for(SITI, second, T0 + A_DAY) == 2, "its incident goes on"
        await ledger.put_to_rest(first.incident_id)
        assert await ledger.responses.code_for(SITI, third, T0 + A_DAY - MINUTE) == 3, "somebody may still answer"
        assert await ledger.responses.code_for(SITI, fourth, T0 + A_DAY) == 1


async def test_what_a_phone_was_told_comes_newest_first_and_committed(store: Store) -> None:
    async with store.transaction() as ledger:
        first, second = await notices(ledger, "a", "b")
        for minutes, of in enumerate((first, second, first)):
            await ledger.responses.code_for(SITI, of, T0 + minutes * MINUTE)
    async with store.transaction() as ledger:
        told = await ledger.responses.told(SITI)
        assert [(t.code, t.notification_id, t.given_at) for t in told] == [
            (1, first.id, T0 + 2 * MINUTE),
            (2, second.id, T0 + MINUTE),
        ]
        assert await ledger.responses.told(RAVI) == []


async def test_two_who_give_a_phone_codes_at_the_same_time_do_not_give_the_same_one(store: Store) -> None:
    async with store.transaction() as ledger:
        told = await notices(ledger, *"abcdef")

    async def give(of: Notification) -> int:
        async with store.transaction() as ledger:
            code = await ledger.responses.code_for(SITI, of, T0)
            await asyncio.sleep(0)  # Others come before this one has committed.
            return code

    assert sorted(await asyncio.gather(*map(give, told))) == [1, 2, 3, 4, 5, 6]


async def test_response_code_of_an_incident_that_got_worse_is_another(store: Store) -> None:
    async with store.transaction() as ledger:
        (outage,) = await notices(ledger, "a")
        slow = replace(
            outage, parts=tuple(replace(p, facts=replace(p.facts, type=IncidentType.DEGRADED)) for p in outage.parts)
        )
        assert await ledger.responses.code_for(SITI, slow, T0) == 1
        assert await ledger.responses.code_for(SITI, outage, T0) == 2


async def test_response_code_of_an_outage_that_is_told_anew_stays_the_same(store: Store) -> None:
    async with store.transaction() as ledger:
        first, second, again = await notices(ledger, "a", "b", "c")
        later = replace(first, id=again.id, parts=tuple(replace(part, restarts=7, round=3) for part in first.parts))
        assert [await ledger.responses.code_for(SITI, of, T0) for of in (first, later)] == [1, 1]
        both = [replace(each, parts=(*first.parts, *second.parts)) for each in (first, again)]
        assert [await ledger.responses.code_for(SITI, of, T0) for of in both] == [2, 2]
        three = replace(first, parts=(*first.parts, *second.parts, *again.parts))
        assert await ledger.responses.code_for(SITI, three, T0) == 3
        assert [told.notification_id for told in await ledger.responses.told(SITI)][1:] == [again.id, again.id]


async def test_a_number_is_known_once_an_sms_was_meant_for_it(store: Store) -> None:
    async with store.transaction() as ledger:
        assert not await ledger.responses.knows(SITI)
        await notices(ledger, "a")
        assert await ledger.responses.knows(SITI)
        assert not await ledger.responses.knows(RAVI)


async def test_what_is_known_of_a_number_is_kept(store: Store) -> None:
    async with store.transaction() as ledger:
        assert await ledger.responses.sms_number(SITI) == SmsNumber()
        for known in (SmsNumber(unrecognised=2), SmsNumber(stopped_at=T0, unrecognised=1), SmsNumber()):
            await ledger.responses.save_sms_number(SITI, known)
            assert await ledger.responses.sms_number(SITI) == known
        assert await ledger.responses.sms_number(RAVI) == SmsNumber()


async def test_pins_that_were_typed_come_back_in_their_order_and_for_one_person(store: Store) -> None:
    entries = [
        PinAttempt(reference=f"p{n}", agency="JCM", person="siti", at=T0 + n * MINUTE, accepted=n == 2)
        for n in range(4)
    ]
    async with store.transaction() as ledger:
        for entry in entries:
            await ledger.responses.add_pin_entry(entry)
            await ledger.responses.add_pin_entry(replace(entry, person="ravi"))
            await ledger.responses.add_pin_entry(replace(entry, agency="MDC"))
        assert await ledger.responses.pin_entries({"JCM"}, "siti", T0 - MINUTE) == entries
        assert await ledger.responses.pin_entries({"JCM"}, "siti", T0 + MINUTE) == entries[2:]


async def test_an_attempt_keeps_the_code_that_it_asks_for(store: Store) -> None:
    async with store.transaction() as ledger:
        plain = await with_attempt(ledger, "a")
        notice = await with_notice(ledger, "b")
        coded = await ledger.add_attempt(notice.deliveries[0], "sms", T0, query_at=T0, response="12A")
    async with store.transaction() as ledger:
        found = [await ledger.attempt(a.reference) for a in (plain, coded)]
        assert [pair[1].response for pair in found if pair] == ["", "12A"]
