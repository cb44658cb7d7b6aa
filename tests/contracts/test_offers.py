"""Documents offered by a hub to a site, on both stores."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import insert, select, update

from monitor.model.desired_document import DesiredDocument
from monitor.store.admin.desired_documents import RETRY_INTERVAL, DesiredDocuments
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


async def test_offer_applied_is_due_once_and_rejected_is_retried(
    database: Database,
) -> None:
    offers, both = DesiredDocuments(database), [offer("JCM"), offer("MDC", None)]
    await write(database, *both)
    assert await offers.due(T0) == both
    await offers.record_results(both, {"MDC": "no password"}, T0)
    assert await offers.due(T0 + RETRY_INTERVAL) == []
    assert await offers.due(T0 + RETRY_INTERVAL + SECOND) == [offer("MDC", None, "no password")]
    assert await offers.due(T0 - 60 * RETRY_INTERVAL) == [offer("MDC", None, "no password")], "the clock was set back"


async def test_offer_changed_meanwhile_stays_due(database: Database) -> None:
    offers = DesiredDocuments(database)
    await write(database, offer("JCM"))
    due: Sequence[DesiredDocument] = await offers.due(T0)
    async with database.write() as connection:
        await connection.execute(update(desired_document).values(text="lain", offered_at=T0 + MINUTE))
    await offers.record_results(due, {"JCM": "no password"}, T0)
    async with database.read() as connection:
        rows = (await connection.execute(select(desired_document.c.processed_at, desired_document.c.refusal))).all()
    assert [tuple(row) for row in rows] == [(None, None)]
    assert [each.text for each in await offers.due(T0)] == ["lain"]
