"""Application of documents from the hub at a site. A document that cannot be used leaves the old one active."""

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
from monitor.store.admin.desired_documents import RETRY_INTERVAL, DesiredDocuments
from monitor.store.admin.documents import Documents
from monitor.store.backend.database import Database
from monitor.store.schema.tables import audit_log, desired_document
from tests.integration.monitor_only import agency, write_files
from tests.unit.alerts.people import T0

NO_SECRET = agency("JCM").replace("secrets/mail", "secrets/jcm")
BROKEN = Problem(file="pantau.yaml", message="the store is away", severity=Severity.ERROR)


class SiteFixture:
    """A site with JCM and MDC in its database. It loads real documents and probes nothing."""

    def __init__(self, place: Path, database: Database) -> None:
        self.settings = write_files(place) / "pantau.yaml"
        self.time = T0
        self.database = database
        self.documents = Documents(database)
        self.configuration: Configuration
        self.reloads: list[str] = []
        self.problems: Sequence[Problem] = ()
        self.is_leader = True
        self.applier = DocumentApplier(
            DesiredDocuments(database),
            DocumentWriter(self.settings, {}, self.documents, self),
            self,
            configuration=lambda: self.configuration,
            reload=self._reload,
            is_leader=lambda: self.is_leader,
        )

    def now(self) -> datetime:
        return self.time

    async def open(self) -> None:
        both = [WrittenDocument(agency=code, name=f"{code.lower()}.yaml", text=agency(code)) for code in ("JCM", "MDC")]
        await self.documents.write({}, both, [], edit_source=EditSource.FILES, by="Ravi", now=T0)
        await self.load_documents()

    async def load_documents(self) -> None:
        sources = [stored_source(each.document) for each in (await self.documents.latest()).values() if each.document]
        self.configuration = load(self.settings, {}, documents=sources).require_configuration()

    async def _reload(self, by: str) -> Sequence[Problem]:
        self.reloads.append(by)
        if not self.problems:
            await self.load_documents()
        return self.problems

    async def offer(self, **texts: str | None) -> None:
        rows = [
            {"agency": code, "name": f"{code.lower()}.yaml", "text": text, "offered_by": "noc", "offered_at": self.time}
            for code, text in texts.items()
        ]
        async with self.database.write() as connection:
            await connection.execute(delete(desired_document))
            await connection.execute(insert(desired_document), rows)

    async def apply_after(self, *, after: timedelta = timedelta(0)) -> dict[str, str | None]:
        """Apply offered documents *after* a time; return the refusal, or `None`, of each processed agency."""
        self.time += after
        await self.applier.apply()
        columns = (desired_document.c.agency, desired_document.c.refusal)
        async with self.database.read() as connection:
            looked_at = select(*columns).where(desired_document.c.processed_at.is_not(None))
            return {row.agency: row.refusal for row in await connection.execute(looked_at)}

    @property
    def active_documents(self) -> dict[str, str]:
        return {each.agency: each.text for each in self.configuration.documents}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[SiteFixture]:
    async with Database.open(tmp_path, None) as database:
        site = SiteFixture(tmp_path / "johor", database)
        await site.open()
        yield site


async def test_applier_offered_documents_are_active_with_edit_source_hub(site: SiteFixture) -> None:
    changed, new = agency("JCM") + "probing: {interval: 10m}\n", agency("UCM")
    await site.offer(JCM=changed, MDC=None, UCM=new)
    assert await site.apply_after() == {"JCM": None, "MDC": None, "UCM": None}
    assert site.active_documents == {"JCM": changed, "UCM": new}
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

    # The hub may offer the same again.
    await site.offer(JCM=changed, MDC=None, UCM=new)
    await site.apply_after()
    assert (await site.documents.latest(), site.reloads) == (latest, ["noc"])


async def test_applier_document_with_missing_secret_waits_and_does_not_block_others(
    site: SiteFixture,
) -> None:
    changed = agency("MDC") + "probing: {interval: 10m}\n"
    await site.offer(JCM=NO_SECRET, MDC=changed)
    found = await site.apply_after()
    assert found["MDC"] is None
    assert "secrets/jcm" in (found["JCM"] or "")
    assert site.active_documents == {"JCM": agency("JCM"), "MDC": changed}
    # The next start would not be able to read the document.
    assert (await site.documents.latest())["JCM"].text == agency("JCM")

    secret = site.settings.parent / "secrets/jcm"
    secret.write_text("kata-laluan-contoh")
    secret.chmod(0o600)
    assert (await site.apply_after(after=RETRY_INTERVAL))["JCM"] is not None
    assert await site.apply_after(after=timedelta(seconds=1)) == {"JCM": None, "MDC": None}
    assert site.active_documents["JCM"] == NO_SECRET


async def test_applier_document_with_unavailable_login_is_refused(site: SiteFixture) -> None:
    await site.offer(
        JCM=agency("JCM").replace("password_file: secrets/mail", "password_stored: typed-abcdefghijklmnop")
    )
    assert "the secret from the portal is not in this database" in ((await site.apply_after())["JCM"] or "")
    assert site.active_documents["JCM"] == agency("JCM")


async def test_applier_conflicting_document_is_refused_and_others_applied(site: SiteFixture) -> None:
    # The domain belongs to another agency, which stays.
    await site.offer(UCM=agency("UCM", "mdc.gov.my"), JCM=agency("JCM") + "probing: {interval: 10m}\n")
    found = await site.apply_after()
    assert found["JCM"] is None
    assert found["UCM"]
    assert site.active_documents.keys() == {"JCM", "MDC"}


async def test_applier_unreadable_settings_refuse_all_documents(site: SiteFixture) -> None:
    site.settings.write_text(site.settings.read_text() + "entah: apa\n")
    await site.offer(JCM=agency("JCM") + "probing: {interval: 10m}\n", UCM=agency("UCM"))
    found = await site.apply_after()
    assert found.keys() == {"JCM", "UCM"}
    assert all("pantau.yaml" in (why or "") and "entah" in (why or "") for why in found.values())
    assert (site.active_documents["JCM"], site.reloads) == (agency("JCM"), [])


async def test_applier_written_document_is_applied_at_next_reload(site: SiteFixture) -> None:
    await site.offer(JCM=agency("JCM") + "probing: {interval: 10m}\n")
    site.problems = [BROKEN]
    assert await site.apply_after() == {"JCM": str(BROKEN)}
    assert site.active_documents["JCM"] == agency("JCM")
    site.problems = []
    assert await site.apply_after(after=2 * RETRY_INTERVAL) == {"JCM": None}
    assert site.active_documents["JCM"] != agency("JCM")


@pytest.mark.parametrize("change", [{"agencies": Path("agencies")}, {"mode": ServiceMode.NOTIFY}, {}])
async def test_applier_with_agency_files_or_notify_mode_or_as_follower_does_nothing(
    site: SiteFixture, change: dict[str, object]
) -> None:
    site.is_leader = bool(change)
    settings = site.configuration.settings.model_copy(update=change)
    site.configuration = replace(site.configuration, settings=settings)
    await site.offer(JCM=agency("JCM") + "probing: {interval: 10m}\n")
    assert await site.apply_after() == {}
    assert site.active_documents["JCM"] == agency("JCM")
