from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.metrics import Metrics
from probes.domain.x509 import RENEW_AHEAD
from tests.unit.grafana import dashboards, promql, promtool
from tests.unit.grafana.dashboards import GRAFANA
from tests.unit.grafana.rules import ALERTS, ALL, LOCAL, RECORDINGS, RULES, rules_read_by, without_annotations

#: Stories by the minute, and stories over days.
STORY_FILES = (RULES.with_suffix(".test.yml"), RULES.with_suffix(".days.test.yml"))

#: The recordings of the error budget, in the order in which one reads another.
BUDGET = [
    rule for name, rule in RECORDINGS.items() if "pantau_probe_runs" in name or name == "pantau:mail_objective:ratio"
]
DASHBOARDS = {"pantau-overview", "pantau-agency", "pantau-notifications", "pantau-self"}
#: All values as text: YAML reads `0x120` as a number.
ALL_STORIES: list[dict[str, Any]] = [
    story for path in STORY_FILES for story in yaml.load(path.read_text(), yaml.CBaseLoader)["tests"]
]
STORY_QUESTIONS: list[dict[str, Any]] = [test for story in ALL_STORIES for test in story["promql_expr_test"]]

#: The details of an alert when Pantau cannot be read.
UNREADABLE_TEXT = (
    "Pantau cannot be read: how things stand is not known · Pantau tidak dapat dibaca: keadaan semasa tidak diketahui"
)
#: Alerts about a Pantau that cannot be read.
UNREADABLE_ALERTS = {"PantauDown", "PantauAbsent"}
#: Alerts that count events in a window of time, and end with it.
EVENT_ALERTS = {
    "PantauForgedProbes",
    "PantauProberConflict",
    "PantauNotificationNotDelivered",
    "PantauNobodyOnCall",
    "PantauCallbacksRefused",
    "PantauAlertWebhooksRefused",
    "PantauRestarting",
}
#: Fires always.
WATCHDOG = "PantauWatchdog"
#: Alerts that outlast a recovery: lost audit entries fire for a day, an engine must show a cycle, and failures of six
#: hours fire until as many runs follow.
OUTLASTS_RECOVERY = {"PantauAuditChainViolations", "PantauEngineStopped", "PantauErrorBudgetBurnSlow"}
#: By label, the metric that shows that a living Pantau reports on it.
REPORTED_BY = {"agency": "pantau_incidents_open", "site": "pantau_site_fresh"}
#: Alerts with `for`.
PENDING_ALERTS = {name for name, rule in ALERTS.items() if "for" in rule} - UNREADABLE_ALERTS
#: The other alerts, about a state.
STATE_ALERTS = ALERTS.keys() - UNREADABLE_ALERTS - EVENT_ALERTS - {WATCHDOG}


@pytest.fixture(scope="module")
def defined() -> set[str]:
    text = Metrics(version="1", now=lambda: datetime(2026, 3, 2, tzinfo=UTC)).render().decode()
    # `up` and `ALERTS` are Prometheus's own.
    return {*re.findall(r"^# TYPE (\S+)", text, re.MULTILINE), *RECORDINGS, *LOCAL, "up", "ALERTS"}


def test_promtool_accepts_rules() -> None:
    assert not promtool.errors(RULES.parent, "check", "rules", "--lint=all", "--lint-fatal", RULES.name)


@pytest.mark.parametrize("stories", STORY_FILES, ids=lambda path: path.name)
def test_rules_behave_as_in_stories(stories: Path, tmp_path: Path) -> None:
    assert not promtool.errors(tmp_path, "test", "rules", *split_stories(stories, tmp_path))


