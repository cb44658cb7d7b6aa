"""The page is rendered once for all who look, again only where something changed, and says on top how Pantau stands."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from jinja2 import Environment

from alerts.model.notice import Matter
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.views.overview import AgencyView, IncidentView, NoticeView, RouteView
from monitor.views.own_health import Complaint, Ill, OwnPart
from monitor.web import page
from monitor.web.api.state import AgencyList
from monitor.web.board import Board
from monitor.web.page import card_of
from monitor.web.portal import page_templates, portal
from probes.model.result import Outcome
from tests.unit.alerts.people import T0
from tests.unit.monitor.web.source import Service, client

HOSTS = ["localhost", "127.0.0.1"]
STATIC = Path(page.__file__).parent / "static"


def view(code: str, *, outcome: Outcome = Outcome.DELIVERED, minutes: int = 0, why: str = "") -> AgencyView:
    route = RouteView(
        name=f"{code}/internal",
        direction=Direction.INTERNAL,
        health=Health.UP,
        last_run_at=T0 + timedelta(minutes=minutes),
        outcome=outcome,
        why=why,
    )
    return AgencyView(
        agency=code, name=code, domain="contoh.gov.my", health={Direction.INTERNAL: Health.UP}, routes=[route]
    )


@dataclass
class Country(Service):
    """Many agencies, and who is asked for them."""

    views: list[AgencyView] = field(default_factory=lambda: [view(f"A{number:03}") for number in range(30)])

    async def agencies(self) -> Sequence[AgencyView]:
        return list(self.views)


class Counting:
    """Templates that know how often each was rendered."""

    def __init__(self) -> None:
        self.rendered: list[str] = []
        self._templates = page_templates()

    def get_template(self, name: str) -> Any:
        template = self._templates.get_template(name)

        class Counted:
            @staticmethod
            def render(*args: Any, **kwargs: Any) -> str:
                self.rendered.append(name)
                return template.render(*args, **kwargs)

        return Counted


def board(source: Service, templates: Counting, *, fresh: float = 0) -> Board:
    return Board(source, cast(Environment, templates), version="1", fresh=fresh)


@pytest.mark.blind
async def test_however_many_look_at_once_the_page_is_made_once() -> None:
    source, templates = Country(), Counting()
    shared = board(source, templates, fresh=3600)
    found = await asyncio.gather(*(shared.rendering() for _ in range(50)))

    assert source.looks == 1
    assert templates.rendered.count("agency.html") == 30
    assert all(each is found[0] for each in found)


@pytest.mark.blind
async def test_only_the_agency_that_changed_is_rendered_again_and_a_run_that_went_well_changes_none() -> None:
    source, templates = Country(), Counting()
    shared = board(source, templates)
    first = await shared.rendering()
    templates.rendered.clear()
    # Every route was run once more, and all went well.
    source.views = [view(each.agency, minutes=5) for each in source.views]
    assert await shared.rendering() is first
    assert templates.rendered == []

    source.views[7] = view("A007", outcome=Outcome.REJECTED, why="submit (sender) 554: sesuatu")
    second = await shared.rendering()
    assert templates.rendered == ["agency.html", "status.html"]
    assert second.etag != first.etag
    assert b"554: sesuatu" in second.state.plain
    del source.views[7]
    assert b"A007" not in (await shared.rendering()).state.plain


@pytest.mark.blind
async def test_who_has_the_page_already_is_sent_nothing_and_who_can_unpack_it_a_small_one() -> None:
    async with client(portal(Country(), HOSTS)) as web:
        plain = await web.get("/fragment", headers={"Accept-Encoding": "identity"})
        packed = await web.get("/fragment", headers={"Accept-Encoding": "gzip, br"})
        again = await web.get("/fragment", headers={"If-None-Match": plain.headers["etag"]})
        old = await web.get("/fragment", headers={"If-None-Match": '"gone"'})
        whole = await web.get("/")

    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 5
    assert packed.text == plain.text == old.text
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == plain.headers["etag"] == packed.headers["etag"]
    assert packed.headers["vary"] == "Accept-Encoding"
    assert plain.text in whole.text
    assert f'data-etag="{plain.headers["etag"].replace(chr(34), "&#34;")}"' in whole.text


async def test_the_list_for_programs_is_written_anew_only_for_agencies_that_changed() -> None:
    listed, views = AgencyList(), [view("A001"), view("A002")]
    (_, one), (_, two) = await listed.written(views)
    again = await listed.written(views)
    changed = await listed.written([views[0], view("A002", minutes=5)])

    assert all(text is before for (_, text), before in zip(again, (one, two), strict=True))
    assert changed[0][1] is one
    assert changed[1][1] != two
    async with client(portal(Country(views=views), HOSTS)) as web:
        answer = await web.get("/api/v1/agencies")
    assert answer.content == b"[" + one + b"," + two + b"]"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.blind
@pytest.mark.parametrize("path", ["/", "/fragment"])
async def test_what_is_wrong_with_pantau_stands_before_every_agency_in_malay_and_in_english(path: str) -> None:
    away = Complaint(ill=Ill.STORE_AWAY, health=Health.DOWN, why="database is locked", since=T0)
    refusing = Complaint(ill=Ill.CONTROL, health=Health.DEGRADED, about="control/a/b", why="submit (sender) 554: tutup")
    ills = {
        OwnPart.STORE: {"health": Health.DOWN, "complaints": (away,)},
        OwnPart.REFERENCE: {"health": Health.DEGRADED, "complaints": (refusing,)},
    }
    async with client(portal(Service(ills=ills, recorded_at=T0), HOSTS)) as web:
        text = (await web.get(path)).text
    top, _, below = text.partition('<section aria-label="Agensi">')

    assert '<section class="own-health down"' in top
    for said in (
        "Data tidak dapat disimpan",
        "the store is away",
        "database is locked",
        "24/11 14:15:00",
        "Ujian antara peti mel rujukan gagal",
        "control/a/b",
        "554: tutup",
    ):
        assert said in top
    assert "setakat" in below, "what the store says is as old as it is"


class NothingRead(Service):
    """Has not been able to read its store since it was started."""

    async def incidents(self) -> Sequence[IncidentView]:
        return []

    async def notices(self) -> Sequence[NoticeView]:
        return []


@pytest.mark.blind
@pytest.mark.parametrize("path", ["/", "/fragment"])
async def test_before_the_store_was_ever_read_nobody_is_told_that_there_is_no_incident(path: str) -> None:
    async with client(portal(NothingRead(recorded_at=T0, was_read=False), HOSTS)) as web:
        unread = (await web.get(path)).text.partition("<h2>Insiden")
    async with client(portal(NothingRead(), HOSTS)) as web:
        read = (await web.get(path)).text.partition("<h2>Insiden")

    assert "Insiden dan notis tidak diketahui" in unread[0]
    assert "Insiden dan notis tidak diketahui" not in read[0]
    assert (unread[2].count("Tidak diketahui"), unread[2].count("Tiada <span")) == (2, 0)
    assert (read[2].count("Tidak diketahui"), read[2].count("Tiada <span")) == (0, 2)


@pytest.mark.parametrize("part", list(OwnPart))
async def test_each_part_of_pantau_is_always_on_the_page_by_its_malay_name(part: OwnPart) -> None:
    async with client(portal(Service(ills={part: {"health": Health.UNKNOWN}}), HOSTS)) as web:
        text = (await web.get("/fragment")).text

    assert re.search(
        rf'<li class="unknown">{page.PARTS[part][0]} <span lang="en">[\w ]+</span> <strong>BELUM PASTI', text
    )
    assert text.count('<li class="up">') == len(OwnPart) - 1


def test_there_are_words_for_all_that_can_be_wrong() -> None:
    assert page.ILLS.keys() == set(Ill)
    assert page.HEALTHS.keys() == set(Health)
    assert all(malay and english for malay, english in page.ILLS.values())


@pytest.mark.blind
def test_an_agency_of_which_nothing_is_known_is_not_green() -> None:
    assert card_of(replace(view("A001"), health={})).health is Health.UNKNOWN
    assert card_of(view("A001")).health is Health.UP


@pytest.mark.blind
async def test_an_agency_that_people_have_declared_deaf_is_not_green_because_its_probes_are() -> None:
    deaf = replace(view("A001"), incident="A001-01", declared=Matter.RECEIVING, declared_by="Aminah <Contoh>")
    card = card_of(deaf)
    assert (card.health, card.directions) == (Health.DOWN, [(Direction.INTERNAL, Health.UP)]), "measured as ever"
    async with client(portal(Country(views=[deaf, view("A002")]), HOSTS)) as web:
        text = (await web.get("/")).text
    assert '<article class="agency down">\n    <h2>A001' in text
    assert (
        "Insiden A001-01 · e-mel tidak dapat diterima (cannot be received) · diisytiharkan oleh Aminah &lt;Contoh&gt;"
        in text
    )
    assert '<article class="agency up">\n    <h2>A002' in text


@pytest.mark.blind
async def test_without_its_script_the_page_asks_again_and_is_old_unless_proven_fresh() -> None:
    async with client(portal(Service(), HOSTS)) as web:
        text = (await web.get("/")).text
    refresh = re.search(r'<noscript><meta http-equiv="refresh" content="(\d+)"></noscript>', text)
    style = (STATIC / "status.css").read_text()
    old = re.search(r"#stale \{[^}]*visibility: hidden; animation: grow-old 0s (\d+)s forwards;", style)

    assert refresh
    assert old
    assert int(refresh[1]) < int(old[1])
    assert 'id="stale" role="alert"' in text
    assert "hidden" not in re.search(r'<p id="stale"[^>]*>', text)[0]  # type: ignore[index]


async def test_the_packed_page_is_the_page() -> None:
    made = await Board(Country(), page_templates(), version="1").rendering()
    assert gzip.decompress(made.page.packed) == made.page.plain
    assert gzip.decompress(made.state.packed) == made.state.plain
