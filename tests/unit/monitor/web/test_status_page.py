"""Status page: shared rendering, incremental updates, own problems, agency states, filters and languages."""

from __future__ import annotations

import asyncio
import gzip
import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from jinja2 import Environment

from alerts.model.channel import Channel
from alerts.model.delivery import NotificationState
from alerts.model.incident import IncidentState
from alerts.model.notification import IncidentType, Purpose
from monitor.access.principal import Principal
from monitor.access.role import AgencyScope, Permission
from monitor.evaluation.attribution import RunVerdict
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.model.day import DayTimeline
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.views.agency_filter import AgencyFilter
from monitor.views.agency_status import AgencyStatus
from monitor.views.overview import ACCEPTED_WITHOUT_ANSWER, AgencyView, IncidentView, NotificationView, RouteView
from monitor.views.self_health import Component, ComponentProblem, ProblemCode
from monitor.views.site_report import view_sites
from monitor.web import page
from monitor.web.api.state import AgencyList
from monitor.web.page import PageLanguage, agency_card, exclusion_reason, texts_of
from monitor.web.page_query import PageQuery
from monitor.web.portal import page_templates, portal
from monitor.web.status_page import StatusPage
from probes.model.check import Verdict
from probes.model.reply import Reason
from probes.model.result import Failure, Outcome, Party, Phase
from tests.unit.alerts.people import T0
from tests.unit.monitor.web import many_agencies
from tests.unit.monitor.web.fake_service import Service, client

HOSTS = ["localhost", "127.0.0.1"]
STATIC = Path(page.__file__).parent / "static"


def view(code: str, *, outcome: Outcome = Outcome.DELIVERED, minutes: int = 0, why: str = "") -> AgencyView:
    route = RouteView(
        name=f"{code}/internal",
        direction=Direction.INTERNAL,
        health=Health.UP,
        last_run_at=T0 + timedelta(minutes=minutes),
        outcome=outcome,
        reason=why,
        failure=Failure(phase=Phase.SUBMIT, party=Party.SENDER, reason=why) if why else None,
    )
    return AgencyView(
        agency=code, name=code, domain="contoh.gov.my", health={Direction.INTERNAL: Health.UP}, routes=[route]
    )


def down(code: str, why: str) -> AgencyView:
    failing = view(code, outcome=Outcome.REJECTED, why=why)
    return replace(failing, health={Direction.INTERNAL: Health.DOWN}, since=T0)


@dataclass
class ManyAgencies(Service):
    """Fake service with a list of agency views."""

    views: list[AgencyView] = field(default_factory=lambda: [view(f"A{number:03}") for number in range(30)])

    async def agencies(self) -> Sequence[AgencyView]:
        return list(self.views)


class CountingTemplates:
    """Templates that record each rendering."""

    def __init__(self) -> None:
        self.rendered: list[str] = []
        self._templates = page_templates()[PageLanguage.MALAY]
        self.filters = self._templates.filters

    def get_template(self, name: str) -> Any:
        template = self._templates.get_template(name)

        class Counted:
            @staticmethod
            def render(*args: Any, **kwargs: Any) -> str:
                self.rendered.append(name)
                return template.render(*args, **kwargs)

        return Counted


def status_page(source: Service, templates: CountingTemplates, *, max_age: float = 0) -> StatusPage:
    return StatusPage(source, {PageLanguage.MALAY: cast(Environment, templates)}, version="1", max_age=max_age)


@pytest.mark.blind
async def test_status_page_concurrent_viewers_render_once() -> None:
    """Defect: Each viewer has the page of 1,000 agencies rendered every two seconds: 2.5 s of CPU.

    Pantau: It is rendered once for all viewers.
    """
    source, templates = ManyAgencies(), CountingTemplates()
    shared = status_page(source, templates, max_age=3600)
    found = await asyncio.gather(*(shared.render() for _ in range(50)))

    assert source.overview_calls == 1
    assert templates.rendered.count("tile.html") == 30
    assert all(each is found[0] for each in found)