def split_stories(stories: Path, directory: Path) -> Iterator[str]:
    """Write each story with the rules that it needs; return the names of the files.

    Promtool evaluates all given rules at each minute of each story, and a story needs few.
    """
    whole = yaml.compose(stories.read_text(), yaml.CSafeLoader)
    assert whole is not None
    (tests,) = (value for key, value in whole.value if key.value == "tests")
    about = yaml.load(stories.read_text(), yaml.CBaseLoader)
    assert about["rule_files"] == [RULES.name]
    for number, (node, told) in enumerate(zip(list(tests.value), about["tests"], strict=True)):
        assert "alert_rule_test" not in told, "one would read texts"
        groups = rules_read_by(json.dumps(told["promql_expr_test"]))
        assert groups, told["name"]
        (directory / f"rules-{number}.yml").write_text(json.dumps({"groups": groups}))
        # Keep the notation: to promtool "1" is no number.
        tests.value = [node]
        text = yaml.serialize(whole, Dumper=yaml.CSafeDumper)
        (directory / f"story-{number}.yml").write_text(text.replace(RULES.name, f"rules-{number}.yml", 1))
        yield f"story-{number}.yml"


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_has_story_where_it_fires_and_one_where_it_does_not(alert: str) -> None:
    fires = [bool(t["exp_samples"]) for t in STORY_QUESTIONS if f'alertname="{alert}"' in t["expr"]]
    # EngineStopped differs by instance: earlier fewer engines are stopped.
    assert True in fires
    assert (False in fires) is (alert != WATCHDOG)


@pytest.mark.parametrize("recording", RECORDINGS)
def test_recording_rule_has_story(recording: str) -> None:
    assert any(recording in t["expr"] and t["exp_samples"] for t in STORY_QUESTIONS)


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_annotations_are_complete_in_both_languages(alert: str) -> None:
    rule = ALERTS[alert]
    assert alert.startswith("Pantau")
    assert rule["labels"]["severity"] in ({"critical", "warning"} if alert != WATCHDOG else {"none"})
    texts = rule["annotations"]
    said = {"summary", "summary_ms", "description", "description_ms"}
    assert set(texts) - {"details"} == said | {"runbook_url", "dashboard_url"}
    for english, malay in (("summary", "summary_ms"), ("description", "description_ms")):
        assert texts[english] != texts[malay]
        assert variables(texts[english]) == variables(texts[malay])


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_annotations_use_only_labels_of_expression(alert: str) -> None:
    rule = ALERTS[alert]
    used = {label for text in rule["annotations"].values() for label in variables(text) if label != "$value"}
    # A plain selector leaves all labels, `instance` among them; an aggregation only those it groups by.
    grouped = promql.labels(rule["expr"])
    assert used <= grouped | ({"instance"} if " by " not in rule["expr"] else set())


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_links_lead_to_existing_runbook_and_matching_dashboard(alert: str) -> None:
    rule = ALERTS[alert]
    base = '{{ with query "pantau:addresses:info" }}{{ . | first | label "%s" }}%s{{ end }}'
    runbook = rule["annotations"]["runbook_url"].removeprefix(base % ("runbooks", "/"))
    assert (GRAFANA.parent / "docs" / "runbooks" / runbook).is_file()
    dashboard = rule["annotations"]["dashboard_url"].removeprefix(base % ("grafana", "")).removeprefix("/d/")
    uid, _, chosen = dashboard.partition("?")
    assert uid in DASHBOARDS
    assert chosen == ("var-agency={{ $labels.agency }}" if uid == "pantau-agency" else "")


