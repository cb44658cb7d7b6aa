"""Overview for a NOC screen: how many agencies are down, whether Pantau works, and which agencies come first."""

from __future__ import annotations

from typing import Final

from grafana.boards.dashboard import Dashboard, Section, agency_link, runbook_link
from grafana.boards.finding import findings
from grafana.boards.panel import GREEN_FROM_ONE, ORANGE_FROM_ONE, bars, lines, stat, table
from grafana.boards.queries import (
    DEGRADED,
    DOWN,
    MEASURED_DOWN,
    NOBODY,
    PLANNED,
    SILENT,
    UNPROVEN,
    at_least_zero,
    nobody_is_told,
    none_counted,
    none_if_written,
    number_of,
    number_of_ours,
)

#: States of the table, the worst first.
_STATES: Final = {
    6: ("down · terganggu", "red"),
    5: ("declared down · diisytiharkan terganggu", "red"),
    4: ("closed manually, still down · ditutup, masih terganggu", "orange"),
    3: ("unknown · belum terbukti", "orange"),
    2: ("degraded · terjejas", "yellow"),
    1: ("not probed · tidak diuji", "purple"),
    0: ("nobody · tiada", "green"),
}

#: Of each agency the worst; what an agency has twice over is told once.
_WORTH_A_ROW: Final = (
    (6, "mail-down", MEASURED_DOWN),
    (5, "mail-declared-down", "max by (agency) (pantau_outage_declared) == 1"),
    (4, "mail-down", "max by (agency) (pantau_incident_closed_manually) == 1"),
    (3, "mail-unknown", UNPROVEN),
    (2, "mail-degraded", DEGRADED),
    (1, "probing-stopped", SILENT),
)
_STATE: Final = "topk by (agency) (1, {})".format(
    " or ".join(
        f'label_replace({state} + 0 * ({expr}), "runbook", "{runbook}", "", "")'
        for state, runbook, expr in _WORTH_A_ROW
    )
)
_OPENED: Final = 'min by (agency, incident) (pantau_incident_opened_timestamp_seconds{agency!=""})'
#: Of who has no incident: when it became too late.
_TOO_LATE: Final = (
    'min by (agency) (pantau_probe_success_overdue_timestamp_seconds{agency!=""} < time()'
    ' or pantau_probe_overdue_timestamp_seconds{agency!=""} < time())'
)
#: Since when, one an agency; `incident` is that of several that was opened first.
_SINCE: Final = f"(bottomk by (agency) (1, {_OPENED}) or {_TOO_LATE} unless on (agency) {_OPENED})"
#: From nothing to less than one, the longer it has lasted the more: half after a day. What has no beginning stays 0.
_AGE: Final = f"1 - 86400 / (86400 + clamp_min(time() - max by (agency) ({_SINCE}), 0))"
#: The state before the point, the age behind it.
_WORST: Final = f"topk(20, {_STATE} + on (agency) group_left () ({_AGE}) or {_STATE})"
_CAUSE: Final = "max by (agency, outcome, party) (pantau_mail_failure_cause)"
_NONE: Final = f'label_replace({NOBODY}, "agency", "nobody · tiada", "", "")'
_WEIGHTS: Final = {"internal": 1, "outbound": 2, "inbound": 4}
#: Which directions are ill: the sum of their weights.
_DIRECTIONS: Final = "sum by (agency) ({})".format(
    " or ".join(
        f'{weight} * max by (agency, direction) (1 + 0 * (pantau_mail_up{{agency!="", direction="{direction}"}} == 0)'
        f' or pantau_quorum_outage{{direction="{direction}"}} == 1'
        f' or pantau_outage_declared{{direction="{direction}"}} == 1 or pantau_mail_degraded{{direction="{direction}"}} == 1)'
        for direction, weight in _WEIGHTS.items()
    )
)
_DIRECTION_WORDS: Final = {
    number: ", ".join(direction for direction, weight in _WEIGHTS.items() if number & weight) for number in range(1, 8)
}


_SELF: Final = {"Self-monitoring · Pantau sendiri": "/d/pantau-self?${__url_time_range}"}
_NOTIFICATIONS: Final = {"Notifications · Makluman": "/d/pantau-notifications?${__url_time_range}"}


def _all_that_are(state: str) -> dict[str, str]:
    """Return the link to all agencies of a state on Pantau's page: the table has room for the worst."""
    return {"All of them · Semuanya": f"${{page}}/?state={state}"}


def _with(told: str, expr: str) -> str:
    """Return the rows with what *expr* tells of each agency: of several that it has, one."""
    return f"(0 * {_WORST} + 1) * on (agency) group_left ({told}) bottomk by (agency) (1, {expr})"


