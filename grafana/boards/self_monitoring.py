"""Pantau itself: whether it can be scraped, keeps up with its schedule, and is monitored from outside."""

from __future__ import annotations

from typing import Final

from grafana.boards.dashboard import Dashboard, Section
from grafana.boards.panel import GREEN_FROM_ONE, ORANGE_FROM_ONE, RED_FROM_ONE, bars, lines, stat, timeline
from grafana.boards.queries import LIVES, none_if_written

_BY_INSTANCE: Final = "{{instance}}"

SELF: Final = Dashboard(
    uid="pantau-self",
    title="Self-monitoring · Pantau sendiri",
    description="Whether Pantau can be scraped, keeps up with its work, and can write to its database.",
    sections=(
        Section(
            title="Now · Sekarang",
            panels=(
                stat(
                    "Scraped · Dibaca",
                    "Whether Prometheus can scrape each process of Pantau.",
                    ('min by (instance) (up{job="pantau"})', _BY_INSTANCE),
                    size=(4, 4),
                    unit="none",
                    steps=GREEN_FROM_ONE,
                    words={0: ("down · rosak", "red"), 1: ("up · berfungsi", "green")},
                    text="value_and_name",
                ),
                stat(
                    "Database · Simpanan data",
                    "Whether the database can be written. While it is unavailable, no notification is sent.",
                    ("min by (instance) (pantau_store_up)", _BY_INSTANCE),
                    size=(4, 4),
                    unit="none",
                    steps=GREEN_FROM_ONE,
                    words={0: ("unavailable · tiada", "red"), 1: ("available · ada", "green")},
                    text="value_and_name",
                ),
                stat(
                    "Configuration · Konfigurasi",
                    "Whether the last configuration reload succeeded. If not, the old one stays active; `pantau check` gives the reason.",
                    (
                        "min by (instance) (pantau_config_last_reload_successful * (1 + pantau_config_restart_needed))",
                        _BY_INSTANCE,
                    ),
                    size=(4, 4),
                    unit="none",
                    steps=GREEN_FROM_ONE,
                    words={
                        0: ("rejected · ditolak", "red"),
                        1: ("accepted · diterima", "green"),
                        2: ("restart needed · perlu dimulakan semula", "yellow"),
                    },
                    text="value_and_name",
                ),
                stat(
                    "Configuration accepted · Konfigurasi diterima",
                    "When a configuration was last accepted.",
                    (
                        "1000 * max by (instance) (pantau_config_last_reload_success_timestamp_seconds)",
                        _BY_INSTANCE,
                    ),
                    size=(4, 4),
                    unit="dateTimeFromNow",
                    steps=("text",),
                    text="value_and_name",
                ),
                stat(
                    "Last probe ended · Ujian terakhir",
                    "Time since any probe ended. Red: nothing is being probed, and every green panel is stale.",
                    "time() - max(pantau_probe_run_timestamp_seconds)",
                    size=(4, 4),
                    unit="s",
                    steps=("green", (600, "orange"), (1800, "red")),
                ),
                stat(
                    "Routes monitored · Laluan dipantau",
                    "How many routes are probed. 0: nothing is monitored.",
                    ("max by (instance) (pantau_config_routes)", _BY_INSTANCE),
                    size=(4, 4),
                    steps=GREEN_FROM_ONE,
                ),
            ),
        ),
        Section(
            title="Sharding · Siapa menguji apa",
            panels=(
                lines(
                    "Agencies by process · Agensi mengikut proses",
                    "How many agencies each process probes. Processes on one PostgreSQL share the agencies; when one dies, the others take over within seconds.",
                    ("max by (instance) (pantau_agencies_owned)", "{{instance}}"),
                    size=(12, 6),
                ),
                lines(
                    "Taken over · Diambil alih",
                    "Agencies that a process took over, those with a pending takeover (more than zero for longer than seconds: the database is slow), and those whose documents only other processes have.",
                    ("sum by (instance) (increase(pantau_takeovers_total[5m]))", "{{instance}} taken over · diambil"),
                    ("max by (instance) (pantau_agencies_takeover_pending)", "{{instance}} pending · menunggu"),
                    ("max by (instance) (pantau_agencies_config_missing)", "{{instance}} missing · tiada"),
                    size=(12, 6),
                ),
            ),
        ),
        Section(
            title="Sites · Tapak",
            panels=(
                bars(
                    "Other sites, age of their reports · Tapak lain, usia laporan",
                    "Age of each other site's report; beyond half a minute, unless configured at the hub, it does not count.",
                    ("max by (site) (pantau_site_lag_seconds)", "{{site}}"),
                    ("min by (site) (pantau_site_fresh) - 1 < 0", "{{site}}: no vote · tiada undi"),
                    ("max by (site) (abs(pantau_site_clock_offset_seconds) > 5)", "{{site}}: clock · jam"),
                    size=(8, 6),
                    unit="s",
                ),
                bars(
                    "Other sites, replication lag · Tapak lain, disimpan untuk hab",
                    "How much data of each other site the hub has not confirmed, and the reason, if any. Rejections are those of the last hour. Documents: number of the hub's documents not applied there.",
                    ("max by (site) (pantau_site_replication_lag_bytes)", "{{site}}"),
                    (
                        'max by (site, state) (pantau_site_replication_state{state!="works"}) == 1',
                        "{{site}}: {{state}}",
                    ),
                    (
                        "max by (site) (increase(pantau_site_replication_errors_total[1h])) > 0",
                        "{{site}}: refused · ditolak",
                    ),
                    (
                        "max by (site) (pantau_site_documents_outdated) > 0",
                        "{{site}}: documents · dokumen",
                    ),
                    size=(8, 6),
                    unit="bytes",
                ),
                bars(
                    "Sites disagree · Tapak tidak sepakat",
                    "Agencies that are failing at some sites and up at others; ten of them by name. No data: fewer than two sites with current reports.",
                    ("sum(max by (agency) (pantau_quorum_disagreement))", "agencies · agensi"),
                    ("topk(10, max by (agency) (pantau_quorum_disagreement) == 1)", "{{agency}}"),
                    size=(8, 6),
                    steps=ORANGE_FROM_ONE,
                ),
            ),
        ),
        Section(
            title="Faults and reference mailboxes · Kerosakan dan peti mel rujukan",
            panels=(
                timeline(
                    "Monitoring faults · Kegagalan di pihak Pantau",
                    "Faults of the monitoring over time; of a reference mailbox, which.",
                    ("max by (cause, reference) (pantau_monitoring_fault)", "{{cause}} {{reference}}"),
                    size=(12, 6),
                    words={0: ("fine · baik", "green"), 1: ("fault · rosak", "red")},
                ),
                timeline(
                    "Control routes · Antara peti mel rujukan",
                    "The last conclusive run of each control route, between two reference mailboxes.",
                    ('min by (route) (pantau_probe_success{direction="control"})', "{{route}}"),
                    size=(12, 6),
                    words={0: ("down · rosak", "red"), 1: ("up · berfungsi", "green")},
                ),
                lines(
                    "Transit by direction · Masa transit mengikut arah",
                    "From acceptance of a message until it is in the mailbox, all agencies: median and 95th percentile of the last half hour.",
                    ("direction:pantau_mail_transit_seconds:p50_30m", "{{direction}} p50"),
                    ("direction:pantau_mail_transit_seconds:p95_30m", "{{direction}} p95"),
                    size=(12, 7),
                    unit="s",
                ),
                lines(
                    "Unexpected arrivals per hour · Ketibaan luar jangka sejam",
                    "Mail with a token that no run was waiting for. late: arrived after it counted as lost. forged: its token does not verify.",
                    ("sum by (arrival) (increase(pantau_probe_arrivals_total[1h]))", "{{arrival}}"),
                    size=(12, 7),
                ),
            ),
        ),
        Section(
            title="Keeping up · Mengikut jadual",
            panels=(
                lines(
                    "Engine and event loop · Enjin dan gelung acara",
                    "Time since the incident engine finished a cycle (at least every 30 s), and the event loop lag.",
                    ("time() - max by (instance) (pantau_engine_last_cycle_timestamp_seconds)", "{{instance}} cycle"),
                    ("max by (instance) (pantau_event_loop_lag_seconds)", "{{instance}} loop lag"),
                    size=(8, 7),
                    unit="s",
                ),
                lines(
                    "Runs started late, 99 % · Ujian bermula lewat",
                    "Delay of the start of runs, 99th percentile. It grows when the process is overloaded.",
                    (
                        "histogram_quantile(0.99, sum by (instance, le) (rate(pantau_probe_schedule_lag_seconds_bucket[30m])))",
                        _BY_INSTANCE,
                    ),
                    size=(8, 7),
                    unit="s",
                ),
                lines(
                    "Runs skipped or discarded per minute · Ujian dilangkau",
                    "Runs skipped because the process is overloaded, and runs discarded because it was stalled.",
                    ("sum by (instance) (rate(pantau_probe_runs_skipped_total[5m])) * 60", "{{instance}} left out"),
                    (
                        "sum by (instance) (rate(pantau_probe_runs_discarded_total[5m])) * 60",
                        "{{instance}} not believed",
                    ),
                    size=(8, 7),
                ),
                lines(
                    "CPU · CPU",
                    "Share of one CPU that each process uses.",
                    (
                        'sum by (instance) (rate(process_cpu_seconds_total{job="pantau"}[$__rate_interval]))',
                        _BY_INSTANCE,
                    ),
                    size=(6, 6),
                    unit="percentunit",
                ),
                lines(
                    "Memory · Memori",
                    "Resident memory of each process.",
                    ('max by (instance) (process_resident_memory_bytes{job="pantau"})', _BY_INSTANCE),
                    size=(6, 6),
                    unit="bytes",
                ),
                lines(
                    "Open files and sockets · Fail dan soket terbuka",
                    "Share of the allowed file descriptors that each process has open. Sessions that leak show here.",
                    (
                        'max by (instance) (process_open_fds{job="pantau"} / process_max_fds{job="pantau"})',
                        _BY_INSTANCE,
                    ),
                    size=(6, 6),
                    unit="percentunit",
                ),
                lines(
                    "Scrapes · Bacaan Prometheus",
                    "How long a scrape takes; after ten seconds it counts as failed.",
                    ('max by (instance) (scrape_duration_seconds{job="pantau"})', _BY_INSTANCE),
                    size=(6, 6),
                    unit="s",
                ),
            ),
        ),
        Section(
            title="Queues and limits · Baris gilir dan had",
            panels=(
                lines(
                    "Pending and overdue · Perkara yang menunggu",
                    "Age of the oldest notification that is due, and of the oldest overdue action. 0 when there is none.",
                    ("max(pantau_notification_oldest_pending_seconds)", "notification · notis"),
                    ("max(pantau_escalation_overdue_seconds)", "overdue · melepasi tempoh"),
                    size=(12, 6),
                    unit="s",
                ),
                lines(
                    "Throttled per hour · Ditahan sejam",
                    "Notifications throttled by a rate limit: per contact or per gateway.",
                    (
                        "sum by (channel, limit) (increase(pantau_notifications_throttled_total[1h]))",
                        "{{channel}}, {{limit}}",
                    ),
                    size=(12, 6),
                    stacked=True,
                ),
            ),
        ),
        Section(
            title="Heartbeat and audit log · Pantau juga dipantau",
            panels=(
                bars(
                    "Heartbeat suppressed · Denyut ditahan",
                    "Why the heartbeat is not sent.",
                    ("max by (reason) (pantau_heartbeat_suppressed)", "{{reason}}"),
                    size=(6, 6),
                    steps=RED_FROM_ONE,
                    most=1,
                ),
                lines(
                    "Age of the heartbeat · Usia denyut",
                    "Time since each receiver last accepted the heartbeat.",
                    (
                        "time() - max by (instance, receiver) (pantau_heartbeat_last_success_timestamp_seconds)",
                        "{{instance}} {{receiver}}",
                    ),
                    size=(6, 6),
                    unit="s",
                ),
                bars(
                    "Out-of-band alerts · Talian hayat",
                    "Whether the NOC is called without the database.",
                    ("max by (reason) (pantau_out_of_band_active)", "{{reason}}"),
                    size=(6, 6),
                    steps=RED_FROM_ONE,
                    most=1,
                ),
                stat(
                    "Out-of-band numbers · Nombor talian hayat",
                    "How many numbers can be called without the database, or that no out-of-band alerting is configured.",
                    f"min(pantau_out_of_band_numbers) or 0 * {LIVES} - 1",
                    size=(3, 6),
                    steps=GREEN_FROM_ONE,
                    words={-1: ("none · tiada", "orange")},
                ),
                stat(
                    "Version · Versi",
                    "The version of Pantau and of Python that each process runs.",
                    (
                        "max by (instance, version, python) (pantau_build_info)",
                        "{{instance}}: {{version}} (Python {{python}})",
                    ),
                    size=(3, 6),
                    unit="none",
                    steps=("text",),
                    text="name",
                ),
                stat(
                    "Audit chain violations · Jejak audit diubah",
                    "Changed entries of the audit log: `pantau audit verify` names them.",
                    none_if_written("max(pantau_audit_chain_violations)"),
                    size=(6, 5),
                ),
                stat(
                    "Head of the audit log · Hujung jejak audit",
                    "The first 52 bits of the head's hash: a copy outside the database.",
                    ("max by (instance) (pantau_audit_head_fingerprint)", _BY_INSTANCE),
                    size=(6, 5),
                    unit="none",
                    steps=("blue",),
                ),
                lines(
                    "Entries of the audit log · Catatan jejak audit",
                    "Number of entries of the audit log. It only grows.",
                    ("max by (instance) (pantau_audit_entries)", _BY_INSTANCE),
                    size=(12, 5),
                ),
            ),
        ),
    ),
)
