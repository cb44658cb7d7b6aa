from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.boards.__main__ import files
from grafana.boards.panel import NOTHING
from monitor.metrics import Metrics
from monitor.web.portal import portal
from tests.unit.grafana import dashboards, promql, promtool
from tests.unit.grafana.dashboards import BOARDS, GRAFANA, panels, query_of, with_variables
from tests.unit.grafana.rules import LOCAL, RECORDINGS
from tests.unit.monitor.web.fake_service import Service, client

OVERVIEW, AGENCY, NOTIFICATIONS, SELF = "pantau-overview", "pantau-agency", "pantau-notifications", "pantau-self"
PANELS = [pytest.param(panel, id=f"{board}: {panel['title']}") for board in BOARDS for panel in panels(board)]
#: Panels whose colour shows a current state.
COLOURED = [panel for panel in panels() if panel["type"] in {"stat", "bargauge"}]
#: Dashboard variables for the agency of promtool's scrape.
VARIABLES = {"__rate_interval": "1m", "__range": "1h", "agency": "JCM", "route": "JCM/internal"}
#: A rule that no query reads: promtool needs one.
UNUSED = {"record": "agency:unused", "expr": "pantau_build_info"}


@pytest.fixture(scope="module")
def known() -> set[str]:
    text = Metrics(version="1", now=lambda: datetime(2026, 3, 2, tzinfo=UTC)).render().decode()
    prometheus_own = {"up", "scrape_duration_seconds", "ALERTS"}
    return {*re.findall(r"^# TYPE (\S+)", text, re.MULTILINE), *RECORDINGS, *prometheus_own}


@pytest.fixture(scope="module")
def counters() -> set[str]:
    text = Metrics(version="1", now=lambda: datetime(2026, 3, 2, tzinfo=UTC)).render().decode()
    histograms = {f"{name}_bucket" for name in re.findall(r"^# TYPE (pantau_\S+) histogram", text, re.MULTILINE)}
    return {*re.findall(r"^# TYPE (\S+) counter", text, re.MULTILINE), *histograms}


def test_dashboard_files_match_generated_ones() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in (GRAFANA / "dashboards").iterdir()}
    assert written == files(), "python -m grafana.boards writes them"


@pytest.mark.parametrize("panel", PANELS)
def test_panel_has_bilingual_title_description_and_unit(panel: dict[str, Any]) -> None:
    assert re.fullmatch(r".+ · .+", panel["title"])
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


def test_panel_titles_are_unique_per_dashboard() -> None:
    for board in BOARDS:
        titles = [panel["title"] for panel in panels(board)]
        assert len(titles) == len(set(titles))


@pytest.mark.parametrize("panel", PANELS)
def test_panel_queries_only_existing_metrics(panel: dict[str, Any], known: set[str]) -> None:
    for target in panel["targets"]:
        assert promql.metrics(target["expr"]) <= known


@pytest.mark.parametrize("panel", PANELS)
def test_panel_shows_no_raw_counter(panel: dict[str, Any], counters: set[str]) -> None:
    for target in panel["targets"]:
        bare = re.sub(r"\b(?:rate|increase)\(\w+(?:\{[^}]*\})?\[[^]]+\]\)", "", target["expr"])
        assert not {selector.partition("{")[0] for selector in promql.selectors(bare)} & counters


@pytest.mark.parametrize("panel", PANELS)
def test_panel_uses_chosen_data_source(panel: dict[str, Any]) -> None:
    for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
        assert source == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("board", BOARDS)
def test_dashboard_has_tag_and_is_not_editable(board: str) -> None:
    body = BOARDS[board]
    assert (body["uid"], body["tags"], body["editable"]) == (board, ["pantau"], False)
    assert body["title"].startswith("Pantau: ")
    [others] = [link for link in body["links"] if link["type"] == "dashboards"]
    assert others["tags"] == body["tags"]


@pytest.mark.parametrize("board", BOARDS)
def test_dashboard_variables_query_existing_metrics_and_refresh_with_time(board: str, known: set[str]) -> None:
    first, *others = BOARDS[board]["templating"]["list"]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    queries = [v for v in others if v["type"] == "query"]
    found = [re.fullmatch(r"label_values\(([\w:]+)(?:\{.*\})?, \w+\)", v["query"]["query"]) for v in queries]
    assert {match and match[1] for match in found} <= known | {"pantau:addresses:info"}
    assert {v["refresh"] for v in queries} <= {2}


@pytest.mark.parametrize("board", BOARDS)
def test_dashboard_uses_exactly_its_variables(board: str) -> None:
    mine = {v["name"] for v in BOARDS[board]["templating"]["list"]}
    grafanas = {"__range", "__rate_interval", "__url_time_range", "__data", "__field"}
    # Without the groups of label_replace.
    used = set(re.findall(r"\$\{?([a-zA-Z_]\w*)", json.dumps(BOARDS[board])))
    assert used <= mine | grafanas
    assert mine <= used