@pytest.mark.parametrize(
    ("told", "runbook", "dashboard"),
    [
        ((), "mail-down.md", "/d/pantau-agency?var-agency=jpc"),
        (
            (LOCAL["pantau:addresses:info"],),
            "https://noc.jabatan-contoh.gov.my/pantau/runbooks/mail-down.md",
            "https://grafana.jabatan-contoh.gov.my/d/pantau-agency?var-agency=jpc",
        ),
    ],
    ids=["without addresses", "with addresses"],
)
def test_alert_links_use_addresses_of_operator(
    told: Sequence[Mapping[str, Any]], runbook: str, dashboard: str, tmp_path: Path
) -> None:
    whole = ALERTS["PantauMailDown"]
    links = {"runbook_url": runbook, "dashboard_url": dashboard}
    rule = whole | {"annotations": {name: whole["annotations"][name] for name in links}}
    shown = {"exp_labels": {"agency": "jpc", "severity": "critical"}, "exp_annotations": links}
    series = {'pantau_mail_up{agency="jpc",direction="inbound"}': "0x9", "pantau_build_info": "1x9"}
    asked = [{"eval_time": "5m", "alertname": "PantauMailDown", "exp_alerts": [shown]}]
    story = {**promtool.story("links", series, []), "alert_rule_test": asked}
    assert promtool.run(tmp_path, [story], *told, rule) == ""


def test_certificate_warning_period_is_same_in_alert_wallboard_and_documents() -> None:
    days = RENEW_AHEAD.days
    rule = ALERTS["PantauCertificateExpiring"]
    panel = dashboards.panel("pantau-overview", "Certificates expire in")
    told = {
        "rule": f"- time() < {days} * 86400\n" in rule["expr"],
        "summary": f"within {days} days" in rule["annotations"]["summary"],
        "ringkasan": f"dalam {days} hari" in rule["annotations"]["summary_ms"],
        "wall": RENEW_AHEAD.total_seconds() == panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"],
        "docs/reference/metrics.md": f"certificate expires within {days} days"
        in (GRAFANA.parent / "docs/reference/metrics.md").read_text(),
    }
    docs = GRAFANA.parent / "docs"
    for page, times in (("reference/checks.md", 2), ("runbooks/certificate-expiring.md", 1)):
        told[page] = (docs / page).read_text().count(f"ends within {days} days") == times
    assert [place for place, is_so in told.items() if not is_so] == []


def test_contact_not_reached_alert_needs_drill_since_contact_was_added(tmp_path: Path) -> None:
    """In hours; drills end on day 1 and day 14, and no later drill is held, which is no fault of the contacts.

    JPC's contact exists from the beginning, LKC's from day 12.
    """
    day = 24
    series = {
        'pantau_contact_reached_timestamp_seconds{agency="jpc",contact="siti"}': f"0x{35 * day}",
        'pantau_contact_reached_timestamp_seconds{agency="lkc",contact="ali"}': f"_x{12 * day} 0x{6 * day} stale",
        "pantau_drill_last_timestamp_seconds": f"86400x{13 * day} {14 * 86400}x{22 * day}",
        'pantau_build_info{job="pantau",instance="a"}': f"1x{35 * day}",
    }
    firing = 'count by (agency) (ALERTS{alertname="PantauContactNotReached",alertstate="firing"})'
    asked = [
        promtool.ask(firing, "13d", []),
        promtool.ask(firing, "17d", [('{agency="jpc"}', 1)]),
        promtool.ask(firing, "20d", [('{agency="jpc"}', 1)]),
        promtool.ask(firing, "30d", []),
    ]
    story = promtool.story("known for how long", series, asked, every="1h")
    assert not promtool.run(tmp_path, [story], without_annotations(ALERTS["PantauContactNotReached"]), every="1h")


# -- when Pantau dies -----------------------------------------------------------------------------------------------


