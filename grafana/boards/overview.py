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
    4: ("closed by hand, still down · ditutup, masih terganggu", "orange"),
    3: ("unproven · belum terbukti", "orange"),
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
    description="How many agencies' mail is ill, whether Pantau can be believed, and where to look first.",
    sections=(
        Section(
            title=None,
            panels=(
                stat(
                    "Down · Terganggu",
                    "Agencies whose mail is down in at least one direction, as measured (at a hub, as enough sites say) or as a "
                    "person has declared; each counts once. 0 only while Pantau tells that mail of some agency flows.",
                    number_of(DOWN),
                    size=(6, 6),
                    links=_all_that_are("down") | runbook_link("mail-down"),
                ),
                stat(
                    "Degraded · Terjejas",
                    "Agencies whose mail flows, but slowly, into junk, or with errors for who sends, or is down as only too few sites "
                    "see; none that is down.",
                    number_of(DEGRADED),
                    size=(4, 6),
                    steps=ORANGE_FROM_ONE,
                    links=_all_that_are("degraded") | runbook_link("mail-degraded"),
                ),
                stat(
                    "Unproven · Belum terbukti",
                    "Agencies of which nothing has been proved since the start, or for half an hour, or for as long as their "
                    "interval and a run take: what is said of them is old.",
                    number_of(UNPROVEN),
                    size=(4, 6),
                    steps=ORANGE_FROM_ONE,
                    links=_all_that_are("unknown") | runbook_link("mail-unknown"),
                ),
                stat(
                    "Not probed · Tidak diuji",
                    "Agencies of which a run should have ended by now, by their intervals and hours, and none has.",
                    number_of(SILENT),
                    size=(4, 6),
                    links=runbook_link("probing-stopped"),
                ),
                stat(
                    "In maintenance · Dalam penyelenggaraan",
                    "Agencies whose mail may fail for a while, as planned, or that are outside of their hours. Alerts about "
                    "them are quiet. 0 only while Pantau can be read.",
                    at_least_zero(f"count({PLANNED})"),
                    size=(3, 6),
                    steps=("green", (1, "blue")),
                    links=_all_that_are("maintenance"),
                ),
                stat(
                    "Nobody on call · Tiada petugas",
                    "Rotas by which nobody is on call now, overrides counted: who is told by them is told by the fallback, if there is one.",
                    none_counted("count(max by (agency, rota) (pantau_on_call) == 0)"),
                    size=(3, 6),
                    links={"Notifications · Makluman": "/d/pantau-notifications?${__url_time_range}"},
                ),
                stat(
                    "Scraped · Dibaca",
                    "Processes of Pantau that Prometheus cannot read. Red without a number: there is none at all.",
                    'count(up{job="pantau"} == 0) or 0 * count(up{job="pantau"})',
                    size=(3, 3),
                    words={0: ("yes · ya", "green")},
                    links=_SELF | runbook_link("pantau-down"),
                ),
                stat(
                    "Store · Simpanan data",
                    "Whether what is decided can be written. While it is away, no notice is sent.",
                    "min(pantau_store_up)",
                    size=(3, 3),
                    unit="none",
                    steps=GREEN_FROM_ONE,
                    words={0: ("away · tiada", "red"), 1: ("there · ada", "green")},
                    links=_SELF | runbook_link("store-unavailable"),
                ),
                stat(
                    "Engine · Enjin",
                    "Time since the incident engine last finished a cycle, of the process where that is longest; it does at "
                    "least every 30 s. While it stands still, nobody is told. Or as far as its clock is from that of Prometheus.",
                    "max(abs(time() - pantau_engine_last_cycle_timestamp_seconds))",
                    size=(3, 3),
                    unit="s",
                    steps=("green", (60, "orange"), (180, "red")),
                    links=_SELF | runbook_link("engine-stopped"),
                ),
                stat(
                    "References · Peti mel rujukan",
                    "Whether a reference mailbox of ours is judged to be broken, or the way between two. While one is, "
                    "what is said of agencies rests on the others. Well is said only by a Pantau that hears mail arrive.",
                    number_of_ours(
                        'max(pantau_monitoring_fault{cause="reference"} or 1 - min(pantau_mail_up{direction="control"}))'
                    ),
                    size=(3, 3),
                    unit="none",
                    words={0: ("well · baik", "green"), 1: ("broken · rosak", "red")},
                    links=_SELF | runbook_link("monitoring-fault"),
                ),
                stat(
                    "Own faults · Kegagalan di pihak Pantau",
                    "Faults on our side. While there is one, agencies are not blamed and their outages may be missed. 0 is said only by a Pantau that hears mail arrive.",
                    number_of_ours("sum(max by (cause, reference) (pantau_monitoring_fault))"),
                    size=(3, 3),
                    links=_SELF | runbook_link("monitoring-fault"),
                ),
                stat(
                    "Gateways down · Get laluan rosak",
                    "Gateways that did not take or answer the last thing asked of them. 0 only while Pantau can be read.",
                    at_least_zero("count(min by (channel, gateway) (pantau_gateway_up) == 0)"),
                    size=(3, 3),
                    links=_NOTIFICATIONS | runbook_link("gateway-down"),
                ),
                stat(
                    "Rota gaps · Jurang jadual",
                    "Rotas that have nobody on call for a part of the next seven days, overrides counted.",
                    none_counted("count(max by (agency, rota) (pantau_on_call_gap_seconds) > 0)"),
                    size=(3, 3),
                    steps=ORANGE_FROM_ONE,
                    links=_NOTIFICATIONS | runbook_link("on-call-gap"),
                ),
                stat(
                    "People are told · Makluman",
                    "Whether anybody is told of what is found out. With mode: monitor_only mail is watched and shown, and nobody "
                    "is told; nor while the store is away.",
                    nobody_is_told(),
                    size=(3, 3),
                    unit="none",
                    steps=("red",),
                    words={0: ("yes · ya", "green"), 1: ("NOBODY · TIADA", "red")},
                    links=_NOTIFICATIONS | runbook_link("monitor-only"),
                ),
                table(
                    "Worst first · Yang paling teruk dahulu",
                    "The twenty agencies to look at first: by their state, and then those where it has lasted longest. With the "
                    "directions that are ill, the cause and at which end of the route somebody "
                    'must act. A click opens the agency, its incidents, or what to do. "nobody" is said by a Pantau that can be '
                    "read and hears mail arrive, and never by silence.",
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
                    "Incidents that are open: agencies', also of those that a reload has removed, and our own. While the store is away none is opened, and 0 is not said.",
                    none_if_written("(sum(max by (agency) (pantau_incidents_open)) + max(pantau_incidents_orphaned))"),
                    size=(3, 4),
                    steps=ORANGE_FROM_ONE,
                    links={"Page · Laman": "${page}/#open"},
                ),
                stat(
                    "Notice waits · Notis menunggu",
                    "How long the oldest notice that is due has been waiting to be sent. 0 when none waits, and it would be known.",
                    none_if_written("max(pantau_notification_oldest_pending_seconds)"),
                    size=(3, 4),
                    unit="s",
                    steps=("green", (120, "orange"), (600, "red")),
                    links=_NOTIFICATIONS | runbook_link("notifications-pending"),
                ),
                lines(
                    "Agencies by state · Agensi mengikut keadaan",
                    "How many agencies were down, degraded and unproven. No line: nobody could tell.",
                    (number_of(DOWN), "down · terganggu"),
                    (number_of(DEGRADED), "degraded · terjejas"),
                    (number_of(UNPROVEN), "unproven · belum terbukti"),
                    size=(6, 10),
                    colours={
                        "down · terganggu": "red",
                        "degraded · terjejas": "yellow",
                        "unproven · belum terbukti": "orange",
                    },
                ),
            ),
        ),
        Section(
            title="Worth a look · Perlu perhatian",
            panels=(
                *findings('agency!=""'),
                bars(
                    "Lowest availability, 1 day · Ketersediaan terendah, 1 hari",
                    "Share of the last day in which mail was up, of the time that was watched: as measured, whatever was "
                    "declared; the ten lowest. Recorded by pantau.rules.yml; shown only while Pantau can be read.",
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
                    "How runs ended in the half hour before, all agencies together. inconclusive is our own side.",
                    ("sum by (outcome) (direction_outcome:pantau_probe_outcomes:increase30m)", "{{outcome}}"),
                    size=(12, 8),
                    stacked=True,
                ),
            ),
        ),
    ),
)