def test_local_rules_define_each_address_used_in_links() -> None:
    rule = LOCAL["pantau:addresses:info"]
    queries = {v["query"]["query"] for b in BOARDS.values() for v in b["templating"]["list"] if v["type"] == "query"}
    opt_in = {m[1] for q in queries if (m := re.fullmatch(r"label_values\(pantau:addresses:info, (\w+)\)", q))}
    assert opt_in <= rule["labels"].keys()
    assert not [address for address in rule["labels"].values() if address.endswith("/")]


def test_wallboard_rows_link_to_existing_runbooks() -> None:
    named = set(re.findall(r'"runbook", "([^"]+)"', query_of(OVERVIEW, "Worst first")))
    assert len(named) > 4
    assert not [name for name in named if not (GRAFANA.parent / "docs/runbooks" / f"{name}.md").exists()]


def test_wallboard_numbers_have_links() -> None:
    numbers = [panel for panel in panels(OVERVIEW) if panel["type"] == "stat"]
    assert [panel["title"] for panel in numbers if not panel["fieldConfig"]["defaults"]["links"]] == []


async def test_dashboard_external_links_lead_to_existing_runbook_or_page_section() -> None:
    led = set(re.findall(r'"url": "\$\{(page|runbooks)\}([^"]*)"', json.dumps(list(BOARDS.values()))))
    # Runbooks named by rows are checked in another test.
    runbooks = {path.removeprefix("/") for where, path in led if where == "runbooks" and "__data" not in path}
    assert [name for name in runbooks if not (GRAFANA.parent / "docs/runbooks" / name).is_file()] == []
    pages = {re.sub(r"\$\{__data\.fields\.agency\}|\$agency", "JCM", path) for where, path in led if where == "page"}
    assert runbooks
    assert len(pages) > 2
    async with client(portal(Service(), ["localhost"])) as web:
        for page in pages:
            path, _, part = page.partition("#")
            answer = await web.get(path)
            assert answer.status_code == 200, page
            assert not part or f'id="{part}"' in answer.text, page


def test_wallboard_rows_show_cause_and_start_with_several_sites(tmp_path: Path) -> None:
    """Two sites report MDC with different causes. PPC is unknown, SPC has an incident without cause."""
    mdc = 'agency="MDC",direction="inbound"'
    series = {
        'pantau_build_info{instance="a"}': "1x9",
        f'pantau_mail_up{{{mdc},instance="a"}}': "0x9",
        'pantau_mail_up{agency="MDC",direction="internal",instance="a"}': "0x9",
        'pantau_outage_declared{agency="MDC",direction="outbound",instance="b"}': "1x9",
        f'pantau_mail_failure_cause{{{mdc},outcome="lost",party="recipient",instance="a"}}': "1x9",
        f'pantau_mail_failure_cause{{{mdc},outcome="lost",party="recipient",instance="b"}}': "1x9",
        'pantau_incident_opened_timestamp_seconds{agency="MDC",incident="2026-7",instance="a"}': "60x9",
        'pantau_incident_opened_timestamp_seconds{agency="MDC",incident="2026-9",instance="a"}': "90x9",
        'pantau_probe_success_overdue_timestamp_seconds{agency="PPC",instance="a"}': "30x9",
        'pantau_mail_up{agency="SPC",direction="inbound",instance="a"}': "0x9",
        'pantau_incident_opened_timestamp_seconds{agency="SPC",incident="2026-8",instance="a"}': "120x9",
    }
    two = series | {f'pantau_mail_failure_cause{{{mdc},outcome="tls",party="recipient",instance="c"}}': "1x9"}
    rows, since, cause, directions = (target["expr"] for target in dashboards.panel(OVERVIEW, "Worst first")["targets"])
    down = 'runbook="mail-down"'
    told = [
        promtool.ask(f"count({rows})", "5m", [("{}", 3)]),
        promtool.ask(
            since,
            "5m",
            [
                (f'{{agency="MDC",{down},incident="2026-7"}}', 60_000),
                (f'{{agency="SPC",{down},incident="2026-8"}}', 120_000),
                ('{agency="PPC",runbook="mail-unknown"}', 30_000),
            ],
        ),
        promtool.ask(cause, "5m", [(f'{{agency="MDC",{down},outcome="lost",party="recipient"}}', 1)]),
        promtool.ask(directions, "5m", [(f'{{agency="MDC",{down}}}', 7), (f'{{agency="SPC",{down}}}', 4)]),
    ]
    both = [promtool.ask(f"count({cause})", "5m", [("{}", 1)])]
    assert not promtool.run(tmp_path, [promtool.story("why", series, told), promtool.story("two", two, both)], UNUSED)