@pytest.mark.blind
async def test_status_page_renders_changed_agency_only() -> None:
    """Defect: The whole page is rendered at each change.

    Pantau: An agency is rendered when its display changes.
    """
    source, templates = ManyAgencies(), CountingTemplates()
    shared = status_page(source, templates)
    first = await shared.render()
    templates.rendered.clear()
    # Every route had another successful run.
    source.views = [view(each.agency, minutes=5) for each in source.views]
    assert await shared.render() is first
    assert templates.rendered == []

    source.views[7] = down("A007", "submit (sender) 554: sesuatu")
    second = await shared.render()
    assert [each for each in templates.rendered if each in {"agency.html", "tile.html", "rest.html"}] == ["agency.html"]
    assert second.etag != first.etag
    assert b"554: sesuatu" in second.fragment.plain
    del source.views[7]
    assert b"A007" not in (await shared.render()).fragment.plain


@pytest.mark.blind
async def test_fragment_unchanged_returns_304_and_gzip_is_negotiated() -> None:
    """Defect: Each viewer gets 1 MB every two seconds.

    Pantau: An unchanged page is 304, a new one is compressed.
    """
    async with client(portal(ManyAgencies(), HOSTS)) as web:
        plain = await web.get("/fragment", headers={"Accept-Encoding": "identity"})
        packed = await web.get("/fragment", headers={"Accept-Encoding": "gzip, br"})
        again = await web.get("/fragment", headers={"If-None-Match": plain.headers["etag"]})
        old = await web.get("/fragment", headers={"If-None-Match": '"gone"'})
        whole = await web.get("/")

    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 3
    assert packed.text == plain.text == old.text
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == plain.headers["etag"] == packed.headers["etag"]
    assert packed.headers["vary"] == "Accept-Encoding, Cookie"
    assert plain.text in whole.text
    assert f'data-etag="{plain.headers["etag"].replace(chr(34), "&#34;")}"' in whole.text


async def test_agency_list_serializes_changed_agencies_only() -> None:
    listed, views = AgencyList(), [view("A001"), view("A002")]
    (_, one), (_, two) = await listed.serialize(views)
    again = await listed.serialize(views)
    changed = await listed.serialize([views[0], view("A002", minutes=5)])

    assert all(text is before for (_, text), before in zip(again, (one, two), strict=True))
    assert changed[0][1] is one
    assert changed[1][1] != two
    async with client(portal(ManyAgencies(views=views), HOSTS)) as web:
        answer = await web.get("/api/v1/agencies")
    # Availability changes each day, and is added to the cached text.
    assert [{**each, "availability": []} for each in answer.json()] == [json.loads(one), json.loads(two)]
    assert all(each["availability"] for each in answer.json())
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.blind
@pytest.mark.parametrize(
    ("language", "expected_text"),
    [
        ("ms", ("Data tidak dapat disimpan", "Ujian antara peti mel rujukan gagal", "Simpanan data", "setakat")),
        ("en", ("The database is unavailable", "A control run failed", "Database", "as of")),
    ],
)
@pytest.mark.parametrize("path", ["/", "/fragment", "/agencies/JCM", "/?wallboard=1", "/?q=tiada"])
async def test_own_problems_are_shown_above_agencies(path: str, language: str, expected_text: tuple[str, ...]) -> None:
    """Defect: A fault of Pantau itself is below a thousand agencies.

    Pantau: It is above them, in each language, on a wallboard and with a filter.
    """
    unavailable = ComponentProblem(
        code=ProblemCode.STORE_UNAVAILABLE, health=Health.DOWN, reason="database is locked", since=T0
    )
    refusing = ComponentProblem(
        code=ProblemCode.CONTROL, health=Health.DEGRADED, target="control/a/b", reason="submit (sender) 554: tutup"
    )
    problems_by_component = {
        Component.STORE: {"health": Health.DOWN, "problems": (unavailable,)},
        Component.REFERENCE: {"health": Health.DEGRADED, "problems": (refusing,)},
    }
    async with client(portal(Service(problems_by_component=problems_by_component, recorded_at=T0), HOSTS)) as web:
        text = (await web.get(path, headers={"Cookie": f"bahasa={language}"})).text
    top, _, _ = text.partition('<section id="agencies"')

    assert 'class="own-health down"' in top
    for each in (*expected_text[:3], "database is locked", "24/11 14:15:00", "control/a/b", "554: tutup"):
        assert each in top
    assert f"{expected_text[3]} 24/11 14:15:00" in text, "what the store says is as old as it is"