@pytest.mark.blind
@pytest.mark.parametrize("alert", sorted(STATE_ALERTS))
def test_state_alert_keeps_firing_without_living_pantau(alert: str) -> None:
    """Defect: A new alert rule may resolve when Pantau dies.

    Pantau: A rule about a state needs the branch that keeps it firing, or the test fails.
    """
    rule = ALERTS[alert]
    expr = " ".join(rule["expr"].split())
    # A pending alert also stays pending over failed scrapes.
    state = (
        '"} unless on (alertstate) pantau:build_info:absent5m' if alert in PENDING_ALERTS else '", alertstate="firing"}'
    )
    going_on = re.escape(f'(ALERTS{{alertname="{alert}{state}) unless ')
    held = re.fullmatch(rf".+ or max (?:by \(([\w, ]+)\) )?{going_on}(.+)", expr.replace("max(ALERTS", "max (ALERTS"))
    assert held, "what is firing must go on"
    labels = set((held[1] or "").split(", "))
    if speaks := REPORTED_BY.keys() & labels:
        # A living Pantau resolves alerts of agencies and sites that it reports; all others only while no target is down.
        (label,) = speaks
        assert held[2] == (
            f'on ({label}) {REPORTED_BY[label]} unless on () (pantau_build_info unless on () up{{job="pantau"}} == 0)'
        )
    elif "instance" in labels:
        # An instance that is no longer a target was removed on purpose; otherwise its state is unknown.
        assert held[2] == "on (instance) pantau_build_info and on (instance) up"
    else:
        assert held[2] == "on () pantau_build_info"
    assert int(re.fullmatch(r"(\d+)[mh]", rule["keep_firing_for"])[1]) >= 1  # type: ignore[index]
    assert "$value" not in str(rule["annotations"]), "the value of what goes on is an old one"


@pytest.mark.parametrize("alert", sorted(EVENT_ALERTS))
def test_event_alert_reads_only_one_count(alert: str) -> None:
    expr = ALERTS[alert]["expr"]
    assert len(re.findall(r"\b(?:increase|changes)\([^()]+\[\w+\]\)", expr)) == len(promql.selectors(expr)) == 1


@pytest.mark.blind
def test_pending_alerts_fire_with_one_failed_scrape_in_four(tmp_path: Path) -> None:
    """Defect: One failed scrape in four keeps 40 alerts from firing, because `for` begins anew.

    Pantau: A pending alert continues while Pantau was read within five minutes.
    """
    parts = [
        ([failed_scrapes_story(alert)], [*required_recordings(alert), without_annotations(ALERTS[alert])])
        for alert in sorted(PENDING_ALERTS)
    ]
    wrong = promtool.run_all(tmp_path, parts, every="1m")
    assert not wrong, wrong


@pytest.mark.blind
def test_state_alerts_survive_pantau_death_and_resolve_after_recovery(tmp_path: Path) -> None:
    """Defect: Alerts about a state resolve within minutes after Pantau dies.

    Pantau: Each survives five hours, and ends when Pantau is back and all is well.
    """
    parts = [
        ([death_story(alert)], [*required_recordings(alert), without_annotations(ALERTS[alert])])
        for alert in sorted(STATE_ALERTS)
    ]
    wrong = promtool.run_all(tmp_path, parts, every="1m")
    assert not wrong, wrong


@pytest.mark.blind
def test_alert_of_agency_on_dead_instance_survives_other_living_instance(tmp_path: Path) -> None:
    """Defect: A process watches JPC and dies; another one lives, and the alerts about JPC resolve.

    Pantau: They continue while no living Pantau reports that agency and one cannot be read.
    """
    down, until_death = "0x4", "0x4 stale"
    series = {
        'pantau_mail_up{agency="jpc",direction="inbound",instance="a"}': until_death,
        'pantau_incidents_open{agency="jpc",instance="a"}': "1x4 stale",
        'pantau_mail_up{agency="lkc",direction="inbound",instance="a"}': until_death,
        'pantau_incidents_open{agency="lkc",instance="a"}': "1x4 stale",
        'pantau_mail_up{agency="lkc",direction="inbound",instance="b"}': f"{down} 1x300",
        'pantau_incidents_open{agency="lkc",instance="b"}': "1x4 0x300",
        'pantau_build_info{instance="a"}': "1x4 stale _x300 1x60",
        'pantau_build_info{instance="b"}': "1x400",
        'up{job="pantau",instance="a"}': "1x4 0x300 1x60",
        'up{job="pantau",instance="b"}': "1x400",
    }
    removed = {
        'pantau_mail_up{agency="mdc",direction="inbound",instance="b"}': "0x4 stale",
        'pantau_incidents_open{agency="mdc",instance="b"}': "1x4 stale",
        'pantau_build_info{instance="b"}': "1x20",
        'up{job="pantau",instance="b"}': "1x20",
    }
    firing = 'max by (agency) (ALERTS{alertname="PantauMailDown",alertstate="firing"})'
    jpc, lkc, mdc = (('{agency="' + agency + '"}', 1.0) for agency in ("jpc", "lkc", "mdc"))
    told = [
        promtool.ask(firing, at, who) for at, who in (("4m", [jpc, lkc]), ("15m", [jpc]), ("5h", [jpc]), ("5h30m", []))
    ]
    stories = [
        promtool.story("two", series, told),
        promtool.story("removed", removed, [promtool.ask(firing, "4m", [mdc]), promtool.ask(firing, "15m", [])]),
    ]
    assert not promtool.run(tmp_path, stories, without_annotations(ALERTS["PantauMailDown"]))