def test_wallboard_counts_quorum_outage_and_not_single_site_outage(tmp_path: Path) -> None:
    series = {
        'pantau_build_info{instance="hub"}': "1x9",
        'pantau_probe_success_timestamp_seconds{agency="JCM",instance="hub"}': "0+60x9",
        'pantau_mail_up{agency="JCM",direction="inbound",instance="hub"}': "1x9",
        'pantau_quorum_outage{agency="JCM",direction="inbound",instance="hub"}': "1x9",
        'pantau_quorum_outage{agency="JCM",direction="outbound",instance="hub"}': "0x9",
        'pantau_mail_up{agency="MDC",direction="inbound",instance="hub"}': "0x9",
        'pantau_quorum_outage{agency="MDC",direction="inbound",instance="hub"}': "0x9",
    }
    rows, *_, directions = (target["expr"] for target in dashboards.panel(OVERVIEW, "Worst first")["targets"])
    told = [
        promtool.ask(query_of(OVERVIEW, "Down"), "5m", [("{}", 1)]),
        promtool.ask(query_of(OVERVIEW, "Degraded"), "5m", [("{}", 1)]),
        promtool.ask(
            rows, "5m", [('{agency="JCM",runbook="mail-down"}', 6), ('{agency="MDC",runbook="mail-degraded"}', 2)]
        ),
        promtool.ask(
            directions,
            "5m",
            [('{agency="JCM",runbook="mail-down"}', 4), ('{agency="MDC",runbook="mail-degraded"}', 4)],
        ),
    ]
    assert not promtool.run(tmp_path, [promtool.story("together", series, told)], UNUSED)


def test_wallboard_mass_outage_lists_agencies_once_by_state_then_duration(tmp_path: Path) -> None:
    """Forty agencies are down in all directions, one minute apart; a degraded one has been so for months."""
    series = {'pantau_build_info{instance="a"}': "1x60"}
    for number in range(40):
        for direction in ("internal", "outbound", "inbound"):
            series[f'pantau_mail_up{{agency="A{number:02}",direction="{direction}",instance="a"}}'] = "0x60"
        if number != 39:  # Its incident is not exported yet.
            opened = f'agency="A{number:02}",incident="A{number:02}-1",instance="a"'
            series[f"pantau_incident_opened_timestamp_seconds{{{opened}}}"] = f"{60 * (39 - number)}x60"
    series['pantau_mail_degraded{agency="SLOW",direction="inbound",instance="a"}'] = "1x60"
    series['pantau_incident_opened_timestamp_seconds{agency="SLOW",incident="S-1",instance="a"}'] = "-9000000x60"
    rows = query_of(OVERVIEW, "Worst first")
    longest = [f"A{number:02}" for number in range(38, 18, -1)]
    told = [
        promtool.ask(f"count({rows})", "50m", [("{}", 20)]),
        promtool.ask(f"count(({rows}) > 6 < 7)", "50m", [("{}", 20)]),
        promtool.ask(f"count({rows.replace('topk(20,', 'topk(40,')})", "50m", [("{}", 40)]),
        promtool.ask(
            f"floor(({rows.replace('topk(20,', 'bottomk(1,')}))",
            "50m",
            [('{agency="SLOW",runbook="mail-degraded"}', 2)],
        ),
        *(
            promtool.ask(
                f'count(({rows.replace("topk(20,", f"topk({place},")}) and on (agency) pantau_mail_up{{agency="{code}"}})',
                "50m",
                [("{}", 1)],
            )
            for place, code in enumerate(longest[:3], 1)
        ),
    ]
    assert not promtool.run(tmp_path, [promtool.story("mass outage", series, told)], UNUSED)


def test_dashboard_links_name_existing_dashboards_variables_and_labels() -> None:
    led = 0
    for panel in panels():
        # A recording has its labels before the first colon.
        text = re.sub(r"([a-z]+)_([a-z]+)(?=:)", r"by (\1, \2) ", " ".join(t["expr"] for t in panel["targets"]))
        labels = promql.labels(text) | set(re.findall(r'"(\w+)", "[^"]+", "", ""\)', text))
        for url in re.findall(r'"url": "([^"]+)"', json.dumps(panel)):
            path, _, query = url.partition("?")
            if path.startswith("/d/"):
                led += 1
                variables = {v["name"] for v in BOARDS[path.removeprefix("/d/")]["templating"]["list"]}
                assert set(re.findall(r"var-(\w+)=", query)) <= variables
            assert set(re.findall(r"\$\{__(?:data\.fields|field\.labels)\.(\w+)\}", url)) <= labels
    assert led > 6