@pytest.mark.parametrize(
    ("language", "expected_text"),
    [
        (
            "ms",
            "Laporan tapak: johor: tidak dapat dihantar dan diterima, sejak 24/11 14:15; kuching: berfungsi; sabah: tiada laporan baharu",
        ),
        (
            "en",
            "Findings of the sites: johor: sending and receiving fail, since 24/11 14:15; kuching: up; sabah: no current report",
        ),
    ],
)
async def test_agency_page_shows_site_reports_if_several(language: str, expected_text: str) -> None:
    down = SiteStatus(trouble=ActiveProblem(type=IncidentType.BOTH, since=T0))
    sites = view_sites({"johor": down, "kuching": SiteStatus(up_since=T0), "sabah": None})
    shown = ManyAgencies(views=[replace(view("JCM"), sites=sites), view("JKT")], codes=("JCM", "JKT"))
    async with client(portal(shown, HOSTS)) as web:
        web.headers["Cookie"] = f"bahasa={language}"
        several, one = [(await web.get(f"/agencies/{code}")).text for code in ("JCM", "JKT")]
        expected = (await web.get("/api/v1/agencies/JCM")).json()["sites"]

    assert expected_text in " ".join(re.sub(r"<[^>]+>", "", several).split())
    assert expected_text.partition(":")[0] not in one
    assert [each["says"] for each in expected] == ["wrong", "up", "stale"]


@pytest.mark.parametrize(
    ("language", "expected", "by_one"),
    [
        (
            "ms",
            ("Terganggu", "e-mel tidak dapat dihantar · menurut johor, kuching", "Keluar GAGAL Masuk BAIK"),
            ("Terjejas", "Masuk: GAGAL, hanya dilihat dari noc", "Keluar BAIK Masuk GAGAL"),
        ),
        (
            "en",
            ("Down", "mail: sending fails · by johor, kuching", "Out DOWN In UP"),
            ("Degraded", "In: DOWN, detected by noc only", "Out UP In DOWN"),
        ),
    ],
)
async def test_agency_state_follows_site_quorum_and_single_site_is_degraded(
    language: str, expected: tuple[str, ...], by_one: tuple[str, ...]
) -> None:
    down, well = SiteStatus(trouble=ActiveProblem(type=IncidentType.SENDING, since=T0)), SiteStatus(up_since=T0)
    deaf, slow = [
        SiteStatus(trouble=ActiveProblem(type=each, since=T0))
        for each in (IncidentType.RECEIVING, IncidentType.DEGRADED)
    ]
    out, into = Direction.OUTBOUND, Direction.INBOUND
    views = [
        replace(
            view("JCM"),
            health={out: Health.UP, into: Health.UP},
            quorum_type=IncidentType.SENDING,
            sites=view_sites({"noc": well, "johor": down, "kuching": down}),
        ),
        replace(
            view("JKT"),
            health={out: Health.UP, into: Health.DOWN},
            disputed=[into],
            sites=view_sites({"noc": deaf, "johor": slow, "kuching": down}),
        ),
    ]
    async with client(portal(ManyAgencies(views=views, codes=("JCM", "JKT")), HOSTS)) as web:
        web.headers["Cookie"] = f"bahasa={language}"
        for code, expected_text in (("JCM", expected), ("JKT", by_one)):
            for path, begins, ends in (
                ("/", f'id="a-{code}', "</article>"),
                (f"/agencies/{code}", 'id="agencies"', "</section>"),
            ):
                card = (await web.get(path)).text.partition(begins)[2].partition(ends)[0]
                shown = " ".join(re.sub(r"<[^>]+>", " ", card).split())
                assert [each for each in expected_text if each not in shown] == []
        assert [each["state"] for each in (await web.get("/api/v1/agencies")).json()] == ["down", "degraded"]


@pytest.mark.parametrize(
    ("language", "expected_text"), [("ms", "diuji oleh proses prob-2:"), ("en", "probed by process prob-2;")]
)
async def test_agency_page_names_probing_process_if_other(language: str, expected_text: str) -> None:
    shown = ManyAgencies(views=[replace(view("JCM"), probed_by="prob-2"), view("JKT")], codes=("JCM", "JKT"))
    async with client(portal(shown, HOSTS)) as web:
        web.headers["Cookie"] = f"bahasa={language}"
        there, here = [(await web.get(f"/agencies/{code}")).text for code in ("JCM", "JKT")]
    assert expected_text in there
    assert expected_text not in here


class UnreadService(Service):
    """Fake service that has not read its database since the start."""

    async def incidents(self) -> Sequence[IncidentView]:
        return []

    async def latest_notifications(self) -> Sequence[NotificationView]:
        return []


