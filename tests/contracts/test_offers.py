"""What every store promises about what a hub offers to a site."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import insert, select, update

from monitor.model.desired_document import DesiredDocument
from monitor.store.admin.offers import AGAIN, Offers
from monitor.store.backend.database import Database
from monitor.store.schema.tables import desired_document
from tests.unit.alerts.people import MINUTE, T0

SECOND = timedelta(seconds=1)


def offer(agency: str, text: str | None = "teks", refusal: str | None = None) -> DesiredDocument:
    return DesiredDocument(agency=agency, name="x.yaml", text=text, by="noc", at=T0, refusal=refusal)


async def write(database: Database, *offers: DesiredDocument) -> None:
    rows = [
        {"agency": each.agency, "name": each.name, "text": each.text, "offered_by": each.by, "offered_at": each.at}
        for each in offers
    ]
    async with database.write() as connection:
        await connection.execute(insert(desired_document), rows)


async def test_what_was_taken_up_is_looked_at_once_and_what_was_refused_again_after_a_minute(
    database: Database,
) -> None:
    offers, both = Offers(database), [offer("JCM"), offer("MDC", None)]
    await write(database, *both)
    assert await offers.due(T0) == both
    await offers.processed(both, {"MDC": "no password"}, T0)
    assert await offers.due(T0 + AGAIN) == []
    assert await offers.due(T0 + AGAIN + SECOND) == [offer("MDC", None, "no password")]
    assert await offers.due(T0 - 60 * AGAIN) == [offer("MDC", None, "no password")], "the clock was set back"


async def test_what_the_hub_has_written_meanwhile_is_not_taken_for_looked_at(database: Database) -> None:
    offers = Offers(database)
    await write(database, offer("JCM"))
    looked_at: Sequence[DesiredDocument] = await offers.due(T0)
    async with database.write() as connection:
        await connection.execute(update(desired_document).values(text="lain", offered_at=T0 + MINUTE))
    await offers.processed(looked_at, {"JCM": "no password"}, T0)
    async with database.read() as connection:
        rows = (await connection.execute(select(desired_document.c.processed_at, desired_document.c.refusal))).all()
    assert [tuple(row) for row in rows] == [(None, None)]
    assert [each.text for each in await offers.due(T0)] == ["lain"]