@pytest.mark.blind
@pytest.mark.parametrize("panel", COLOURED, ids=lambda panel: panel["title"])
def test_coloured_panel_without_data_says_no_data_and_is_not_green(panel: dict[str, Any]) -> None:
    """Defect: A panel without data is green.

    Pantau: It shows NO DATA · TIADA DATA, a number in red.
    """
    defaults = panel["fieldConfig"]["defaults"]
    nothing = [
        mapping["options"]["result"]
        for mapping in defaults["mappings"]
        if mapping["type"] == "special" and mapping["options"]["match"] == "null+nan"
    ]
    assert [result["text"] for result in nothing] == [NOTHING]
    # The first threshold colours missing values, unless a mapping has a colour.
    assert nothing[0]["color"] == ("red" if panel["type"] == "stat" else "text")
    assert defaults["noValue"] == nothing[0]["text"]


def test_current_state_panels_use_instant_queries() -> None:
    # An old last value is no current one.
    targets = [t for p in panels() if p["type"] in {"stat", "bargauge", "table"} for t in p["targets"]]
    assert all(target["instant"] and not target["range"] for target in targets)


@pytest.mark.blind
def test_wallboard_query_has_no_fallback_zero() -> None:
    """Defect: A zero stands for missing data (`or vector(0)`).

    Pantau: No query has one.
    """
    rules = (GRAFANA / "rules" / "pantau.rules.yml").read_text()
    assert not [expr for expr in expressions() if "vector(" in expr or "absent" in expr]
    assert re.findall(r".*vector\(.*", rules) == ["        expr: vector(1)"], (
        "the watchdog fires of nothing, and it alone"
    )


@pytest.mark.blind
def test_dead_pantau_panels_show_no_number_at_any_later_time(tmp_path: Path) -> None:
    """Defect: An empty list of agencies that are down looks the same when the service is dead.

    Pantau: Every number, bar and list needs a series that only a living Pantau exports.
    """
    alive = {series: f"{value}x9 stale _x400" for series, value in promtool.scrape()}
    # Only an unreadable target is left.
    series = alive | {'up{job="pantau",instance="a"}': "1x9 0x400"}
    tables = [panel for panel in panels() if panel["type"] == "table"]
    # Past events stay until they leave the range: they are no state and have no colour.
    states = [
        (p["title"], t["expr"]) for p in (*COLOURED, *tables) for t in p["targets"] if "increase(" not in t["expr"]
    ]
    unread = {query_of(OVERVIEW, "Scraped"): [("{}", 1)], query_of(SELF, "Scraped"): [('{instance="a"}', 0)]}
    story = [
        promtool.ask(with_variables(expr, VARIABLES), at, unread.get(expr, []))
        for _, expr in states
        for at in ("10m20s", "13m", "5h")
    ]
    assert len(states) > 50
    # Recordings of thirty days remain; panels show them only while Pantau can be read.
    recorded = {"record": "agency_direction:pantau_mail_up:avg1d", "expr": "avg_over_time(pantau_mail_up[1d])"}
    assert not promtool.run(tmp_path, [promtool.story("death", series, story)], recorded)


@pytest.mark.blind
def test_wallboard_unreadable_instance_shows_no_zero(tmp_path: Path) -> None:
    """Defect: One of two processes dies, and the other lets the wallboard show "down 0".

    Pantau: A zero of all agencies needs every Pantau to be readable.
    """
    series = {'pantau_probe_success_timestamp_seconds{agency="MDC",instance="b"}': "0+60x9"}
    for instance, agency, up, end in (("a", "JCM", 0, "2 stale"), ("b", "MDC", 1, "9")):
        of = f'agency="{agency}",instance="{instance}"'
        series |= {
            f'up{{job="pantau",instance="{instance}"}}': "1x2 0x6" if end != "9" else "1x9",
            f'pantau_build_info{{instance="{instance}"}}': f"1x{end}",
            f'pantau_mail_up{{{of},direction="inbound"}}': f"{up}x{end}",
            f"pantau_incidents_open{{{of}}}": f"{1 - up}x{end}",
            f"pantau_probe_overdue_timestamp_seconds{{{of}}}": f"9999x{end}",
            f"pantau_probe_success_overdue_timestamp_seconds{{{of}}}": f"9999x{end}",
        }
    told = [promtool.ask(query_of(OVERVIEW, "Down"), "2m", [("{}", 1)])]
    told += [promtool.ask(expr, "5m", []) for expr in count_queries().values()]
    told += [
        promtool.ask(query_of(OVERVIEW, "Worst first"), "5m", []),
        promtool.ask(query_of(OVERVIEW, "Scraped"), "5m", [("{}", 1)]),
    ]
    assert not promtool.run(tmp_path, [promtool.story("two", series, told)], UNUSED)