@pytest.mark.blind
@pytest.mark.parametrize("path", ["/", "/fragment"])
async def test_status_page_store_never_read_shows_incidents_unknown(path: str) -> None:
    """Defect: A page that could not read its store since the start shows "Insiden. Tiada · none".

    Pantau: It says that incidents are unknown.
    """
    async with client(portal(UnreadService(recorded_at=T0, was_read=False), HOSTS)) as web:
        unread = (await web.get(path)).text
    async with client(portal(UnreadService(), HOSTS)) as web:
        read = (await web.get(path)).text

    assert "Insiden dan notis tidak diketahui" in unread
    assert "Insiden dan notis tidak diketahui" not in read
    # The list of open incidents, and two tables with their summary lines.
    assert (unread.count("Tidak diketahui"), unread.count(">Tiada<"), unread.count("Tiada insiden terbuka")) == (
        5,
        0,
        0,
    )
    assert (read.count("Tidak diketahui"), read.count(">Tiada<"), read.count("Tiada insiden terbuka")) == (0, 2, 1)


@pytest.mark.parametrize("part", list(Component))
async def test_status_page_shows_every_component(part: Component) -> None:
    async with client(portal(Service(problems_by_component={part: {"health": Health.UNKNOWN}}), HOSTS)) as web:
        text = (await web.get("/fragment")).text

    own = text[: text.index("</section>")]
    name = page.PAGE_TEXTS["components"][part][0]
    assert re.search(rf'<li id="p-{part}" class="unknown" data-news="[^"]+">{name} <strong>BELUM PASTI', own)
    assert own.count('class="up"') == len(Component) - 1


def test_page_texts_cover_every_enum_in_both_languages() -> None:
    closed: dict[str, Iterable[str]] = {
        "problems": ProblemCode,
        "healths": Health,
        "agency_statuses": AgencyStatus,
        "components": Component,
        "incident_types": IncidentType,
        "channels": Channel,
        "purposes": Purpose,
        "incident_states": IncidentState,
        "outcomes": Outcome,
        "phases": Phase,
        "parties": Party,
        "reasons": {*Reason, ACCEPTED_WITHOUT_ANSWER},
        "exclusion_reasons": {*RunVerdict, "pending"} - {RunVerdict.FAILED},
    }
    for language in PageLanguage:
        for section, members in closed.items():
            assert texts_of(section, language).keys() == set(members), section
        assert texts_of("states", language).keys() >= set(NotificationState)
        assert texts_of("verdicts", language).keys() == {*Verdict, "unseen"}
        assert texts_of("directions", language).keys() == set(Direction) - {Direction.CONTROL}
    assert all(
        all(pair) and len(pair) == 2
        for name in page.PAGE_TEXTS
        if "english" not in name
        for pair in page.PAGE_TEXTS[name].values()
    )


@pytest.mark.parametrize(
    ("of", "verdict", "tally"),
    [
        (down("A001", "sender refused"), RunVerdict.FAILED, None),
        (down("A001", "sender refused"), RunVerdict.MONITORING_FAULT, "monitoring_fault"),
        (down("A001", "not arrived"), RunVerdict.SLOW, "slow"),
        (down("A001", "not arrived"), RunVerdict.UNDETERMINED, "undetermined"),
        (down("A001", "not arrived"), None, "pending"),
        (down("A001", ACCEPTED_WITHOUT_ANSWER), RunVerdict.SLOW, None),
        (down("A001", ACCEPTED_WITHOUT_ANSWER), RunVerdict.MONITORING_FAULT, "monitoring_fault"),
        (view("A001"), RunVerdict.GOOD, None),
    ],
)
def test_exclusion_reason_of_failed_run_matches_verdict(
    of: AgencyView, verdict: RunVerdict | None, tally: str | None
) -> None:
    route = replace(of.routes[0], verdict=verdict)
    assert exclusion_reason(route) == tally
    assert exclusion_reason(replace(route, health=Health.DOWN)) == (None if verdict is None else tally)