OVERVIEW: Final = Dashboard(
    uid="pantau-overview",
    title="Overview · Gambaran keseluruhan",
    description="How many agencies have failing mail, whether Pantau itself works, and where to look first.",
    sections=(
        Section(
            title=None,
            panels=(
                stat(
                    "Down · Terganggu",
                    "Agencies whose mail is down in at least one direction, detected (at a hub, by a quorum of sites) or declared; each counts once. 0 only while Pantau reports that mail of some agency is up.",
                    number_of(DOWN),
                    size=(6, 6),
                    links=_all_that_are("down") | runbook_link("mail-down"),
                ),
                stat(
                    "Degraded · Terjejas",
                    "Agencies whose mail is slow, in junk or rejected for senders, or down at too few sites; none that is down.",
                    number_of(DEGRADED),
                    size=(4, 6),
                    steps=ORANGE_FROM_ONE,
                    links=_all_that_are("degraded") | runbook_link("mail-degraded"),
                ),
                stat(
                    "Unknown · Belum terbukti",
                    "Agencies without a result since the start, for half an hour, or for their interval plus a run: their state is stale.",
                    number_of(UNPROVEN),
                    size=(4, 6),
                    steps=ORANGE_FROM_ONE,
                    links=_all_that_are("unknown") | runbook_link("mail-unknown"),
                ),
                stat(
                    "Not probed · Tidak diuji",
                    "Agencies without a run that should have ended by now, by their intervals and active hours.",
                    number_of(SILENT),
                    size=(4, 6),
                    links=runbook_link("probing-stopped"),
                ),
                stat(
                    "In maintenance · Dalam penyelenggaraan",
                    "Agencies in maintenance or outside their active hours. Their alerts are suppressed. 0 only while Pantau is scraped.",
                    at_least_zero(f"count({PLANNED})"),
                    size=(3, 6),
                    steps=("green", (1, "blue")),
                    links=_all_that_are("maintenance"),
                ),
                stat(
                    "Nobody on call · Tiada petugas",
                    "Rotas with nobody on call now, with overrides: the fallback is notified, if there is one.",
                    none_counted("count(max by (agency, rota) (pantau_on_call) == 0)"),
                    size=(3, 6),
                    links={"Notifications · Makluman": "/d/pantau-notifications?${__url_time_range}"},
                ),
                stat(
                    "Scraped · Dibaca",
                    "Processes of Pantau that Prometheus cannot scrape. Red without a number: there is none at all.",
                    'count(up{job="pantau"} == 0) or 0 * count(up{job="pantau"})',
                    size=(3, 3),
                    words={0: ("yes · ya", "green")},
                    links=_SELF | runbook_link("pantau-down"),
                ),
                stat(
                    "Database · Simpanan data",
                    "Whether the database can be written. While it is unavailable, no notification is sent.",
                    "min(pantau_store_up)",
                    size=(3, 3),
                    unit="none",
                    steps=GREEN_FROM_ONE,
                    words={0: ("unavailable · tiada", "red"), 1: ("available · ada", "green")},
                    links=_SELF | runbook_link("store-unavailable"),
                ),
                stat(
                    "Engine · Enjin",
                    "Time since the incident engine last finished a cycle (at least every 30 s), the longest of all processes. While it is stopped, nobody is notified. Or the difference of its clock from that of Prometheus.",
                    "max(abs(time() - pantau_engine_last_cycle_timestamp_seconds))",
                    size=(3, 3),
                    unit="s",
                    steps=("green", (60, "orange"), (180, "red")),
                    links=_SELF | runbook_link("engine-stopped"),
                ),
                stat(
                    "References · Peti mel rujukan",
                    "Whether a reference mailbox, or a control route between two, is down. Then the state of agencies relies on the others. Up only while Pantau receives mail.",
                    number_of_ours(
                        'max(pantau_monitoring_fault{cause="reference"} or 1 - min(pantau_mail_up{direction="control"}))'
                    ),
                    size=(3, 3),
                    unit="none",
                    words={0: ("up · baik", "green"), 1: ("down · rosak", "red")},
                    links=_SELF | runbook_link("monitoring-fault"),
                ),
                stat(
                    "Monitoring faults · Kegagalan di pihak Pantau",
                    "Faults of the monitoring. While there is one, failures do not count against agencies and outages may be missed. 0 only while Pantau receives mail.",
                    number_of_ours("sum(max by (cause, reference) (pantau_monitoring_fault))"),
                    size=(3, 3),
                    links=_SELF | runbook_link("monitoring-fault"),
                ),
                stat(
                    "Gateways down · Get laluan rosak",
                    "Gateways whose last request failed. 0 only while Pantau is scraped.",
                    at_least_zero("count(min by (channel, gateway) (pantau_gateway_up) == 0)"),
                    size=(3, 3),
                    links=_NOTIFICATIONS | runbook_link("gateway-down"),
                ),
                stat(
                    "Rota gaps · Jurang jadual",
                    "Rotas with nobody on call for a part of the next seven days, with overrides.",
                    none_counted("count(max by (agency, rota) (pantau_on_call_gap_seconds) > 0)"),
                    size=(3, 3),
                    steps=ORANGE_FROM_ONE,
                    links=_NOTIFICATIONS | runbook_link("on-call-gap"),
                ),
                stat(
                    "Notifications enabled · Makluman",
                    "Whether people are notified. With mode: monitor_only mail is only monitored; while the database is unavailable nobody is notified either.",
                    nobody_is_told(),
                    size=(3, 3),
                    unit="none",
                    steps=("red",),
                    words={0: ("yes · ya", "green"), 1: ("NOBODY · TIADA", "red")},
                    links=_NOTIFICATIONS | runbook_link("monitor-only"),
                ),
                table(
                    "Worst first · Yang paling teruk dahulu",
                    'The twenty agencies to look at first: by state, then by duration. With the failing directions, the cause and at which end of the route to act. A click opens the agency, its incidents, or the runbook. "nobody" only while Pantau is scraped and receives mail.',
                    f"{_WORST} or on () {_NONE}",
                    _with("incident", f"1000 * {_SINCE}"),
                    _with("outcome, party", _CAUSE),
                    _with("", _DIRECTIONS),
                    size=(18, 14),
                    columns={
                        "agency": "Agency · Agensi",
                        "Value #A": "State · Keadaan",
                        "Value #D": "Directions · Arah",
                        "Value #B": "Since · Sejak",
                        "outcome": "Cause · Punca",
                        "party": "Who must act · Pihak",
                        "incident": "Incident · Insiden",
                        "runbook": "What to do · Tindakan",
                    },
                    words=_STATES,
                    # Behind the point is how long it has lasted.
                    whole=False,
                    texts={"Directions · Arah": _DIRECTION_WORDS},
                    units={"Since · Sejak": "dateTimeFromNow"},
                    links={
                        "Agency · Agensi": agency_link("${__data.fields.agency}"),
                        "Incident · Insiden": {"Page · Laman": "${page}/agencies/${__data.fields.agency}#incidents"},
                        "What to do · Tindakan": runbook_link("${__data.fields.runbook}"),
                    },
                    large=True,
                ),
                stat(
                    "Open incidents · Insiden terbuka",
                    "Open incidents of agencies, also of removed ones, and of the monitoring. No 0 while the database is unavailable.",
                    none_if_written("(sum(max by (agency) (pantau_incidents_open)) + max(pantau_incidents_orphaned))"),
                    size=(3, 4),
                    steps=ORANGE_FROM_ONE,
                    links={"Page · Laman": "${page}/#open"},
                ),
                stat(
                    "Notification pending · Notis menunggu",
                    "Age of the oldest notification that is due and not sent. 0 when none is due.",
                    none_if_written("max(pantau_notification_oldest_pending_seconds)"),
                    size=(3, 4),
                    unit="s",
                    steps=("green", (120, "orange"), (600, "red")),
                    links=_NOTIFICATIONS | runbook_link("notifications-pending"),
                ),
                lines(
                    "Agencies by state · Agensi mengikut keadaan",
                    "How many agencies were down, degraded and unknown. No line: no data.",
                    (number_of(DOWN), "down · terganggu"),
                    (number_of(DEGRADED), "degraded · terjejas"),
                    (number_of(UNPROVEN), "unknown · belum terbukti"),
                    size=(6, 10),
                    colours={
                        "down · terganggu": "red",
                        "degraded · terjejas": "yellow",
                        "unknown · belum terbukti": "orange",
                    },
                ),
            ),
        ),
        Section(
            title="Worth checking · Perlu perhatian",
            panels=(
                *findings('agency!=""'),
                bars(
                    "Lowest availability, 1 day · Ketersediaan terendah, 1 hari",
                    "Share of the monitored time of the last day in which mail was up: as detected, whatever was declared; the ten lowest. Recorded by pantau.rules.yml; shown only while Pantau is scraped.",
                    (
                        "bottomk(10, agency_direction:pantau_mail_up:avg1d and on () pantau_build_info)",
                        "{{agency}} {{direction}}",
                    ),
                    size=(12, 8),
                    unit="percentunit",
                    steps=("red", (0.99, "orange"), (0.999, "green")),
                    most=1,
                    links=agency_link("${__field.labels.agency}"),
                ),
                lines(
                    "Outcomes, 30 minutes · Keputusan, 30 minit",
                    "Outcomes of runs in the last half hour, all agencies. inconclusive is a fault of the monitoring.",
                    ("sum by (outcome) (direction_outcome:pantau_probe_outcomes:increase30m)", "{{outcome}}"),
                    size=(12, 8),
                    stacked=True,
                ),
            ),
        ),
    ),
)
