"""One agency: what is wrong with it, since when and where on the way; linked from every row of the overview."""

from __future__ import annotations

from typing import Final

from grafana.boards.dashboard import Dashboard, Section, annotation
from grafana.boards.finding import findings
from grafana.boards.panel import ORANGE_FROM_ONE, bars, heatmap, lines, stat, table, timeline

_ONE: Final = 'agency="$agency"'
_UP: Final = f"min by (direction) (pantau_mail_up{{{_ONE}}})"
_DECLARED: Final = f"-1 * max by (direction) (pantau_outage_declared{{{_ONE}}})"
_DEGRADED: Final = f"max by (direction) (pantau_mail_degraded{{{_ONE}}})"
_AGREED: Final = f"max by (direction) (pantau_quorum_outage{{{_ONE}}})"
#: How a direction stands; what sites have told together goes before what any measures, and where it is not down, what a person
#: has declared.
_HEALTH: Final = f"0 * ({_AGREED} == 1) or {_UP} == 0 or {_DECLARED} or clamp_min(2 * {_UP} - {_DEGRADED}, 0)"
_HEALTH_WORDS: Final = {
    -1: ("declared down · diisytiharkan terganggu", "dark-red"),
    0: ("down · terganggu", "red"),
    1: ("degraded · terjejas", "orange"),
    2: ("up · berfungsi", "green"),
}
_SINCE: Final = (
    f"1000 * min by (incident) (pantau_incident_opened_timestamp_seconds{{{_ONE}}})"
    f" or on () (0 * max(pantau_incidents_open{{{_ONE}}}) unless on () max(pantau_store_up) == 0)"
)
_CAUSE: Final = f"max by (direction, outcome, party) (pantau_mail_failure_cause{{{_ONE}}})"


def _sum30d(runs: str) -> str:
    """Return how many of these runs there were in thirty days, of what pantau.rules.yml counts, by direction."""
    return f"sum_over_time(agency_direction:{runs}:increase5m{{{_ONE}}}[30d])"


#: What is left of it, by what the alerts about it count and the target that they have.
_BUDGET_LEFT: Final = (
    f"clamp_min(1 - {_sum30d('pantau_probe_runs_failed')} / ({_sum30d('pantau_probe_runs')} > 0)"
    " / (1 - scalar(pantau:mail_objective:ratio)), 0) and on () pantau_build_info"
)