@pytest.mark.parametrize(("path", "tag"), [("/", "p"), ("/agencies/A001", "td")])
async def test_failed_run_reason_and_exclusion_are_in_page_language(path: str, tag: str) -> None:
    ours = many_agencies.ManyAgencies(scenario=many_agencies.Scenario.MONITORING_FAULT)
    theirs = many_agencies.ManyAgencies(scenario=many_agencies.Scenario.OUTAGE)
    expected_text = 'penghantaran (pelayan pengirim) 554: pengirim ditolak: <span lang="en">5.7.1 Service unavailable'
    async with client(portal(ours, HOSTS)) as web:
        uncounted, counted = [(await web.get(f"{path}?lang={language}")).text for language in PageLanguage]
    async with client(portal(theirs, HOSTS)) as web:
        failed = (await web.get(path)).text
    assert re.search(rf'<{tag} class="why uncounted"[^>]*>(Masuk · )?<b class="tally">tidak dikira', uncounted)
    assert expected_text in " ".join(uncounted.split())
    assert "not counted: a fault of the monitoring" in html.unescape(counted)
    assert "submission (sender's server) 554: sender refused: " in html.unescape(counted)
    assert expected_text in " ".join(failed.split())
    assert 'class="tally"' not in failed


@pytest.mark.blind
def test_agency_without_health_is_unknown() -> None:
    """Defect: An agency without a probed direction is green.

    Pantau: It is unknown.
    """
    assert agency_card(replace(view("A001"), health={})).status is AgencyStatus.UNKNOWN
    assert agency_card(view("A001")).status is AgencyStatus.UP


@pytest.mark.parametrize(("health", "times"), [(Health.UNKNOWN, 1), (Health.UP, 0)])
async def test_agency_page_unknown_routes_say_probed_by_schedule(health: Health, times: int) -> None:
    new = view("A001")
    new = replace(new, routes=[replace(each, health=health) for each in new.routes])
    rendering = await StatusPage(ManyAgencies(views=[new]), page_templates(), version="1").render_agency(
        "A001", PageQuery(), Principal()
    )
    assert rendering
    text = rendering.fragment.plain.decode()
    assert text.count("diuji dengan sendirinya mengikut jadual") == times
    # A telephone shows the first two columns: route and state.
    assert re.findall(r"<th>(.*?)</th>", text)[:2] == ["Laluan", "Keadaan"]


async def test_agency_without_routes_links_editor_to_mailbox_setup() -> None:
    bare = replace(view("A001"), health={}, routes=())
    templates = page_templates(signs_in=True)
    status_page = StatusPage(ManyAgencies(views=[bare, view("A002")]), templates, version="1")
    editor = Principal(open_permissions=frozenset({Permission.EDIT_AGENCY}))
    rendering, read = (
        await status_page.render_agency("A001", PageQuery(), editor),
        await status_page.render_agency("A001", PageQuery(), Principal()),
    )
    assert rendering
    assert read
    assert b"/mailboxes/new" not in read.fragment.plain
    text = (await status_page.full_page(rendering))[1].plain.decode()
    assert "belum ada peti mel" in text
    assert 'href="/agencies/A001/mailboxes/new"' in text
    assert "/agencies/A001/test" not in text
    async with client(portal(ManyAgencies(views=[bare, view("A002")]), HOSTS)) as web:
        assert (await web.get("/")).text.count("belum ada peti mel") == 1
        # Links to metrics are shown at this machine only, in a portal without users.
        assert ('href="/metrics"' in (await web.get("/")).text, "/metrics" in text, "/account" in text) == (
            True,
            False,
            True,
        )
        assert "/mailboxes/new" not in (await web.get("/agencies/A001")).text


@pytest.mark.blind
async def test_status_page_unknown_state_value_is_shown_as_unknown() -> None:
    """Defect: A state without a word stops the page or is green.

    Pantau: It is shown as unknown.
    """
    invented = cast(Health, "splendid")
    odd = replace(view("A001"), health={Direction.INTERNAL: invented})
    problems_by_component = {Component.ENGINE: {"health": invented}}
    async with client(
        portal(ManyAgencies(views=[odd, view("A002")], problems_by_component=problems_by_component), HOSTS)
    ) as web:
        text = (await web.get("/")).text
    assert '<article id="a-A001" class="agency unknown"' in text
    assert "<dd>BELUM PASTI</dd>" in text
    assert re.search(r'<li id="p-engine" class="splendid"[^>]*>Enjin notis <strong>BELUM PASTI', text)
    assert re.search(r'id="n-up"[^>]*><b>1</b>', text)


