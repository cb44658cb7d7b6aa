"""Notifications: pending and failed ones, who is on call, and letters in the trays."""

from __future__ import annotations

from typing import Final

from grafana.boards.dashboard import Dashboard, Section, agency_link
from grafana.boards.panel import GREEN_FROM_ONE, ORANGE_FROM_ONE, PLAIN, RED_FROM_ONE, bars, lines, stat
from grafana.boards.queries import LIVES, first, nobody_is_told, none_if_written, or_none

_DAY: Final = 86400

NOTIFICATIONS: Final = Dashboard(
    uid="pantau-notifications",
    title="Notifications · Makluman",
    description="Who was notified by telephone, fax and letter, who was not, and why.",
    sections=(
        Section(
            title="Now · Sekarang",
            panels=(
                stat(
                    "Notifications enabled · Makluman",
                    "Whether people are notified. With mode: monitor_only mail is only monitored; while the database is unavailable nobody is notified either.",
                    (nobody_is_told("by (instance) "), "{{instance}}"),
                    size=(4, 4),
                    unit="none",
                    steps=("red",),
                    words={0: ("yes · ya", "green"), 1: ("NOBODY · TIADA", "red")},
                    text="value_and_name",
                ),
                stat(
                    "Oldest pending notification · Notis tertunggak",
                    "Age of the oldest notification that is due and not sent. 0 when none is due.",
                    none_if_written("max(pantau_notification_oldest_pending_seconds)"),
                    size=(4, 4),
                    unit="s",
                    steps=("green", (120, "orange"), (600, "red")),
                ),
                stat(
                    "Overdue · Melepasi tempoh",
                    "How long a notification has been overdue.",
                    none_if_written("max(pantau_escalation_overdue_seconds)"),
                    size=(4, 4),
                    unit="s",
                ),
                stat(
                    "Escalations failed · Notis sia-sia",
                    "Open incidents whose notifications reached nobody.",
                    none_if_written("sum(max by (reason) (pantau_incidents_escalation_failed))"),
                    size=(4, 4),
                ),
                stat(
                    "Letters overdue · Surat lewat dipos",
                    "Letters that should have been posted: the working day after the one on which they were queued is over.",
                    "max(pantau_letters_overdue)",
                    size=(4, 4),
                ),
                stat(
                    "Paper paused · Surat dan faks ditahan",
                    "Since when letters and faxes are paused because the database may be an older copy. OUT: they are sent, unless the database is unavailable.",
                    none_if_written("max(pantau_paper_paused_timestamp_seconds) * 1000"),
                    size=(4, 4),
                    unit="dateTimeFromNow",
                    words={0: ("OUT · KELUAR", "green")},
                ),
            ),
        ),
        Section(
            title="Notifications · Notis",
            panels=(
                bars(
                    "Notifications by channel and state · Notis mengikut saluran dan status",
                    "Notifications that entered each state in the time range. sent is not delivered, and delivered is not acknowledged.",
                    (
                        or_none(
                            "sum by (channel, state) (increase(pantau_notifications_total[$__range]) > 0)", "channel"
                        ),
                        "{{channel}} {{state}}",
                    ),
                    size=(10, 8),
                ),
                lines(
                    "Notifications sent per hour · Notis dihantar sejam",
                    "Notifications sent in the last hour, by channel and purpose; those bundled, and those throttled by a rate limit.",
                    (
                        or_none(
                            'sum by (channel, purpose) (increase(pantau_notifications_total{state="sent"}[1h]) > 0)',
                            "channel",
                        ),
                        "{{channel}} {{purpose}}",
                    ),
                    ("sum(increase(pantau_notifications_bundled_total[1h]))", "bundled · digabung"),
                    (
                        "sum by (limit) (increase(pantau_notifications_throttled_total[1h]))",
                        "throttled, {{limit}} · ditahan",
                    ),
                    size=(14, 8),
                    stacked=True,
                ),
                lines(
                    "Notification latency, 95 % · Tempoh pemakluman",
                    "95th percentile of the last hour, from the decision until accepted by a gateway, delivered, and acknowledged by staff.",
                    (
                        (
                            "histogram_quantile(0.95, sum by (channel, gateway, milestone, le)"
                            " (rate(pantau_notification_latency_seconds_bucket[1h])))"
                        ),
                        "{{channel}} {{gateway}}: {{milestone}}",
                    ),
                    size=(14, 8),
                    unit="s",
                ),
                bars(
                    "Notification latency, median · Tempoh pemakluman biasa",
                    "Median in the time range, by channel: accepted by a gateway, delivered, and acknowledged by staff.",
                    (
                        or_none(
                            "histogram_quantile(0.5, sum by (channel, milestone, le)"
                            " (increase(pantau_notification_latency_seconds_bucket[$__range]))) > 0",
                            "channel",
                        ),
                        "{{channel}}: {{milestone}}",
                    ),
                    size=(10, 8),
                    unit="s",
                ),
                bars(
                    "Overdue actions · Perkara yang melepasi tempoh",
                    "Missed actions of escalations, by action.",
                    (none_if_written("max by (action) (pantau_escalation_overdue)"), "{{action}}"),
                    size=(6, 6),
                    steps=RED_FROM_ONE,
                ),
                bars(
                    "Failed escalations · Siapa tidak dihubungi",
                    "Open incidents whose notifications reached nobody, by reason; and orphaned ones, which will be closed.",
                    (none_if_written("max by (reason) (pantau_incidents_escalation_failed)"), "{{reason}}"),
                    (none_if_written("max(pantau_incidents_orphaned)"), "agency left · agensi keluar"),
                    size=(6, 6),
                    steps=RED_FROM_ONE,
                ),
                stat(
                    "Gateways · Get laluan",
                    "Each gateway by channel. One that has not been used or checked yet is not shown.",
                    ("min by (channel, gateway) (pantau_gateway_up)", "{{channel}} {{gateway}}"),
                    ("2 * max by (channel, gateway) (pantau_gateway_receipts_overdue) == 2", "{{channel}} {{gateway}}"),
                    size=(6, 6),
                    unit="none",
                    steps=("red", (1, "green")),
                    words={
                        0: ("down · rosak", "red"),
                        1: ("up · berfungsi", "green"),
                        2: ("receipts overdue · tiada pengesahan", "orange"),
                    },
                    text="value_and_name",
                ),
                lines(
                    "Rejected callbacks per hour · Panggilan balik ditolak sejam",
                    "Callbacks that were not authenticated or parsed. untrusted for a configured gateway: a wrong key or public address, or a forged request.",
                    (
                        "sum by (gateway, reason) (increase(pantau_callbacks_refused_total[1h]))",
                        "{{gateway}} {{reason}}",
                    ),
                    size=(6, 6),
                ),
            ),
        ),
        Section(
            title="On call · Bertugas",
            panels=(
                bars(
                    "Nobody on call, next 7 days · Tiada petugas, 7 hari",
                    'How long nobody is on call, by rota, with overrides; the ten longest. "none" when somebody always is.',
                    (first("max by (agency, rota) (pantau_on_call_gap_seconds)"), "{{agency}}/{{rota}}"),
                    size=(8, 6),
                    unit="s",
                    steps=("green", (1, "orange"), (_DAY, "red")),
                    links=agency_link("${__field.labels.agency}"),
                ),
                lines(
                    "Rotas without anybody on call when needed · Jadual tanpa petugas",
                    "Rotas that had nobody on call when somebody was to be notified; the fallback was notified.",
                    ("sum(increase(pantau_nobody_on_call_total[1h]))", "nobody · tiada"),
                    size=(8, 6),
                    colours={"nobody · tiada": "red"},
                ),
                bars(
                    "Numbers not verified · Nombor belum disahkan",
                    'Numbers of staff where nobody has answered for too long, or never, by agency; the ten with most. "none" when there are none.',
                    (first("max by (agency) (pantau_contact_numbers_unverified)"), "{{agency}}"),
                    size=(8, 6),
                    steps=ORANGE_FROM_ONE,
                    links=agency_link("${__field.labels.agency}"),
                ),
            ),
        ),
        Section(
            title="Alertmanager · Alertmanager",
            panels=(
                stat(
                    "Incidents delivered · Insiden sampai kepadanya",
                    "Whether each Alertmanager accepted the last incidents sent to it.",
                    (f"min by (member) (pantau_alertmanager_up) or on () 0 * {LIVES} - 1", "{{member}}"),
                    size=(8, 6),
                    unit="none",
                    steps=GREEN_FROM_ONE,
                    words={
                        -1: ("none configured · tiada", "blue"),
                        0: ("does not respond · tidak menjawab", "red"),
                        1: ("up · berfungsi", "green"),
                    },
                    text="value_and_name",
                ),
                lines(
                    "Alerts received per hour · Amaran yang diterima sejam",
                    "Alerts received from Alertmanager by effect: fires opens an incident, is_over ends one; and rejected webhooks.",
                    ("sum by (effect) (increase(pantau_alerts_received_total[1h]))", "{{effect}}"),
                    (
                        "sum by (reason) (increase(pantau_alert_webhooks_refused_total[1h]))",
                        "rejected · ditolak: {{reason}}",
                    ),
                    size=(16, 6),
                ),
            ),
        ),
        Section(
            title="Drills and letters · Latihan dan surat",
            panels=(
                stat(
                    "Last drill · Latihan terakhir",
                    "Time since a drill of all contacts ended.",
                    f"time() - max(pantau_drill_last_timestamp_seconds) or 0 * {LIVES} - 1",
                    size=(3, 6),
                    unit="s",
                    steps=PLAIN,
                    words={-1: ("none yet · belum ada", "orange")},
                ),
                stat(
                    "Next drill within · Latihan seterusnya dalam",
                    "Time until the next drill should have ended, by the schedule plus one day. Below 0 it is overdue.",
                    f"max(pantau_drill_overdue_timestamp_seconds) - time() or 0 * {LIVES}",
                    size=(3, 6),
                    unit="s",
                    steps=("red", (0, "green")),
                    words={0: ("not planned · tiada jadual", "orange")},
                ),
                lines(
                    "Drills by result · Latihan mengikut hasil",
                    "Drill notifications by result, per day.",
                    (
                        or_none(
                            "sum by (channel, result) (increase(pantau_drill_notifications_total[1d]) > 0)", "channel"
                        ),
                        "{{channel}} {{result}}",
                    ),
                    size=(6, 6),
                ),
                bars(
                    "Not reached in drills for · Tidak dihubungi selama",
                    "Time since a contact was last reached in a drill, the ten longest.",
                    (
                        "topk(10, time() - max by (agency, contact) (pantau_contact_reached_timestamp_seconds > 0))",
                        "{{agency}} {{contact}}",
                    ),
                    size=(6, 6),
                    unit="s",
                    steps=("green", (21 * _DAY, "orange")),
                    links=agency_link("${__field.labels.agency}"),
                ),
                bars(
                    "Letters in the trays · Surat dalam dulang",
                    "Letters that a clerk has still to print (queued) or to post (printed). Absent while the database is unavailable.",
                    ("max by (step) (pantau_letters_waiting)", "{{step}}"),
                    size=(6, 6),
                    steps=PLAIN,
                ),
            ),
        ),
    ),
)