def test_wallboard_incidents_of_removed_agencies_stay_open(tmp_path: Path) -> None:
    series = {
        'pantau_incidents_open{agency="JCM"}': "1x2 stale",
        'pantau_incidents_open{agency="MDC"}': "0x9",
        "pantau_incidents_orphaned": "0x2 1x6",
        "pantau_store_up": "1x9",
    }
    told = [promtool.ask(query_of(OVERVIEW, "Open incidents"), at, [("{}", 1)]) for at in ("2m", "5m")]
    assert not promtool.run(tmp_path, [promtool.story("removed", series, told)], UNUSED)


def test_engine_panel_clock_one_hour_ahead_shows_stalled_engine(tmp_path: Path) -> None:
    series = {'pantau_engine_last_cycle_timestamp_seconds{instance="a"}': "3600+60x3 3780x9"}
    told = [promtool.ask(f"{query_of(OVERVIEW, 'Engine')} > bool 180", "9m", [("{}", 1)])]
    assert not promtool.run(tmp_path, [promtool.story("ahead", series, told)], UNUSED)


@pytest.mark.blind
def test_store_unavailable_panels_show_no_zero_and_notifications_disabled(tmp_path: Path) -> None:
    """Defect: With the store unavailable, dashboards show in green that nothing is open.

    Pantau: A zero that nobody can store is NO DATA, and "people are notified" is NOBODY.
    """
    counts = {
        (OVERVIEW, "Open incidents"): 'pantau_incidents_open{agency="JCM"}',
        (OVERVIEW, "Notification pending"): "pantau_notification_oldest_pending_seconds",
        (NOTIFICATIONS, "Oldest pending notification"): "pantau_notification_oldest_pending_seconds",
        (NOTIFICATIONS, "Overdue"): "pantau_escalation_overdue_seconds",
        (NOTIFICATIONS, "Escalations failed"): 'pantau_incidents_escalation_failed{reason="nobody_reached"}',
        (NOTIFICATIONS, "Paper paused"): "pantau_paper_paused_timestamp_seconds",
        (NOTIFICATIONS, "Overdue actions"): 'pantau_escalation_overdue{action="step"}',
        (NOTIFICATIONS, "Failed escalations"): 'pantau_incidents_escalation_failed{reason="nobody_reached"}',
        (SELF, "Audit chain violations"): "pantau_audit_chain_violations",
    }
    away = {"pantau_store_up": "1x2 0x7", "pantau_build_info": "1x9", "pantau_monitor_only": "0x9"}
    away |= {"pantau_incidents_orphaned": "0x9"}
    shown = {place: f"count({query_of(*place)})" for place in counts}
    there, gone = [("{}", 1)], list[tuple[str, float]]()
    none = [promtool.ask(expr, at, found) for expr in shown.values() for at, found in (("2m", there), ("5m", gone))]
    some = [promtool.ask(expr, "5m", there) for expr in shown.values()]
    incident = with_variables(query_of(AGENCY, "Open incidents"), VARIABLES)
    none += [promtool.ask(incident, "2m", [("{}", 0)]), promtool.ask(incident, "5m", [])]
    none += [
        promtool.ask(query_of(board, "Notifications enabled"), at, [("{}", said)])
        for board in (OVERVIEW, NOTIFICATIONS)
        for at, said in (("2m", 0), ("5m", 1))
    ]
    stories = [
        promtool.story("nothing", away | dict.fromkeys(counts.values(), "0x9"), none),
        promtool.story("something", away | dict.fromkeys(counts.values(), "7x9"), some),
    ]
    assert not promtool.run(tmp_path, stories, UNUSED)


def count_queries() -> dict[str, str]:
    return {title: query_of(OVERVIEW, title) for title in ("Down", "Degraded", "Not probed", "Unknown")}


def probed_series(*agencies: str, run: str, success: str, run_by: str, success_by: str) -> dict[str, str]:
    """Return the series of agencies that are up, for an hour."""
    series = {'pantau_build_info{instance="a"}': "1x60", 'pantau_config_routes{instance="a"}': "2x60"}
    for agency in agencies:
        of, route = f'agency="{agency}"', f'agency="{agency}",route="{agency}/inbound"'
        series |= {
            f'pantau_incidents_open{{{of},instance="a"}}': "0x60",
            f'pantau_mail_up{{{of},direction="inbound",instance="a"}}': "1x60",
            f'pantau_mail_degraded{{{of},direction="inbound",instance="a"}}': "0x60",
            f'pantau_probe_run_timestamp_seconds{{{route},instance="a"}}': run,
            f'pantau_probe_success_timestamp_seconds{{{route},instance="a"}}': success,
            f'pantau_probe_overdue_timestamp_seconds{{{of},instance="a"}}': run_by,
            f'pantau_probe_success_overdue_timestamp_seconds{{{of},instance="a"}}': success_by,
        }
    return series


