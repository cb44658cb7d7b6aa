"""A site takes up what its hub offers, as far as it can be used there; what cannot leaves the old document in force."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select

from monitor.config.files.problem import Problem, Severity
from monitor.config.loading import Configuration, load, stored_source
from monitor.config.model.settings import ServiceMode
from monitor.model.document import EditSource, WrittenDocument
from monitor.service.portal.documents import DocumentWriter
from monitor.service.sites.document_applier import DocumentApplier
from monitor.store.admin.documents import Documents
from monitor.store.admin.offers import AGAIN, Offers
from monitor.store.backend.database import Database
from monitor.store.schema.tables import audit_log, desired_document
from tests.integration.watching import agency, laid_out
from tests.unit.alerts.people import T0

NO_SECRET = agency("JCM").replace("secrets/mail", "secrets/jcm")
BROKEN = Problem(file="pantau.yaml", message="the store is away", severity=Severity.ERROR)


class OfferedSite:
    """JCM and MDC are in its store and in force; the reading is its own, and nothing is probed."""

    def __init__(self, place: Path, database: Database) -> None:
        self.settings = laid_out(place) / "pantau.yaml"
        self.time = T0
        self.database = database
        self.documents = Documents(database)
        self.configuration: Configuration
        self.reloads: list[str] = []
        self.problems: Sequence[Problem] = ()
        self.is_ours = True
        self.taker = DocumentApplier(
            Offers(database),
            DocumentWriter(self.settings, {}, self.documents, self),
            self,
            configuration=lambda: self.configuration,
            reload=self._reload,
            is_leader=lambda: self.is_ours,
        )

    def now(self) -> datetime:
        return self.time

    async def open(self) -> None:
        both = [WrittenDocument(agency=code, name=f"{code.lower()}.yaml", text=agency(code)) for code in ("JCM", "MDC")]
        await self.documents.write({}, both, [], edit_source=EditSource.FILES, by="Ravi", now=T0)
        await self.take_up()

    async def take_up(self) -> None:
        sources = [stored_source(each.document) for each in (await self.documents.latest()).values() if each.document]
        self.configuration = load(self.settings, {}, documents=sources).accepted()

    async def _reload(self, by: str) -> Sequence[Problem]:
        self.reloads.append(by)
        if not self.problems:
            await self.take_up()
        return self.problems

    async def offer(self, **texts: str | None) -> None:
        rows = [
            {"agency": code, "name": f"{code.lower()}.yaml", "text": text, "offered_by": "noc", "offered_at": self.time}
            for code, text in texts.items()
        ]
        async with self.database.write() as connection:
            await connection.execute(delete(desired_document))
            await connection.execute(insert(desired_document), rows)

    async def take(self, *, after: timedelta = timedelta(0)) -> dict[str, str | None]:
        """Look at what is offered; return by agency why it is not taken up, of what was looked at."""
        self.time += after
        await self.taker.apply()
        columns = (desired_document.c.agency, desired_document.c.refusal)
        async with self.database.read() as connection:
            looked_at = select(*columns).where(desired_document.c.processed_at.is_not(None))
            return {row.agency: row.refusal for row in await connection.execute(looked_at)}

    @property
    def in_force(self) -> dict[str, str]:
        return {each.agency: each.text for each in self.configuration.documents}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[OfferedSite]:
    async with Database.open(tmp_path, None) as database:
        site = OfferedSite(tmp_path / "johor", database)
        await site.open()
        yield site


async def test_what_the_hub_offers_is_in_force_and_in_the_history_by_its_pen(site: OfferedSite) -> None:
    changed, new = agency("JCM") + "probing: {interval: 10m}\n", agency("UCM")
    await site.offer(JCM=changed, MDC=None, UCM=new)
    assert await site.take() == {"JCM": None, "MDC": None, "UCM": None}
    assert site.in_force == {"JCM": changed, "UCM": new}
    assert site.reloads == ["noc"]
    latest = await site.documents.latest()
    assert {code: (each.number, each.source, each.by) for code, each in latest.items()} == {
        "JCM": (2, EditSource.HUB, "noc"),
        "MDC": (2, EditSource.HUB, "noc"),
        "UCM": (1, EditSource.HUB, "noc"),
    }
    async with site.database.read() as connection:
        events = (await connection.execute(select(audit_log.c.actor, audit_log.c.event))).all()
    assert events[-1] == ("noc", "documents written")

    # The hub may say it again.
    await site.offer(JCM=changed, MDC=None, UCM=new)
    await site.take()
    assert (await site.documents.latest(), site.reloads) == (latest, ["noc"])


async def test_a_document_whose_secret_is_not_there_holds_up_no_other_and_is_taken_up_once_it_is(
    site: OfferedSite,
) -> None:
    changed = agency("MDC") + "probing: {interval: 10m}\n"
    await site.offer(JCM=NO_SECRET, MDC=changed)
    found = await site.take()
    assert found["MDC"] is None
    assert "secrets/jcm" in (found["JCM"] or "")
    assert site.in_force == {"JCM": agency("JCM"), "MDC": changed}
    # Nothing that could not be read at the next start.
    assert (await site.documents.latest())["JCM"].text == agency("JCM")

    secret = site.settings.parent / "secrets/jcm"
    secret.write_text("kata-laluan-contoh")
    secret.chmod(0o600)
    assert (await site.take(after=AGAIN))["JCM"] is not None
    assert await site.take(after=timedelta(seconds=1)) == {"JCM": None, "MDC": None}
    assert site.in_force["JCM"] == NO_SECRET


async def test_a_mailbox_that_would_not_be_signed_in_to_any_more_is_not_taken_up(site: OfferedSite) -> None:
    await site.offer(
        JCM=agency("JCM").replace("password_file: secrets/mail", "password_stored: typed-abcdefghijklmnop")
    )
    assert "what was typed is not in this store" in ((await site.take())["JCM"] or "")
    assert site.in_force["JCM"] == agency("JCM")


async def test_two_that_go_together_with_none_of_the_sites_are_told_apart(site: OfferedSite) -> None:
    # The domain is another agency's, which does not leave.
    await site.offer(UCM=agency("UCM", "mdc.gov.my"), JCM=agency("JCM") + "probing: {interval: 10m}\n")
    found = await site.take()
    assert found["JCM"] is None
    assert found["UCM"]
    assert site.in_force.keys() == {"JCM", "MDC"}


async def test_settings_that_cannot_be_read_refuse_all_and_say_so(site: OfferedSite) -> None:
    site.settings.write_text(site.settings.read_text() + "entah: apa\n")
    await site.offer(JCM=agency("JCM") + "probing: {interval: 10m}\n", UCM=agency("UCM"))
    found = await site.take()
    assert found.keys() == {"JCM", "UCM"}
    assert all("pantau.yaml" in (why or "") and "entah" in (why or "") for why in found.values())
    assert (site.in_force["JCM"], site.reloads) == (agency("JCM"), [])


async def test_what_was_written_and_not_taken_up_is_taken_up_the_next_time(site: OfferedSite) -> None:
    await site.offer(JCM=agency("JCM") + "probing: {interval: 10m}\n")
    site.problems = [BROKEN]
    assert await site.take() == {"JCM": str(BROKEN)}
    assert site.in_force["JCM"] == agency("JCM")
    site.problems = []
    assert await site.take(after=2 * AGAIN) == {"JCM": None}
    assert site.in_force["JCM"] != agency("JCM")


@pytest.mark.parametrize("change", [{"agencies": Path("agencies")}, {"mode": ServiceMode.NOTIFY}, {}])
async def test_who_keeps_files_or_tells_people_or_leaves_it_to_another_process_takes_nothing(
    site: OfferedSite, change: dict[str, object]
) -> None:
    site.is_ours = bool(change)
    settings = site.configuration.settings.model_copy(update=change)
    site.configuration = replace(site.configuration, settings=settings)
    await site.offer(JCM=agency("JCM") + "probing: {interval: 10m}\n")
    assert await site.take() == {}
    assert site.in_force["JCM"] == agency("JCM")
