"""On-call overrides on both stores."""

from __future__ import annotations

from datetime import timedelta

from alerts.hours.calendar import Calendar, State
from alerts.hours.office_hours import OfficeHours
from alerts.model.contact import Address, Contact
from alerts.model.notification import Language
from alerts.model.oncall import Override
from monitor.config.fields.window import MALAYSIA
from monitor.store.engine.unit_of_work import SqlStore, SqlUnitOfWork
from tests.unit.alerts.people import MINUTE, RAVI, SITI, T0, VOICE_SITI

HOUR = timedelta(hours=1)
OFFICE_HOURS = OfficeHours(calendar=Calendar(state=State.KEDAH), zone=MALAYSIA)
MEI = Contact(
    key="mei",
    name="Mei Contoh",
    language=Language.ENGLISH,
    addresses=(
        Address(channel=VOICE_SITI.channel, number="+60300000103", extension="W1#", hours=OFFICE_HOURS),
        VOICE_SITI,
    ),
)


async def add_override(
    uow: SqlUnitOfWork, contact: Contact = MEI, rota: str = "JCM/bertugas", hours: int = 2
) -> Override:
    return await uow.oncall.add(rota=rota, contact=contact, starts_at=T0, ends_at=T0 + hours * HOUR, by="Siti", now=T0)


async def test_override_is_read_as_written(store: SqlStore) -> None:
    async with store.transaction() as uow:
        written = await add_override(uow)
    async with store.reading() as uow:
        (read,) = await uow.oncall.list_overrides(T0)

    assert read == written
    assert (read.rota, read.starts_at, read.ends_at, read.by, read.made_at) == (
        "JCM/bertugas",
        T0,
        T0 + 2 * HOUR,
        "Siti",
        T0,
    )
    assert read.contact == MEI
    # Fields that do not distinguish addresses are stored, too.
    assert [address.hours for address in read.contact.addresses] == [OFFICE_HOURS, None]


async def test_list_overrides_leaves_out_ended_and_removed(store: SqlStore) -> None:
    async with store.transaction() as uow:
        short, long, gone = (
            await add_override(uow, hours=1),
            await add_override(uow, RAVI),
            await add_override(uow, SITI),
        )
        removed = await uow.oncall.remove(gone.id, "Ravi", T0 + MINUTE)
        current = [o.id for o in await uow.oncall.list_overrides(T0)]
        later = [o.id for o in await uow.oncall.list_overrides(T0 + HOUR)]

    assert removed == gone
    assert current == [short.id, long.id]
    assert later == [long.id]


async def test_remove_ended_or_removed_override_returns_none(store: SqlStore) -> None:
    async with store.transaction() as uow:
        one = await add_override(uow)
        assert await uow.oncall.remove(one.id, "Ravi", T0 + 2 * HOUR) is None
        assert await uow.oncall.remove(one.id, "Ravi", T0) == one
        assert await uow.oncall.remove(one.id, "Ravi", T0) is None
        assert await uow.oncall.remove(one.id + 1, "Ravi", T0) is None


async def test_overrides_are_those_of_requested_rotas(store: SqlStore) -> None:
    async with store.transaction() as uow:
        first, _, third = (
            await add_override(uow),
            await add_override(uow, rota="MDC/bertugas"),
            await add_override(uow, RAVI),
        )

        assert await uow.overrides({"JCM/bertugas", "JCM/lain"}, T0) == [first, third]
        assert await uow.overrides({"JCM/lain"}, T0) == []