@pytest.mark.blind
def test_wallboard_no_mail_seen_shows_no_zero_and_lists_unknown_agencies(tmp_path: Path) -> None:
    """Defect: "Agencies down 0" is green although no mail was seen for half an hour.

    Pantau: Counts need mail to arrive, or nothing overdue; unknown agencies are counted and listed.
    """
    series = probed_series(
        "JCM", "MDC", run="0+60x60", success="0+60x3 180x57", run_by="660+60x60", success_by="2280+60x3 2460x57"
    )
    counts, rows, none = count_queries(), query_of(OVERVIEW, "Worst first"), [("{}", 0)]
    unproven = [(f'{{agency="{code}",runbook="mail-unknown"}}', 3) for code in ("JCM", "MDC")]
    state = f"floor({rows})"
    told = [
        promtool.ask(rows, "10m", [('{agency="nobody · tiada"}', 0)]),
        *(promtool.ask(expr, "10m", none) for expr in counts.values()),
        *(promtool.ask(counts[title], "50m", []) for title in ("Down", "Degraded", "Not probed")),
        promtool.ask(counts["Unknown"], "50m", [("{}", 2)]),
        promtool.ask(state, "50m", unproven),
    ]
    # An agency that is down for long is independent of it.
    down = {'pantau_mail_up{agency="PPC",direction="inbound",instance="a"}': "0x60"}
    still = [
        promtool.ask(counts["Degraded"], "50m", []),
        promtool.ask(counts["Down"], "50m", [("{}", 1)]),
        promtool.ask(counts["Unknown"], "50m", [("{}", 2)]),
    ]
    # At night no run is due, so missing mail is no problem.
    night = series | {f'pantau_off_hours{{agency="{code}",instance="a"}}': "1x60" for code in ("JCM", "MDC")}
    quiet = [
        *(promtool.ask(expr, "50m", none) for expr in counts.values()),
        promtool.ask(query_of(OVERVIEW, "In maintenance"), "50m", [("{}", 2)]),
    ]
    stories = [
        promtool.story("deaf", series, told),
        promtool.story("deaf, and one is down", series | down, still),
        promtool.story("night", night, quiet),
    ]
    assert not promtool.run(tmp_path, stories, UNUSED)


@pytest.mark.blind
def test_wallboard_agencies_never_proven_are_counted_and_listed_as_unknown(tmp_path: Path) -> None:
    """Defect: The wallboard is green for agencies that were never proven: 39 of 40, 29 minutes after a start.

    Pantau: They are counted and listed as unknown from the start.
    """
    series = probed_series(
        "JCM", "MDC", "PPC", "LKC", run="0+60x60", success="0+60x60", run_by="9999x60", success_by="9999x60"
    )
    for code in ("MDC", "PPC"):
        del series[f'pantau_mail_up{{agency="{code}",direction="inbound",instance="a"}}']
    route = 'agency="LKC",route="LKC/outbound/rujukan-a",instance="a"'
    series[f"pantau_probe_run_timestamp_seconds{{{route}}}"] = "0+60x60"
    names = [(f'{{agency="{code}",runbook="mail-unknown"}}', 3) for code in ("LKC", "MDC", "PPC")]
    told = [
        promtool.ask(count_queries()["Unknown"], "29m", [("{}", 3)]),
        promtool.ask(count_queries()["Not probed"], "29m", [("{}", 0)]),
        promtool.ask(f"floor({query_of(OVERVIEW, 'Worst first')})", "29m", names),
    ]
    assert not promtool.run(tmp_path, [promtool.story("started", series, told)], UNUSED)


@pytest.mark.blind
def test_wallboard_stalled_prober_removes_zeros(tmp_path: Path) -> None:
    """Defect: A prober that hangs keeps every zero for half an hour.

    Pantau: The last run says when the next must have ended; after that the zeros go.
    """
    often = probed_series(
        "JCM",
        "MDC",
        run="0+60x3 180x57",
        success="0+60x3 180x57",
        run_by="660+60x3 840x57",
        success_by="2280+60x3 2460x57",
    )
    rarely = probed_series("PPC", run="0x60", success="0x60", run_by="22740x60", success_by="22740x60")
    counts, none = count_queries(), [("{}", 0)]
    ours = [query_of(OVERVIEW, title) for title in ("References", "Monitoring faults")]
    often['pantau_monitoring_fault{cause="reference",reference="a",instance="a"}'] = "0x20 1x40"
    told = [
        *(promtool.ask(expr, "10m", none) for expr in (*counts.values(), *ours)),
        *(promtool.ask(expr, "15m", []) for expr in ours),
        *(promtool.ask(expr, "30m", [("{}", 1)]) for expr in ours),
        promtool.ask(counts["Not probed"], "15m", [("{}", 2)]),
        *(promtool.ask(counts[title], "15m", []) for title in ("Down", "Degraded", "Unknown")),
    ]
    # A rarely probed agency stays up until its next run is due.
    alone = [*(promtool.ask(expr, "55m", none) for expr in counts.values())]
    stories = [promtool.story("hangs", often | rarely, told), promtool.story("every six hours", rarely, alone)]
    assert not promtool.run(tmp_path, stories, UNUSED)