@pytest.mark.blind
async def test_agency_hidden_by_monitoring_fault_is_not_up() -> None:
    """Defect: An agency hidden by a fault of ours keeps its last green.

    Pantau: It counts as hidden, and its direction as unknown.
    """
    unseen = replace(view("A001"), unobserved=[Direction.INTERNAL])
    async with client(portal(ManyAgencies(views=[unseen]), HOSTS)) as web:
        text = (await web.get("/")).text
    assert '<article id="a-A001" class="agency monitoring_fault"' in text
    assert "<dd>BELUM PASTI</dd>" in text
    assert re.search(r'id="n-monitoring_fault"[^>]*><b>1</b>', text)


@pytest.mark.blind
async def test_agency_with_declared_outage_is_down_despite_probes() -> None:
    """Defect: An agency with a declared outage is green because its probes are.

    Pantau: Its card is red and names the declaration; directions stay measured.
    """
    deaf = replace(view("A001"), incident="A001-01", declared=IncidentType.RECEIVING, declared_by="Aminah <Contoh>")
    card = agency_card(deaf)
    assert (card.status, card.directions) == (AgencyStatus.DOWN, [(Direction.INTERNAL, Health.UP)]), "measured as ever"
    async with client(portal(ManyAgencies(views=[deaf, view("A002")]), HOSTS)) as web:
        text = (await web.get("/")).text
        english = (await web.get("/?lang=en")).text
    assert '<article id="a-A001" class="agency down"' in text
    assert "Insiden A001-01 · e-mel tidak dapat diterima · diisytiharkan oleh Aminah &lt;Contoh&gt;" in text
    assert "Incident A001-01 · mail: receiving fails · declared by Aminah &lt;Contoh&gt;" in english
    assert '<li id="a-A002"><a href="/agencies/A002" title="A002">A002</a></li>' in text


async def test_status_page_worst_agencies_are_cards_and_others_tiles_by_state() -> None:
    source = many_agencies.ManyAgencies(size=100, scenario=many_agencies.Scenario.MASS_OUTAGE)
    async with client(portal(source, HOSTS)) as web:
        text = (await web.get("/")).text
    cards = re.findall(r'<article id="a-(\w+)" class="agency (\w+)"', text)
    # The oldest first.
    assert cards == [(f"A{number:03}", "down") for number in range(97, 97 - 3 * 8, -3)]
    groups = re.findall(r'<ul id="l-(\w+)"(.*?)</ul>', text, re.DOTALL)
    assert [name for name, _ in groups] == ["down", "unknown", "degraded", "maintenance", "silenced", "up"]
    assert sum(tiles.count("<li ") for _, tiles in groups) == 100 - 8
    counted = dict(re.findall(r'id="n-(\w+)"[^>]*><b>(\d+)</b>', text))
    assert counted["down"] == "33"
    assert sum(int(count) for name, count in counted.items() if name != "all") == int(counted["all"]) == 100
    assert text.index('id="open"') < text.index('id="agencies"') < text.index('id="l-down"')


async def test_status_page_of_thousand_agencies_is_below_100_kilobytes() -> None:
    source = many_agencies.ManyAgencies(size=1000, scenario=many_agencies.Scenario.MASS_OUTAGE)
    async with client(portal(source, HOSTS)) as web:
        sizes = [
            (await web.get(path, headers={"Accept-Encoding": "gzip"})).headers["content-length"]
            for path in ("/", "/fragment")
        ]
    assert all(int(size) < 100_000 for size in sizes)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=a01", {"A010", "A011", "A012", "A013", "A014", "A015", "A016", "A017", "A018", "A019"}),
        ("q=a015.jabatan", {"A015"}),
        ("q=malaysia+CONTOH+a016", {"A016"}),
        ("state=down", {"A001", "A004", "A007", "A010", "A013", "A016", "A019"}),
        ("state=down&state=silenced&q=A01", {"A010", "A013", "A016", "A019"}),
        ("q=tiada", set()),
        ("state=", {f"A{number:03}" for number in range(20)}),
    ],
)
async def test_status_page_filter_is_in_url_and_shows_count(query: str, found: set[str]) -> None:
    source = many_agencies.ManyAgencies(size=20, scenario=many_agencies.Scenario.MASS_OUTAGE)
    async with client(portal(source, HOSTS)) as web:
        text = (await web.get(f"/?{query}")).text
        fragment = re.search(r'data-from="([^"]+)"', text)
        assert fragment
        again = (await web.get(html.unescape(fragment[1]))).text
    assert set(re.findall(r'id="a-(\w+)"', text)) == found
    # The counts include all agencies: a filter hides no outage.
    assert re.search(r'id="n-down"[^>]*><b>7</b>', text)
    if query != "state=":
        assert (f"{len(found)} daripada 20 agensi sepadan" in text) is bool(found)
        assert ("Tiada agensi yang sepadan dengan tapisan" in text) is (not found)
    assert again in text


