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
    description="Whether Pantau can be read, keeps up with what is due, and writes down what it decides.",
    sections=(
        Section(
            title="Now · Sekarang",
            panels=(
                stat(
                    "Scraped · Dibaca",
                    "Whether Prometheus reaches each process of Pantau.",
                    ('min by (instance) (up{job="pantau"})', _BY_INSTANCE),
                    size=(4, 4),
                    unit="none",
                    steps=GREEN_FROM_ONE,
                    words={0: ("not working · rosak", "red"), 1: ("works · berfungsi", "green")},
                    text="value_and_name",
                ),
                stat(
                    "Store · Simpanan data",
                    "Whether what is decided can be written. While it is away, no notice is sent.",
                    ("min by (instance) (pantau_store_up)", _BY_INSTANCE),
                    size=(4, 4),
                    unit="none",
                    steps=GREEN_FROM_ONE,
                    words={0: ("away · tiada", "red"), 1: ("there · ada", "green")},
                    text="value_and_name",
                ),
                stat(
                    "Configuration · Konfigurasi",
                    "Whether the configuration was accepted when last read. If not, Pantau goes on with the old one; "
                    "`pantau check` tells why.",
                    (
                        "min by (instance) (pantau_config_last_reload_successful * (1 + pantau_config_restart_needed))",
                        _BY_INSTANCE,
                    ),
                    size=(4, 4),
                    unit="none",
                    steps=GREEN_FROM_ONE,
                    words={
                        0: ("refused · ditolak", "red"),
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
                    "Time since any probe ended. Red: nothing is being probed, and every green on these walls is old.",
                    "time() - max(pantau_probe_run_timestamp_seconds)",
                    size=(4, 4),
                    unit="s",
                    steps=("green", (600, "orange"), (1800, "red")),
                ),
                stat(
                    "Routes watched · Laluan dipantau",
                    "How many routes are probed. 0: nothing is proven at all.",
                    ("max by (instance) (pantau_config_routes)", _BY_INSTANCE),
                    size=(4, 4),
                    steps=GREEN_FROM_ONE,
                ),
            ),
        ),
        Section(
            title="Who probes what · Siapa menguji apa",
            panels=(
                lines(
                    "Agencies by process · Agensi mengikut proses",
                    "How many agencies each process probes. Where several share a PostgreSQL they share the agencies; one that "
                    "dies leaves its share to the others within seconds.",
                    ("max by (instance) (pantau_agencies_owned)", "{{instance}}"),
                    size=(12, 6),
                ),
                lines(
                    "Taken over · Diambil alih",
                    "Agencies that a process took over from another, those that it has yet to take over (more than none for "
                    "longer than seconds: the store keeps it waiting), and those of which it has no documents and others have.",
                    ("sum by (instance) (increase(pantau_takeovers_total[5m]))", "{{instance}} taken · diambil"),
                    ("max by (instance) (pantau_agencies_takeover_pending)", "{{instance}} waiting · menunggu"),
                    ("max by (instance) (pantau_agencies_config_missing)", "{{instance}} lacking · tiada"),
                    size=(12, 6),
                ),
            ),
        ),
        Section(
            title="Sites · Tapak",
            panels=(
                bars(
                    "Other sites, age of what they say · Tapak lain, usia laporan",
                    "How old what each other site says is; beyond half a minute, unless the hub says otherwise, it does not count.",
                    ("max by (site) (pantau_site_lag_seconds)", "{{site}}"),
                    ("min by (site) (pantau_site_fresh) - 1 < 0", "{{site}}: no vote · tiada undi"),
                    ("max by (site) (abs(pantau_site_clock_offset_seconds) > 5)", "{{site}}: clock · jam"),
                    size=(8, 6),
                    unit="s",
                ),
                bars(
                    "Other sites, kept for the hub · Tapak lain, disimpan untuk hab",
                    "How much each other site keeps that the hub has not confirmed; and what is in the way, where something is. Refusals are "
                    "those of the last hour. Documents: so many of the hub's it does not go by.",
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
                    "Of how many agencies some sites say that something is wrong, and others that all is proven to work; ten of them by name. No "
                    "data: there are no two sites that are fresh.",
                    ("sum(max by (agency) (pantau_quorum_disagreement))", "agencies · agensi"),
                    ("topk(10, max by (agency) (pantau_quorum_disagreement) == 1)", "{{agency}}"),
                    size=(8, 6),
                    steps=ORANGE_FROM_ONE,
                ),
            ),
        ),
        Section(
            title="Faults and references · Kerosakan dan peti mel rujukan",
            panels=(
                timeline(
                    "Our own faults · Kegagalan di pihak Pantau",
                    "What on our side kept us from judging, and when; of a reference mailbox, which.",
                    ("max by (cause, reference) (pantau_monitoring_fault)", "{{cause}} {{reference}}"),
                    size=(12, 6),
                    words={0: ("fine · baik", "green"), 1: ("fault · rosak", "red")},
                ),
                timeline(
                    "Between our references · Antara peti mel rujukan",
                    "The last conclusive run of each control route, from one reference mailbox of ours to another.",
                    ('min by (route) (pantau_probe_success{direction="control"})', "{{route}}"),
                    size=(12, 6),
                    words={0: ("not working · rosak", "red"), 1: ("works · berfungsi", "green")},
                ),
                lines(
                    "Transit by direction · Masa transit mengikut arah",
                    "From acceptance of a message until it was in the mailbox, all agencies together: median and 95th "
                    "percentile of the half hour before.",
                    ("direction:pantau_mail_transit_seconds:p50_30m", "{{direction}} p50"),
                    ("direction:pantau_mail_transit_seconds:p95_30m", "{{direction}} p95"),
                    size=(12, 7),
                    unit="s",
                ),
                lines(
                    "Unexpected arrivals per hour · Ketibaan luar jangka sejam",
                    "Mail with a token that no run was waiting for. late: slow mail that was already called lost. forged: it "
                    "does not verify.",
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
                    "Time since the incident engine finished a cycle (it does at least every 30 s), and how late the event "
                    "loop woke.",
                    ("time() - max by (instance) (pantau_engine_last_cycle_timestamp_seconds)", "{{instance}} cycle"),
                    ("max by (instance) (pantau_event_loop_lag_seconds)", "{{instance}} loop lag"),
                    size=(8, 7),
                    unit="s",
                ),
                lines(
                    "Runs started late, 99 % · Ujian bermula lewat",
                    "How much later runs are started than they are due. It grows when there is more to do than time.",
                    (
                        "histogram_quantile(0.99, sum by (instance, le) (rate(pantau_probe_schedule_lag_seconds_bucket[30m])))",
                        _BY_INSTANCE,
                    ),
                    size=(8, 7),
                    unit="s",
                ),
                lines(
                    "Runs left out, not believed, per minute · Ujian dilangkau",
                    "Runs that were let go because there is more to do than time, and runs that came to nothing because the "
                    "process stood still.",
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
            title="Queues and budgets · Baris gilir dan had",
            panels=(
                lines(
                    "What waits · Perkara yang menunggu",
                    "How long the oldest notice that is due has been waiting to be sent, and how long somebody has been due to be "
                    "told. 0 when nothing waits.",
                    ("max(pantau_notification_oldest_pending_seconds)", "notice · notis"),
                    ("max(pantau_escalation_overdue_seconds)", "overdue · melepasi tempoh"),
                    size=(12, 6),
                    unit="s",
                ),
                lines(
                    "Held back per hour · Ditahan sejam",
                    "Notices that a brake began to hold back: a person's, so that nobody's telephone rings without end, or a "
                    "gateway's.",
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
            title="Watched itself · Pantau juga dipantau",
            panels=(
                bars(
                    "Heartbeat held back · Denyut ditahan",
                    "What keeps the heartbeat from being sent.",
                    ("max by (reason) (pantau_heartbeat_suppressed)", "{{reason}}"),
                    size=(6, 6),
                    steps=RED_FROM_ONE,
                    most=1,
                ),
                lines(
                    "Age of the heartbeat · Usia denyut",
                    "How long ago each receiver last heard the heartbeat.",
                    (
                        "time() - max by (instance, receiver) (pantau_heartbeat_last_success_timestamp_seconds)",
                        "{{instance}} {{receiver}}",
                    ),
                    size=(6, 6),
                    unit="s",
                ),
                bars(
                    "Lifeline · Talian hayat",
                    "Whether the NOC is rung without the store.",
                    ("max by (reason) (pantau_out_of_band_active)", "{{reason}}"),
                    size=(6, 6),
                    steps=RED_FROM_ONE,
                    most=1,
                ),
                stat(
                    "Numbers of the lifeline · Nombor talian hayat",
                    "How many numbers can be rung without the store, or that no lifeline is configured.",
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
                    "Journal not as written · Jejak audit diubah",
                    "Entries where the journal is not as it was written: `pantau audit verify` names them.",
                    none_if_written("max(pantau_audit_chain_violations)"),
                    size=(6, 5),
                ),
                stat(
                    "Head of the journal · Hujung jejak audit",
                    "The first 52 bits of the head's hash: a copy that lies outside of the store.",
                    ("max by (instance) (pantau_audit_head_fingerprint)", _BY_INSTANCE),
                    size=(6, 5),
                    unit="none",
                    steps=("blue",),
                ),
                lines(
                    "Entries of the journal · Catatan jejak audit",
                    "How many entries the journal has. It only grows.",
                    ("max by (instance) (pantau_audit_entries)", _BY_INSTANCE),
                    size=(12, 5),
                ),
            ),
        ),
    ),
)