@pytest.mark.blind
def test_wallboard_empty_rota_is_shown_and_zero_needs_count(tmp_path: Path) -> None:
    """Defect: "Rota gaps 0" is green before anybody counted, and nothing shows that nobody is on call.

    Pantau: A zero needs a count; the first row names empty rotas.
    """
    series = {
        'pantau_build_info{instance="a"}': "1x8 stale",
        'pantau_contact_numbers_unverified{agency="JCM",instance="a"}': "_ 0x7 stale",
        'pantau_on_call{agency="JCM",rota="bertugas",instance="a"}': "_ 1x1 0x5 stale",
        'pantau_on_call{agency="",rota="malam",instance="a"}': "_ 1x7 stale",
        'pantau_on_call_gap_seconds{agency="JCM",rota="bertugas",instance="a"}': "_ 0x7 stale",
    }
    now, ahead = query_of(OVERVIEW, "Nobody on call"), query_of(OVERVIEW, "Rota gaps")
    told = [
        *(promtool.ask(expr, "0m", []) for expr in (now, ahead)),
        *(promtool.ask(expr, "2m", [("{}", 0)]) for expr in (now, ahead)),
        promtool.ask(now, "5m", [("{}", 1)]),
        *(promtool.ask(expr, "10m", []) for expr in (now, ahead)),
    ]
    assert not promtool.run(tmp_path, [promtool.story("on call", series, told)], UNUSED)


@pytest.mark.blind
def test_wallboard_restored_state_shows_no_zero_before_first_mail(tmp_path: Path) -> None:
    """Defect: What is remembered over a restart counts as proof.

    Pantau: No zero is shown before mail arrives again.
    """
    series = probed_series("JCM", run="_x60", success="_x60", run_by="660x60", success_by="2280x60")
    del series['pantau_probe_success_timestamp_seconds{agency="JCM",route="JCM/inbound",instance="a"}']
    told = [promtool.ask(expr, "5m", []) for expr in count_queries().values()]
    assert not promtool.run(tmp_path, [promtool.story("start", series, told)], UNUSED)


@pytest.mark.blind
def test_wallboard_declared_outage_counts_agency_once_and_ends_only_explicitly(
    tmp_path: Path,
) -> None:
    """Defect: The wallboard shows "down now: nobody" while an outage is declared.

    Pantau: Its count and list include declared outages, each agency once.
    """
    series = {
        'pantau_build_info{instance="a"}': "1x11 stale",
        'pantau_mail_up{agency="JCM",direction="inbound",instance="a"}': "1x11 stale",
        'pantau_mail_up{agency="MDC",direction="inbound",instance="a"}': "1x11 stale",
        'pantau_mail_up{agency="MDC",direction="inbound",instance="b"}': "0x8 1x2 stale",
        'pantau_mail_degraded{agency="JCM",direction="inbound",instance="a"}': "1x11 stale",
        'pantau_mail_degraded{agency="MDC",direction="inbound",instance="a"}': "0x11 stale",
        'pantau_outage_declared{agency="JCM",direction="inbound",instance="a"}': "_x3 1x3 stale",
        'pantau_outage_declared{agency="MDC",direction="inbound",instance="a"}': "1x8 stale",
        'pantau_outage_declared{agency="MDC",direction="outbound",instance="a"}': "1x8 stale",
        'pantau_incident_closed_manually{agency="PPC",instance="a"}': "1x8 stale",
    }
    count, slow, rows = (query_of(OVERVIEW, title) for title in ("Down", "Degraded", "Worst first"))
    [line] = (p["targets"][0]["expr"] for p in panels(AGENCY) if p["title"].startswith("Mail by direction"))

    def row(agency: str, runbook: str) -> str:
        return f'{{agency="{agency}",runbook="{runbook}"}}'

    mdc = [(row("MDC", "mail-down"), 6), (row("PPC", "mail-down"), 4)]
    story = [
        promtool.ask(count, "2m", [("{}", 1)]),
        promtool.ask(slow, "2m", [("{}", 1)]),
        promtool.ask(rows, "2m", [*mdc, (row("JCM", "mail-degraded"), 2)]),
        promtool.ask(with_variables(line, {"agency": "JCM"}), "2m", [('{direction="inbound"}', 1)]),
        promtool.ask(
            with_variables(line, {"agency": "MDC"}),
            "2m",
            [('{direction="inbound"}', 0), ('{direction="outbound"}', -1)],
        ),
        promtool.ask(count, "5m", [("{}", 2)]),
        # A down agency is not counted as degraded.
        promtool.ask(slow, "5m", [("{}", 0)]),
        promtool.ask(rows, "5m", [*mdc, (row("JCM", "mail-declared-down"), 5)]),
        promtool.ask(with_variables(line, {"agency": "JCM"}), "5m", [('{direction="inbound"}', -1)]),
        promtool.ask(count, "10m", [("{}", 0)]),
        promtool.ask(rows, "10m", [(row("JCM", "mail-degraded"), 2)]),
        # Pantau is dead, and no agency is shown as up.
        *(promtool.ask(with_variables(expr, {"agency": "JCM"}), "13m", []) for expr in (count, slow, rows, line)),
    ]
    assert not promtool.run(tmp_path, [promtool.story("declared", series, story)], UNUSED)