async def test_status_page_open_incidents_count_includes_unlisted() -> None:
    country = many_agencies.ManyAgencies(size=300, scenario=many_agencies.Scenario.MASS_OUTAGE)
    theirs = AgencyScope(agencies=frozenset(f"A{number:03}" for number in range(240)))
    status_page = StatusPage(country, page_templates(), version="1")
    text = (await status_page.render(PageQuery(language=PageLanguage.ENGLISH), theirs)).fragment.plain.decode()
    assert '<h2 id="open-name">Open incidents <small>80</small></h2>' in text
    assert text.count('<li id="i-') == 50
    assert "and 30 more in the" in text


async def test_status_page_without_agency_names_administrators() -> None:
    async with client(portal(many_agencies.ManyAgencies(size=0), HOSTS)) as web:
        text = (await web.get("/?lang=en")).text
    assert "There is no agency to show. Administrators add agencies on the Agencies page." in text


async def test_status_page_unknown_state_filter_is_reported_and_ignored() -> None:
    async with client(
        portal(many_agencies.ManyAgencies(size=20, scenario=many_agencies.Scenario.MASS_OUTAGE), HOSTS)
    ) as web:
        text = (await web.get("/?state=%3Cdwon%3E")).text
    assert "Keadaan &#34;&lt;dwon&gt;&#34; tidak dikenali" in text
    assert len(re.findall(r'id="a-(\w+)"', text)) == 20


async def test_status_page_language_switch_translates_all_and_persists() -> None:
    source = many_agencies.ManyAgencies(size=60, scenario=many_agencies.Scenario.OUTAGE)
    async with client(portal(source, HOSTS)) as web:
        malay = await web.get("/?q=a0")
        english = await web.get("/?q=a0&lang=en")
        later = await web.get("/agencies/A001")
        odd = await web.get("/", headers={"Cookie": "bahasa=<b>"})
    assert malay.text.startswith('<!doctype html>\n<html lang="ms">')
    assert english.text.startswith('<!doctype html>\n<html lang="en">')
    assert '<a class="kept" href="/?q=a0&amp;lang=en" lang="en" hreflang="en">English</a>' in malay.text
    assert "set-cookie" not in malay.headers
    assert "SameSite=lax" in english.headers["set-cookie"]
    assert "<h2>Routes" in later.text
    assert '<html lang="ms">' in odd.text
    # Texts that are not names and not the same in both languages.
    expected = {
        key: texts_of(section, PageLanguage.MALAY)[key]
        for section in ("common", "agency_statuses", "healths", "components")
        for key in texts_of(section, PageLanguage.MALAY)
    }
    both = set(texts_of("common", PageLanguage.ENGLISH).values()) | set(
        texts_of("components", PageLanguage.ENGLISH).values()
    )
    for text in {each for each in expected.values() if "{" not in each and len(each) > 3} - both:
        assert f">{text}<" not in english.text, text


async def test_agency_page_shows_details_and_unknown_code_is_not_found() -> None:
    source = many_agencies.ManyAgencies(size=8, scenario=many_agencies.Scenario.OUTAGE)
    async with client(portal(source, HOSTS)) as web:
        text = (await web.get("/agencies/A001")).text
        fragment = await web.get("/agencies/A001/fragment?lang=ms")
        assert (await web.get("/agencies/TIADA")).status_code == 404
        assert (await web.get("/agencies/%3Cb%3E/fragment")).status_code == 404
    assert 'data-from="/agencies/A001/fragment?lang=ms"' in text
    assert fragment.text in text
    for expected in (
        "A001-01",
        "554: pengirim ditolak",
        "A001/outbound/a",
        "A001/inbound/a",
        "24/11 14:15:00",
        "1.7 s",
    ):
        assert expected in text
    status_page = StatusPage(source, page_templates(), version="1")
    again = await status_page.render_agency("A001", PageQuery(), Principal())
    assert again
    _, page = await status_page.full_page(again)
    assert gzip.decompress(page.gzipped) == page.plain