AGENCY: Final = Dashboard(
    uid="pantau-agency",
    title="Agency · Agensi",
    description="One agency: health of its mail, since when, where on its path it fails, and the findings of the checks.",
    page="/agencies/$agency",
    choices={
        "agency": ("Agency · Agensi", 'label_values(pantau_incidents_open{agency!=""}, agency)'),
        "route": (
            "Route · Laluan",
            'label_values(pantau_probe_run_timestamp_seconds{agency="$agency"}, route)',
        ),
    },
    annotations=(
        annotation(
            "Incidents · Insiden",
            f"1000 * min by (agency, incident) (pantau_incident_opened_timestamp_seconds{{{_ONE}}})",
            "{{incident}}",
            "red",
            when_it_began=True,
        ),
        annotation(
            "Alerts · Amaran",
            f'ALERTS{{{_ONE}, alertstate="firing"}}',
            "{{alertname}} {{direction}}",
            "orange",
            shown=False,
        ),
        annotation(
            "Notifications of outages, to anybody · Notis gangguan, kepada sesiapa",
            'sum by (channel) (increase(pantau_notifications_total{purpose="outage", state="sent"}[$__rate_interval])) > 0',
            "notification by {{channel}} · notis",
            "blue",
            shown=False,
        ),
    ),
    sections=(
        Section(
            title="Now · Sekarang: $agency",
            panels=(
                stat(
                    "Directions · Arah",
                    "Health of each direction after several runs, the worst of all sites; a declared outage where it is not down.",
                    (_HEALTH, "{{direction}}"),
                    size=(10, 5),
                    unit="none",
                    steps=("red", (1, "orange"), (2, "green")),
                    words=_HEALTH_WORDS,
                    text="value_and_name",
                    links={
                        "Down: what to do · Terganggu: tindakan": "${runbooks}/mail-down.md",
                        "Degraded: what to do · Terjejas: tindakan": "${runbooks}/mail-degraded.md",
                    },
                ),
                stat(
                    "Open incidents · Insiden terbuka",
                    "Since when each incident of this agency is open, by its number. No data while the database is unavailable.",
                    (_SINCE, "{{incident}}"),
                    size=(6, 5),
                    unit="dateTimeFromNow",
                    steps=("red",),
                    words={0: ("none · tiada", "green")},
                    text="value_and_name",
                    links={"Notified · Siapa yang dimaklumkan": "${page}/agencies/$agency#notices"},
                ),
                stat(
                    "Closed manually · Ditutup oleh pegawai",
                    "Whether a person has closed an incident that probes still detect: nobody is notified of it for a day.",
                    f"max(pantau_incident_closed_manually{{{_ONE}}}) or 0 * max(pantau_incidents_open{{{_ONE}}})",
                    size=(4, 5),
                    unit="none",
                    words={0: ("no · tidak", "green"), 1: ("still down · masih terganggu", "red")},
                ),
                stat(
                    "Planned · Seperti dirancang",
                    "Whether the agency is in maintenance, or outside its active hours and not probed.",
                    f"2 * max(pantau_off_hours{{{_ONE}}}) == 2 or max(pantau_maintenance{{{_ONE}}})"
                    f" or 0 * count(pantau_incidents_open{{{_ONE}}})",
                    size=(4, 5),
                    unit="none",
                    words={
                        0: ("monitored · dipantau", "green"),
                        1: ("maintenance · penyelenggaraan", "blue"),
                        2: ("off hours · luar waktu", "blue"),
                    },
                ),
                timeline(
                    "Mail by direction · E-mel mengikut arah",
                    "Health, the worst of all sites; where it is not down, a declared outage takes precedence. A gap is unknown: not determined yet, or Pantau was not running.",
                    (_HEALTH, "{{direction}}"),
                    size=(14, 7),
                    words=_HEALTH_WORDS,
                ),
                table(
                    "Cause · Punca",
                    'Most frequent outcome of the latest failed runs that count, and at which end of the route to act. "nothing" while all that is monitored is up or unknown.',
                    f"{_CAUSE} or on () label_replace(0 * count(pantau_incidents_open{{{_ONE}}}),"
                    ' "outcome", "nothing · tiada", "", "")',
                    size=(10, 7),
                    columns={
                        "direction": "Direction · Arah",
                        "outcome": "Runs end with · Keputusan",
                        "party": "Who must act · Pihak",
                        "Value": "Now · Kini",
                    },
                    words={1: ("failing · bermasalah", "red"), 0: ("-", "green")},
                ),
                timeline(
                    "Causes over time · Punca mengikut masa",
                    "Cause and end of the route while a direction was down or degraded. No bar: it was up or unknown.",
                    (_CAUSE, "{{direction}}: {{outcome}} ({{party}})"),
                    size=(8, 7),
                    words={1: ("failing · bermasalah", "red")},
                ),
                bars(
                    "Error budget left, 30 days · Baki had gangguan, 30 hari",
                    "Error budget left of the thirty-day target (1 % of the runs, unless pantau.local.rules.yml says otherwise). It counts runs, except undetermined ones, faults of the monitoring and runs in maintenance. Availability counts minutes.",
                    (_BUDGET_LEFT, "{{direction}}"),
                    size=(8, 7),
                    unit="percentunit",
                    steps=("red", (0.1, "orange"), (0.5, "green")),
                    most=1,
                ),
                bars(
                    "Availability, 1 day · Ketersediaan, 1 hari",
                    "Share of the monitored time of the last day (no maintenance, active hours) in which mail was up: as detected, whatever was declared. Recorded by pantau.rules.yml; shown only while Pantau is scraped.",
                    (
                        f"agency_direction:pantau_mail_up:avg1d{{{_ONE}}} and on () pantau_build_info",
                        "{{direction}}",
                    ),
                    size=(8, 7),
                    unit="percentunit",
                    steps=("red", (0.99, "orange"), (0.999, "green")),
                    most=1,
                ),
            ),
        ),
        Section(
            title="Where it fails · Di mana pada laluan",
            panels=(
                table(
                    "Routes · Laluan",
                    "The last conclusive run of each route and site: whether it was delivered to the inbox.",
                    f"min by (route, direction, site) (pantau_probe_success{{{_ONE}}})",
                    size=(8, 8),
                    columns={
                        "route": "Route · Laluan",
                        "direction": "Direction · Arah",
                        "site": "Site · Tapak",
                        "Value": "Last run · Ujian terakhir",
                    },
                    words={0: ("down · rosak", "red"), 1: ("up · berfungsi", "green")},
                ),
                lines(
                    "Runs by verdict per hour · Ujian mengikut keputusan sejam",
                    "Verdicts of runs in the last hour. monitoring_fault: a fault of the monitoring, undetermined: no cause found; neither counts against the agency.",
                    (f"sum by (verdict) (increase(pantau_probe_runs_total{{{_ONE}}}[1h]))", "{{verdict}}"),
                    size=(8, 8),
                    stacked=True,
                    colours={
                        "good": "green",
                        "slow": "yellow",
                        "failed": "red",
                        "monitoring_fault": "purple",
                        "undetermined": "orange",
                    },
                ),
                lines(
                    "Time since the last success · Usia bukti terakhir",
                    "Time since a message was last delivered on each route.",
                    (f"time() - max by (route) (pantau_probe_success_timestamp_seconds{{{_ONE}}})", "{{route}}"),
                    size=(8, 8),
                    unit="s",
                ),
                lines(
                    "Phases of $route · Fasa laluan",
                    "Duration of each phase of the last conclusive run. Unfinished phases are not shown.",
                    ('max by (phase) (pantau_probe_phase_duration_seconds{route="$route"})', "{{phase}}"),
                    size=(8, 8),
                    unit="s",
                    stacked=True,
                ),
                heatmap(
                    "Transit of all routes · Masa transit semua laluan",
                    "Transit time of this agency's messages, from acceptance until they are in the mailbox: a count for each route and moment. Two bands are two paths, or a queue.",
                    (
                        (
                            f'max by (route) (pantau_probe_phase_duration_seconds{{phase="transit"}} and on (route)'
                            f" pantau_probe_run_timestamp_seconds{{{_ONE}}})"
                        ),
                        "{{route}}",
                    ),
                    size=(8, 8),
                ),
                lines(
                    "Time at each relay · Masa di setiap geganti",
                    "Here: the relay, by position, where this agency's latest message stayed for ten seconds or more; no line: none. All: 95th percentile of all agencies' messages to each relay, and until the sender's server responded to DATA. A growing queue shows here.",
                    (
                        f"max by (direction, hop) (pantau_mail_slowest_hop_seconds{{{_ONE}}})",
                        "here: {{direction}} {{hop}}",
                    ),
                    (
                        "histogram_quantile(0.95, sum by (direction, hop, le) (rate(pantau_mail_hop_delay_seconds_bucket[30m])))",
                        "all: {{direction}} {{hop}}",
                    ),
                    (
                        "histogram_quantile(0.95, sum by (direction, le) (rate(pantau_smtp_data_duration_seconds_bucket[30m])))",
                        "all: {{direction}} DATA",
                    ),
                    size=(8, 8),
                    unit="s",
                ),
            ),
        ),
        Section(title="Checks · Semakan", panels=findings(_ONE)),
        Section(
            title="Contacts · Pegawainya",
            panels=(
                bars(
                    "Nobody on call, next 7 days · Tiada petugas, 7 hari",
                    "How long nobody is on call, by rota, with overrides: the agency's rotas and those of the operations centre.",
                    ('max by (agency, rota) (pantau_on_call_gap_seconds{agency=~"|$agency"})', "{{agency}}/{{rota}}"),
                    size=(8, 6),
                    unit="s",
                    steps=("green", (1, "orange"), (86400, "red")),
                ),
                stat(
                    "Numbers not verified · Nombor belum disahkan",
                    "Numbers of its staff where nobody has answered for too long, or never.",
                    f"max(pantau_contact_numbers_unverified{{{_ONE}}})",
                    size=(4, 6),
                    steps=ORANGE_FROM_ONE,
                ),
                bars(
                    "Not reached in drills for · Tidak dihubungi selama",
                    "How long ago each contact was last reached in a drill.",
                    (
                        f"time() - max by (contact) (pantau_contact_reached_timestamp_seconds{{{_ONE}}} > 0)",
                        "{{contact}}",
                    ),
                    size=(12, 6),
                    unit="s",
                    steps=("green", (21 * 86400, "orange")),
                ),
            ),
        ),
    ),
)