def test_panel_has_at_most_twenty_series_with_forty_agencies(tmp_path: Path) -> None:
    """Each of forty agencies has every possible problem."""
    agencies = [f"A{number:02}" for number in range(40)]
    series: dict[str, str] = {}
    for name, value in promtool.scrape():
        for agency in agencies:
            series[name.replace("JCM", agency)] = value
    for agency in agencies:
        for state, labels, number in (
            ("mail_up", 'direction="inbound"', 0),
            ("mail_degraded", 'direction="inbound"', 1),
            ("outage_declared", 'direction="inbound"', 1),
            ("incident_closed_manually", "", 1),
            ("check_state", 'check="dns",aspect="spf",subject="a"', 2),
            ("mailbox_credential_unavailable", 'mailbox="a"', 1),
            ("mailbox_undeleted_messages", 'mailbox="a"', 5),
            ("mailbox_used_ratio", 'mailbox="a"', 0.95),
            ("on_call_gap_seconds", 'rota="a"', 60),
            ("contact_numbers_unverified", "", 1),
            ("contact_reached_timestamp_seconds", 'contact="a"', 1),
            ("relay_clock_skew_seconds", 'direction="inbound"', 9),
            ("certificate_expiry_timestamp_seconds", 'server="a"', 9),
            ("oauth_token_expiry_timestamp_seconds", 'mailbox="a"', 9),
        ):
            series[f'pantau_{state}{{agency="{agency}",{labels}}}'.replace(",}", "}")] = str(number)
    chosen = VARIABLES | {"agency": "A01", "route": "A01/internal"}
    story = [promtool.ask(f"count({with_variables(expr, chosen)}) > 20", "5m", []) for expr in expressions()]
    shown = {name: f"{value}x9" for name, value in series.items()}
    recorded = {
        "record": "agency_direction:pantau_mail_up:avg1d",
        "expr": "min by (agency, direction) (pantau_mail_up)",
    }
    assert not promtool.run(tmp_path, [promtool.story("many", shown, story)], recorded)


def test_metrics_are_shown_on_dashboards(known: set[str]) -> None:
    recorded = [rule["expr"] for rule in RECORDINGS.values()]
    shown = {m for expr in (*expressions(), *recorded) for m in promql.metrics(expr)}
    assert {metric for metric in known if metric.startswith("pantau_")} <= shown


@pytest.mark.parametrize("board", BOARDS)
def test_dashboard_panels_do_not_overlap(board: str) -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}

    for one, other in combinations(BOARDS[board]["panels"], 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])
        assert one["id"] != other["id"]
    assert all(x < 24 for panel in BOARDS[board]["panels"] for x, _ in cells(panel))


def test_wallboard_fits_one_screen_above_first_heading() -> None:
    heading = next(panel for panel in BOARDS[OVERVIEW]["panels"] if panel["type"] == "row")
    # A row of the grid is 38 pixels; a browser at full size leaves some 950 of 1080.
    assert heading["gridPos"]["y"] * 38 <= 950


def test_grafana_provisioning_has_data_source_and_dashboards() -> None:
    provisioning = GRAFANA / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "pantau.yaml").read_text())["datasources"][0]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    provider = yaml.safe_load((provisioning / "dashboards" / "pantau.yaml").read_text())["providers"][0]
    install = (GRAFANA.parent / "docs/how-to/operator/install.md").read_text()
    assert provider["type"] == "file"
    assert provider["options"]["path"] in install


def expressions() -> Iterator[str]:
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    yield from (annotation["expr"] for board in BOARDS.values() for annotation in board["annotations"]["list"])
