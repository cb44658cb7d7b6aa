"""Distribution of active documents to sites, and the metric of outdated ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from monitor.config.loading import Configuration, load, stored_source
from monitor.metrics import Metrics
from monitor.model.desired_document import SiteDocumentChanges
from monitor.model.document import WrittenDocument
from monitor.service.sites.document_distributor import DocumentDistributor
from monitor.store.backend.postgres import PostgresServer
from monitor.store.sites.link import SiteConnection, SiteRefusedError
from tests.integration.monitor_only import agency, write_files
from tests.unit.alerts.people import T0
from tests.unit.monitor.scrape import Scrape

NOWHERE = PostgresServer(host="127.0.0.1", port=1, database="x", user="x", tls=True)
SITES = ("johor", "kuching")
SECOND = timedelta(seconds=1)


class OfferingHub:
    """A hub with JCM active, and sites with preset answers."""

    def __init__(self, place: Path) -> None:
        self.settings = write_files(place) / "pantau.yaml"
        self.configuration: Configuration
        self.set_document(agency("JCM"))
        self.time = timedelta(0)
        self.metrics = Metrics(version="1", now=lambda: T0)
        self.is_leader = True
        self.answers: dict[str, SiteDocumentChanges | SiteRefusedError | None] = dict.fromkeys(
            SITES, SiteDocumentChanges()
        )
        self.asked: list[tuple[str, str, Mapping[str, WrittenDocument]]] = []
        self.distributor = DocumentDistributor(
            [SiteConnection(site=each, server=NOWHERE, hub="noc", store=NOWHERE) for each in SITES],
            self.metrics,
            configuration=lambda: self.configuration,
            is_leader=lambda: self.is_leader,
            write_documents=self._write_documents,
            monotonic=lambda: self.time,
        )

    def set_document(self, text: str) -> None:
        written = stored_source(WrittenDocument(agency="JCM", name="jcm.yaml", text=text))
        self.configuration = load(self.settings, {}, documents=[written]).require_configuration()

    def _write_documents(
        self, member: SiteConnection, wanted: Mapping[str, WrittenDocument]
    ) -> SiteDocumentChanges | None:
        self.asked.append((member.site, member.hub, wanted))
        answer = self.answers[member.site]
        if isinstance(answer, SiteRefusedError):
            raise answer
        return answer

    async def distribute_after(self, *, after: timedelta = 5 * SECOND) -> int:
        """Advance the clock and distribute; return the number of sites asked."""
        before, self.time = len(self.asked), self.time + after
        await self.distributor.distribute()
        return len(self.asked) - before

    def outdated(self, site: str) -> float | None:
        return Scrape(self.metrics).value("site_documents_outdated", site=site)


@pytest.fixture
def hub(tmp_path: Path) -> OfferingHub:
    return OfferingHub(tmp_path / "noc")


async def test_distribute_asks_sites_each_minute_and_soon_after_change(hub: OfferingHub) -> None:
    assert await hub.distribute_after() == 2
    assert await hub.distribute_after(after=59 * SECOND) == 0
    assert await hub.distribute_after(after=SECOND) == 2
    hub.set_document(agency("JCM") + "letterhead: {telephone: '+44 20 7946 0100'}\nprobing: {interval: 10m}\n")
    assert await hub.distribute_after(after=SECOND) == 2
    site, name, wanted = hub.asked[-1]
    assert (site in SITES, name) == (True, "noc")
    assert "interval: 10m" in wanted["JCM"].text
    assert "7946" not in wanted["JCM"].text


async def test_distribute_exports_outdated_documents_and_logs_rejection_once(hub: OfferingHub) -> None:
    hub.answers["johor"] = SiteDocumentChanges(outdated=2, rejected={"JCM": "no password"})
    hub.answers["kuching"] = SiteRefusedError("the wire is cut")
    with capture_logs() as logs:
        for _ in range(3):
            await hub.distribute_after(after=60 * SECOND)
    assert [(each["site"], each["reason"]) for each in logs if each["log_level"] == "error"] == [
        ("johor", "no password")
    ]
    assert (hub.outdated("johor"), hub.outdated("kuching")) == (2, None)
    # Johor uses files now, and Kuching is reachable again.
    hub.answers |= {"johor": None, "kuching": SiteDocumentChanges()}
    await hub.distribute_after(after=60 * SECOND)
    assert (hub.outdated("johor"), hub.outdated("kuching")) == (None, 0)


async def test_distribute_with_agency_files_or_as_follower_does_nothing(hub: OfferingHub, tmp_path: Path) -> None:
    await hub.distribute_after()
    hub.is_leader = False
    assert await hub.distribute_after(after=60 * SECOND) == 0
    assert hub.outdated("johor") is None
    hub.is_leader = True
    assert await hub.distribute_after() == 2, "the other one has died"
    settings = hub.configuration.settings.model_copy(update={"agencies": tmp_path})
    hub.configuration = replace(hub.configuration, settings=settings)
    assert await hub.distribute_after(after=60 * SECOND) == 0