def required_recordings(alert: str) -> list[Mapping[str, Any]]:
    """Return the recordings that an alert reads, directly or indirectly."""
    return [rule for group in rules_read_by(alert) for rule in group["rules"] if "record" in rule]


def death_story(alert: str) -> Mapping[str, Any]:
    """Return the alert's firing story, with Pantau dead for five hours and back without the cause."""
    of = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
    story, question = firing_story(alert)
    at, gone = minutes(question["eval_time"]), 5 * 60
    back = at + gone
    series = {}
    for each in story["input_series"]:
        values = promtool.expand_values(str(each["values"]))[: at + 1]
        lives = each["series"].startswith("pantau_build_info")
        series[each["series"]] = " ".join([*values, "stale", f"_x{gone - 1}", *(["1x120"] if lives else ())])
        if lives:
            series[each["series"].replace("pantau_build_info", "up")] = f"1x{at} 0x{gone - 1} 1x120"
    firing = f"count by (alertname) ({of})"
    samples = [(f'{{alertname="{alert}"}}', float(len(question["exp_samples"])))]
    kept = minutes(ALERTS[alert]["keep_firing_for"])
    over = promtool.ask(firing, f"{back + 1 + kept + 2}m", ())
    return promtool.story(
        alert,
        series,
        [
            *(promtool.ask(firing, f"{moment}m", samples) for moment in (at, at + 1, at + 3, back)),
            *([over] if alert not in OUTLASTS_RECOVERY else ()),
        ],
    )