async def test_wallboard_shows_worst_and_count_of_others() -> None:
    async with client(
        portal(many_agencies.ManyAgencies(size=100, scenario=many_agencies.Scenario.MASS_OUTAGE), HOSTS)
    ) as web:
        many = (await web.get("/?wallboard=1")).text
    async with client(portal(many_agencies.ManyAgencies(size=3), HOSTS)) as web:
        few = (await web.get("/?wallboard")).text
    assert '<html lang="ms" class="wall">' in many
    assert many.count("<article ") == 8
    ill = 100 - int(re.search(r'id="n-up"[^>]*><b>(\d+)</b>', many)[1])  # type: ignore[index]
    assert f'<p class="beyond">dan {ill - 8} lagi</p>' in many
    assert "<table" not in many
    assert few.count("<article ") == 3, "of so few the well have their cards, too"
    assert 'class="beyond"' not in few


async def test_uptime_bars_are_on_worst_cards_not_wallboard_and_update() -> None:
    source = many_agencies.ManyAgencies(size=100, scenario=many_agencies.Scenario.MASS_OUTAGE)
    async with client(portal(source, HOSTS)) as web:
        seen, wall = [(await web.get(path)).text for path in ("/", "/?wallboard=1")]
    assert (seen.count('<svg class="strip"'), wall.count('<svg class="strip"')) == (8, 0)
    assert "<title>23/11/2026: gangguan 1 j 15 min" in seen

    templates = CountingTemplates()
    shared = status_page(source, templates)
    first = await shared.render()
    templates.rendered.clear()
    assert await shared.render() is first
    source.timelines = {**source.timelines, T0.date(): DayTimeline("b90")}
    second = await shared.render()
    assert {*templates.rendered} == {"agency.html", "counts.html", "tiles.html"}
    assert b"24/11/2026: gangguan 1 j 30 min" in second.fragment.plain
    assert second.etag != first.etag


async def test_status_page_cached_filters_are_limited() -> None:
    shared = status_page(ManyAgencies(), CountingTemplates(), max_age=3600)
    for number in range(50):
        await shared.render(PageQuery(agency_filter=AgencyFilter(text=f"A{number:03}")))
    assert len(shared._pages) <= 8


@pytest.mark.blind
async def test_status_page_without_script_reloads_and_becomes_stale() -> None:
    """Defect: A page whose script cannot be loaded stays green for ever.

    Pantau: The style sheet marks it old after half a minute; without scripts it reloads.
    """
    async with client(portal(Service(), HOSTS)) as web:
        text = (await web.get("/")).text
    refresh = re.search(r'<noscript><meta http-equiv="refresh" content="(\d+);url=[^"]+&amp;polled"></noscript>', text)
    style = (STATIC / "status.css").read_text()
    old = re.search(r"#stale \{[^}]*visibility: hidden; animation: grow-old 0s (\d+)s forwards;", style)

    assert refresh
    assert old
    assert int(refresh[1]) < int(old[1])
    assert 'id="stale" role="alert"' in text
    assert "hidden" not in re.search(r'<p id="stale"[^>]*>', text)[0]  # type: ignore[index]


async def test_status_page_gzip_matches_plain() -> None:
    status_page = StatusPage(ManyAgencies(), page_templates(), version="1")
    made = await status_page.render()
    _, page = await status_page.full_page(made)
    assert gzip.decompress(page.gzipped) == page.plain
    assert gzip.decompress(made.fragment.gzipped) == made.fragment.plain


@dataclass
class SixtyOpenIncidents(Service):
    """Fake service with sixty open incidents."""

    async def incidents(self) -> Sequence[IncidentView]:
        (one,) = await super().incidents()
        return [replace(one, id=number, number=f"JCM-{number:02}", resolved_at=None) for number in range(1, 61)]


async def test_status_page_shows_five_open_incidents_folds_45_and_counts_others() -> None:
    async with client(portal(SixtyOpenIncidents(), HOSTS)) as web:
        text = (await web.get("/fragment")).text

    part = text[text.index('id="open"') : text.index('id="agencies"')]
    seen, folded = part.split('<details id="d-open">')
    assert (seen.count("<li id="), folded.count("<li id=")) == (5, 45)
    assert "dan 55 lagi</summary>" in folded
    assert 'dan 10 lagi dalam <a href="/api/v1/incidents">API</a>' in folded


async def test_status_page_links_to_wallboard_and_back() -> None:
    async with client(portal(Service(), HOSTS)) as web:
        page, wallboard = (await web.get("/")).text, (await web.get("/?wallboard=1")).text
    assert 'href="/?wallboard=1"' in page
    assert '<a class="kept" href="/">' in wallboard
