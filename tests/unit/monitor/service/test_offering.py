"""A hub offers its sites the documents that are in force, soon after they are, and shows how far each site is behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from monitor.config.loading import Configuration, load, stored_source
from monitor.metrics import Metrics
from monitor.model.desired_document import OfferDifference
from monitor.model.document import WrittenDocument
from monitor.service.sites.document_distributor import DocumentDistributor
from monitor.store.backend.postgres import PostgresServer
from monitor.store.sites.link import SiteConnection, SiteRefusedError
from tests.integration.watching import agency, laid_out
from tests.unit.alerts.people import T0
from tests.unit.monitor.scrape import Scrape

NOWHERE = PostgresServer(host="127.0.0.1", port=1, database="x", user="x", tls=True)
SITES = ("johor", "kuching")
SECOND = timedelta(seconds=1)


class OfferingHub:
    """Has JCM in force; what its sites answer is said beforehand."""

    def __init__(self, place: Path) -> None:
        self.settings = laid_out(place) / "pantau.yaml"
        self.configuration: Configuration
        self.record_documents_level(agency("JCM"))
        self.time = timedelta(0)
        self.metrics = Metrics(version="1", now=lambda: T0)
        self.is_ours = True
        self.answers: dict[str, OfferDifference | SiteRefusedError | None] = dict.fromkeys(SITES, OfferDifference())
        self.asked: list[tuple[str, str, Mapping[str, WrittenDocument]]] = []
        self.offering = DocumentDistributor(
            [SiteConnection(site=each, server=NOWHERE, hub="noc", store=NOWHERE) for each in SITES],
            self.metrics,
            configuration=lambda: self.configuration,
            is_leader=lambda: self.is_ours,
            offer=self._offer,
            monotonic=lambda: self.time,
        )

    def record_documents_level(self, text: str) -> None:
        written = stored_source(WrittenDocument(agency="JCM", name="jcm.yaml", text=text))
        self.configuration = load(self.settings, {}, documents=[written]).accepted()

    def _offer(self, member: SiteConnection, wanted: Mapping[str, WrittenDocument]) -> OfferDifference | None:
        self.asked.append((member.site, member.hub, wanted))
        answer = self.answers[member.site]
        if isinstance(answer, SiteRefusedError):
            raise answer
        return answer

    async def look(self, *, after: timedelta = 5 * SECOND) -> int:
        """Look once; return how many sites were asked by that."""
        before, self.time = len(self.asked), self.time + after
        await self.offering.distribute()
        return len(self.asked) - before

    def behind(self, site: str) -> float | None:
        return Scrape(self.metrics).value("site_documents_outdated", site=site)


@pytest.fixture
def hub(tmp_path: Path) -> OfferingHub:
    return OfferingHub(tmp_path / "noc")


async def test_sites_are_asked_each_minute_and_soon_after_something_else_is_in_force(hub: OfferingHub) -> None:
    assert await hub.look() == 2
    assert await hub.look(after=59 * SECOND) == 0
    assert await hub.look(after=SECOND) == 2
    hub.record_documents_level(
        agency("JCM") + "letterhead: {telephone: '+44 20 7946 0100'}\nprobing: {interval: 10m}\n"
    )
    assert await hub.look(after=SECOND) == 2
    site, name, wanted = hub.asked[-1]
    assert (site in SITES, name) == (True, "noc")
    assert "interval: 10m" in wanted["JCM"].text
    assert "7946" not in wanted["JCM"].text


async def test_how_far_each_is_behind_is_shown_and_a_refusal_is_logged_once(hub: OfferingHub) -> None:
    hub.answers["johor"] = OfferDifference(outdated=2, rejected={"JCM": "no password"})
    hub.answers["kuching"] = SiteRefusedError("the wire is cut")
    with capture_logs() as logs:
        for _ in range(3):
            await hub.look(after=60 * SECOND)
    assert [(each["site"], each["reason"]) for each in logs if each["log_level"] == "error"] == [
        ("johor", "no password")
    ]
    assert (hub.behind("johor"), hub.behind("kuching")) == (2, None)
    # It keeps files; and the wire is mended.
    hub.answers |= {"johor": None, "kuching": OfferDifference()}
    await hub.look(after=60 * SECOND)
    assert (hub.behind("johor"), hub.behind("kuching")) == (None, 0)


async def test_who_keeps_files_or_leaves_it_to_another_process_offers_nothing(hub: OfferingHub, tmp_path: Path) -> None:
    await hub.look()
    hub.is_ours = False
    assert await hub.look(after=60 * SECOND) == 0
    assert hub.behind("johor") is None
    hub.is_ours = True
    assert await hub.look() == 2, "the other one has died"
    settings = hub.configuration.settings.model_copy(update={"agencies": tmp_path})
    hub.configuration = replace(hub.configuration, settings=settings)
    assert await hub.look(after=60 * SECOND) == 0
