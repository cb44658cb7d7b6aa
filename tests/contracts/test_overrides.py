"""What every store promises about overrides of duties."""

from __future__ import annotations

from datetime import timedelta

from alerts.hours.calendar import Calendar, State
from alerts.hours.office_hours import OfficeHours
from alerts.model.contact import Address, Contact
from alerts.model.notification import Language
from alerts.model.oncall import Override
from monitor.config.fields.window import MALAYSIA
from monitor.store.engine.ledger import SqlStore, SqlUnitOfWork
from tests.unit.alerts.people import MINUTE, RAVI, SITI, T0, VOICE_SITI

HOUR = timedelta(hours=1)
AT_THE_OFFICE = OfficeHours(calendar=Calendar(state=State.KEDAH), zone=MALAYSIA)
MEI = Contact(
    key="mei",
    name="Mei Contoh",
    language=Language.ENGLISH,
    addresses=(
        Address(channel=VOICE_SITI.channel, number="+60300000103", extension="W1#", hours=AT_THE_OFFICE),
        VOICE_SITI,
    ),
)


async def made(uow: SqlUnitOfWork, contact: Contact = MEI, rota: str = "JCM/bertugas", hours: int = 2) -> Override:
    return await uow.duty.add(rota=rota, contact=contact, begins=T0, ends=T0 + hours * HOUR, by="Siti", now=T0)


async def test_an_override_is_read_as_it_was_made(store: SqlStore) -> None:
    async with store.transaction() as uow:
        written = await made(uow)
    async with store.reading() as uow:
        (read,) = await uow.duty.standing(T0)

    assert read == written
    assert (read.rota, read.starts_at, read.ends_at, read.by, read.made_at) == (
        "JCM/bertugas",
        T0,
        T0 + 2 * HOUR,
        "Siti",
        T0,
    )
    assert read.contact == MEI
    # What does not tell one address from another is kept all the same.
    assert [address.hours for address in read.contact.addresses] == [AT_THE_OFFICE, None]


async def test_those_that_are_over_or_taken_back_do_not_stand(store: SqlStore) -> None:
    async with store.transaction() as uow:
        short, long, gone = await made(uow, hours=1), await made(uow, RAVI), await made(uow, SITI)
        taken_back = await uow.duty.remove(gone.id, "Ravi", T0 + MINUTE)
        standing = [o.id for o in await uow.duty.standing(T0)]
        later = [o.id for o in await uow.duty.standing(T0 + HOUR)]

    assert taken_back == gone
    assert standing == [short.id, long.id]
    assert later == [long.id]


async def test_what_does_not_stand_cannot_be_taken_back(store: SqlStore) -> None:
    async with store.transaction() as uow:
        one = await made(uow)
        assert await uow.duty.remove(one.id, "Ravi", T0 + 2 * HOUR) is None
        assert await uow.duty.remove(one.id, "Ravi", T0) == one
        assert await uow.duty.remove(one.id, "Ravi", T0) is None
        assert await uow.duty.remove(one.id + 1, "Ravi", T0) is None


async def test_the_engine_gets_those_of_the_rotas_it_asks_about(store: SqlStore) -> None:
    async with store.transaction() as uow:
        first, _, third = await made(uow), await made(uow, rota="MDC/bertugas"), await made(uow, RAVI)

        assert await uow.overrides({"JCM/bertugas", "JCM/lain"}, T0) == [first, third]
        assert await uow.overrides({"JCM/lain"}, T0) == []