def firing_story(alert: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return a story in which an alert fires, and the question about it."""
    return next(
        (story, question)
        for story in ALL_STORIES
        for question in story["promql_expr_test"]
        if f'"{alert}"' in question["expr"] and question["exp_samples"] and story["interval"] == "1m"
    )


def failed_scrapes_story(alert: str) -> Mapping[str, Any]:
    """Return the alert's firing story, with one failed scrape in four."""
    of = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
    story, question = firing_story(alert)
    at = minutes(question["eval_time"])
    series = {}
    for each in story["input_series"]:
        values = promtool.expand_values(str(each["values"]))
        name = each["series"]
        if name.startswith("up{"):
            series[name] = " ".join("0" if n % 4 == 3 else value for n, value in enumerate(values))
            continue
        series[name] = " ".join("stale" if n % 4 == 3 and value != "_" else value for n, value in enumerate(values))
        if name.startswith("pantau_build_info"):
            up = name.replace("pantau_build_info", "up")
            series.setdefault(up, " ".join("0" if n % 4 == 3 else "1" for n in range(len(values))))
    samples = [(f'{{alertname="{alert}"}}', float(len(question["exp_samples"])))]
    asked = [promtool.ask(f"count by (alertname) ({of})", f"{at}m", samples)]
    return promtool.story(alert, series, asked)


def minutes(span: str) -> int:
    """Return a duration of Prometheus in minutes."""
    hours, spare = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?", span).groups(default="0")  # type: ignore[union-attr]
    return int(hours) * 60 + int(spare)


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_read_only_existing_metrics(rule: dict[str, Any], defined: set[str]) -> None:
    assert promql.metrics(rule["expr"]) <= defined


@pytest.mark.parametrize("alert", [name for name, rule in ALERTS.items() if "details" in rule["annotations"]])
def test_alert_details_query_existing_metrics_and_report_unreadable_pantau(alert: str, defined: set[str]) -> None:
    details = ALERTS[alert]["annotations"]["details"]
    queries = asked(details)
    assert len(queries) == details.count("query ") > 1
    for query in queries:
        assert promql.metrics(query) <= defined
    assert details.endswith(f"{UNREADABLE_TEXT}{{{{ end }}}}")


@pytest.mark.blind
@pytest.mark.parametrize("alert", ["PantauMailDown", "PantauMassOutage"])
def test_alert_details_are_current_and_omit_values_of_dead_pantau(alert: str, tmp_path: Path) -> None:
    """Defect: An alert's text names a cause that a Pantau reported before it died.

    Pantau: The text is queried at each evaluation, and says when Pantau cannot be read.
    """
    series = {
        'pantau_mail_up{agency="jpc",direction="inbound",instance="a"}': "0x9 stale",
        'pantau_mail_up{agency="jpc",direction="outbound",instance="a"}': "1x4 0x4 stale",
        'pantau_mail_up{agency="lkc",direction="inbound",instance="a"}': "0x9 stale",
        'pantau_mail_up{agency="mdc",direction="inbound",instance="a"}': "0x9 stale",
        'pantau_mail_failure_cause{agency="jpc",direction="inbound",outcome="timeout",party="recipient",instance="a"}': "1x4 stale",
        'pantau_mail_failure_cause{agency="jpc",direction="inbound",outcome="tls",party="recipient",instance="a"}': "_x4 1x4 stale",
        'pantau_incident_opened_timestamp_seconds{agency="jpc",incident="JPC-07",instance="a"}': "1795600000x9 stale",
        'pantau_outage_declared{agency="jpc",direction="internal",instance="a"}': "1x9 stale",
        'pantau_build_info{job="pantau",instance="a"}': "1x9 stale",
        'up{job="pantau",instance="a"}': "1x9 0x300",
    }
    rule = ALERTS[alert] | {"annotations": {"details": ALERTS[alert]["annotations"]["details"]}}
    before = required_recordings(alert)
    labels = {"severity": "critical"} | ({"agency": "jpc"} if alert == "PantauMailDown" else {})
    others = [{"severity": "critical", "agency": agency} for agency in ("lkc", "mdc") if "agency" in labels]
    told = {
        "PantauMailDown": {
            "3m": "inbound: down · terganggu; internal: declared · diisytiharkan; "
            "cause · punca (inbound): timeout, recipient; incident · insiden JPC-07, since · sejak 2026-11-25 17:46 (UTC+8); ",
            "7m": "inbound: down · terganggu; outbound: down · terganggu; internal: declared · diisytiharkan; "
            "cause · punca (inbound): tls, recipient; incident · insiden JPC-07, since · sejak 2026-11-25 17:46 (UTC+8); ",
        },
        "PantauMassOutage": {
            "3m": "3 agencies · agensi: jpc lkc mdc; timeout (recipient): 1",
            "7m": "3 agencies · agensi: jpc lkc mdc; tls (recipient): 1",
        },
    }[alert] | {"11m": UNREADABLE_TEXT, "5h": UNREADABLE_TEXT}
    of_others = {
        "3m": "inbound: down · terganggu; ",
        "7m": "inbound: down · terganggu; ",
        "11m": UNREADABLE_TEXT,
        "5h": UNREADABLE_TEXT,
    }

    def shown(labels: Mapping[str, str], details: str) -> Mapping[str, Any]:
        return {"exp_labels": labels, "exp_annotations": {"details": details}}

    story = {
        **promtool.story("details", series, []),
        "alert_rule_test": [
            {
                "eval_time": at,
                "alertname": alert,
                "exp_alerts": [shown(labels, details), *(shown(other, of_others[at]) for other in others)],
            }
            for at, details in told.items()
        ],
    }
    assert promtool.run(tmp_path, [story], *before, rule) == ""


@pytest.mark.blind
def test_pending_alert_does_not_fire_after_pantau_death(tmp_path: Path) -> None:
    """Defect: An alert that was pending fires after Pantau died.

    Pantau: It is carried over failed scrapes for five minutes, and never fires for a dead Pantau.
    """
    series = {
        'pantau_mail_degraded{agency="jpc",direction="inbound",instance="a"}': "1x4 stale",
        'pantau_incidents_open{agency="jpc",instance="a"}': "0x4 stale",
        'pantau_build_info{job="pantau",instance="a"}': "1x4 stale",
        'up{job="pantau",instance="a"}': "1x4 0x60",
    }
    asked = [
        promtool.ask('count(ALERTS{alertname="PantauMailDegraded",alertstate="pending"})', "8m", [("{}", 1)]),
        promtool.ask('count(ALERTS{alertname="PantauMailDegraded"})', "30m", []),
    ]
    rules = [*required_recordings("PantauMailDegraded"), without_annotations(ALERTS["PantauMailDegraded"])]
    assert not promtool.run(tmp_path, [promtool.story("pending", series, asked)], *rules)


@pytest.mark.blind
@pytest.mark.parametrize(
    ("falls", "cause", "limits", "fires"),
    [
        (9, "", {}, False),
        (10, "", {}, True),
        (4, "timeout", {}, False),
        (5, "timeout", {}, True),
        (10, "", {"pantau:mass_outage:agencies": 11}, False),
        (7, "", {"pantau:mass_outage:agencies": 7}, True),
        (5, "timeout", {"pantau:mass_outage_cause:agencies": 6}, False),
    ],
)
def test_mass_outage_alert_fires_by_number_or_by_cause(
    falls: int, cause: str, limits: Mapping[str, int], *, fires: bool, tmp_path: Path
) -> None:
    """Defect: Ten of 300 agencies down are no mass outage.

    Pantau: Ten within an hour are, or five of one cause, or what the operator writes. Long outages of four others do
    not count.
    """
    rules: list[Mapping[str, Any]] = [{"record": name, "expr": f"vector({limit})"} for name, limit in limits.items()]
    rules += [*required_recordings("PantauMassOutage"), without_annotations(ALERTS["PantauMassOutage"])]
    asked = [
        promtool.ask(MASS_OUTAGE_FIRING, "179m", []),
        promtool.ask(MASS_OUTAGE_FIRING, "184m", [("{}", 1.0)] if fires else []),
    ]
    story = promtool.story("mass", falling_agencies(falls, cause, 45, 5), asked, every="4m")
    assert not promtool.run(tmp_path, [story], *rules, every="4m")


MASS_OUTAGE_FIRING = 'count(ALERTS{alertname="PantauMassOutage",alertstate="firing"})'


def falling_agencies(falls: int, cause: str, after: int, times: int) -> Mapping[str, str]:
    """Return the series of 200 agencies: four are down all the time, *falls* others after *after* samples."""
    series = {'pantau_build_info{instance="a"}': f"1x{after + times}"}
    for number in range(200):
        fell = 4 <= number < 4 + falls
        values = f"1x{after - 1} 0x{times}" if fell else f"{int(number >= 4)}x{after + times}"
        series[f'pantau_mail_up{{agency="a{number}",direction="inbound",instance="a"}}'] = values
        if cause and fell:
            name = (
                f'pantau_mail_failure_cause{{agency="a{number}",direction="inbound",outcome="{cause}",party="sender"}}'
            )
            series[name] = f"_x{after} 1x{times}"
    return series


@pytest.mark.blind
def test_mass_outage_alert_lasts_one_day_at_most(tmp_path: Path) -> None:
    """Defect: A mass outage ends too early or never.

    Pantau: It lasts as long as its agencies are down, a day at most, and mutes no later outage.
    """
    asked = [
        promtool.ask(MASS_OUTAGE_FIRING, at, [("{}", 1.0)] if fires else [])
        for at, fires in (("25h50m", False), ("26h10m", True), ("40h", True), ("52h", False))
    ]
    rules = [*required_recordings("PantauMassOutage"), without_annotations(ALERTS["PantauMassOutage"])]
    story = promtool.story("mass", falling_agencies(10, "", 390, 400), asked, every="4m")
    assert not promtool.run(tmp_path, [story], *rules, every="4m")


def test_error_budget_alert_ends_with_its_outage(tmp_path: Path) -> None:
    """Two hours down, one run a minute. Twelve minutes after the recovery no alert fires."""
    series = {
        'pantau_probe_runs_total{agency="jpc",direction="inbound",verdict="good",instance="a"}': "0+1x60 60+0x120 60+1x120",
        'pantau_probe_runs_total{agency="jpc",direction="inbound",verdict="failed",instance="a"}': "0+0x60 0+1x120 120+0x120",
        'pantau_mail_up{agency="jpc",direction="inbound",instance="a"}': "1x62 0x119 1x120",
        'pantau_build_info{job="pantau",instance="a"}': "1x320",
    }
    firing = 'count by (alertname) (ALERTS{alertname=~"PantauMailDown|PantauErrorBudgetBurnFast",alertstate="firing"})'
    both = [(f'{{alertname="{name}"}}', 1.0) for name in ("PantauErrorBudgetBurnFast", "PantauMailDown")]
    asked = [promtool.ask(firing, "150m", both), promtool.ask(firing, "195m", [])]
    rules = [
        *required_recordings("PantauErrorBudgetBurnFast"),
        *(without_annotations(ALERTS[name]) for name in ("PantauMailDown", "PantauErrorBudgetBurnFast")),
    ]
    assert not promtool.run(tmp_path, [promtool.story("burned", series, asked)], *rules)


def test_alerts_are_listed_in_reference_with_severity() -> None:
    listed = re.findall(
        r"^\| `(Pantau\w+)` \| (\w+) \|", (GRAFANA.parent / "docs/reference/metrics.md").read_text(), re.MULTILINE
    )
    assert dict(listed) == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}


def variables(text: str) -> set[str]:
    return set(re.findall(r"\$labels\.(\w+)", text)) | set(re.findall(r"\$value", text))


def asked(text: str) -> list[str]:
    """Return the Prometheus queries in a text, for one agency."""
    queries = re.findall(r'query (?:"([^"]+)"|\(printf "([^"]+)")', text)
    return [(plain or formatted).replace("%q", '"jpc"') for plain, formatted in queries]


@pytest.mark.parametrize(
    ("expr", "selected"),
    [
        ('up{job="pantau"} == 0', ['up{job="pantau"}']),
        ("sum by (direction, le) (rate(a_bucket[30m]))", ["a_bucket"]),
        ("a unless on (job, instance) b > time() - 180 or vector(0)", ["a", "b"]),
        ('sum by (x) (increase(n_total{state=~"a|b", y!="none"}[5m])) > 2e3', ['n_total{state=~"a|b", y!="none"}']),
        ("histogram_quantile(0.95, direction_le:b:rate30m)", ["direction_le:b:rate30m"]),
    ],
)
def test_promql_selectors_are_found(expr: str, selected: list[str]) -> None:
    assert promql.selectors(expr) == selected
