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
    description="Who has been told by telephone, fax and letter, who has not, and why.",
    sections=(
        Section(
            title="Now · Sekarang",
            panels=(
                stat(
                    "People are told · Makluman",
                    "Whether anybody is told of what is found out. With mode: monitor_only mail is watched and shown, and nobody "
                    "is told; nor while the store is away.",
                    (nobody_is_told("by (instance) "), "{{instance}}"),
                    size=(4, 4),
                    unit="none",
                    steps=("red",),
                    words={0: ("yes · ya", "green"), 1: ("NOBODY · TIADA", "red")},
                    text="value_and_name",
                ),
                stat(
                    "Oldest pending notice · Notis tertunggak",
                    "How long the oldest notice that is due has been waiting to be sent. 0 when none waits, and it would be known.",
                    none_if_written("max(pantau_notification_oldest_pending_seconds)"),
                    size=(4, 4),
                    unit="s",
                    steps=("green", (120, "orange"), (600, "red")),
                ),
                stat(
                    "Overdue · Melepasi tempoh",
                    "How long somebody has been due to be told, and has not been.",
                    none_if_written("max(pantau_escalation_overdue_seconds)"),
                    size=(4, 4),
                    unit="s",
                ),
                stat(
                    "Told in vain · Notis sia-sia",
                    "Open incidents whose notices came to nothing, though all was done that can be.",
                    none_if_written("sum(max by (reason) (pantau_incidents_escalation_failed))"),
                    size=(4, 4),
                ),
                stat(
                    "Letters overdue · Surat lewat dipos",
                    "Letters that should have been posted: the workday after the one on which they were laid is over.",
                    "max(pantau_letters_overdue)",
                    size=(4, 4),
                ),
                stat(
                    "Paper waits · Surat dan faks ditahan",
                    "Since when letters and faxes wait for a person, because the store may be an older copy. OUT: they go out, which "
                    "they do not while the store is away.",
                    none_if_written("max(pantau_paper_paused_timestamp_seconds) * 1000"),
                    size=(4, 4),
                    unit="dateTimeFromNow",
                    words={0: ("OUT · KELUAR", "green")},
                ),
            ),
        ),
        Section(
            title="Notices · Notis",
            panels=(
                bars(
                    "Notices by channel and state · Notis mengikut saluran dan status",
                    "Notices that entered each state in the time shown on this dashboard. sent is not delivered, and delivered "
                    "is not acknowledged.",
                    (
                        or_none(
                            "sum by (channel, state) (increase(pantau_notifications_total[$__range]) > 0)", "channel"
                        ),
                        "{{channel}} {{state}}",
                    ),
                    size=(10, 8),
                ),
                lines(
                    "Notices sent per hour · Notis dihantar sejam",
                    "Notices that were sent in the hour before, by channel and purpose; those that were joined to others, and "
                    "those that a brake held back.",
                    (
                        or_none(
                            'sum by (channel, purpose) (increase(pantau_notifications_total{state="sent"}[1h]) > 0)',
                            "channel",
                        ),
                        "{{channel}} {{purpose}}",
                    ),
                    ("sum(increase(pantau_notifications_bundled_total[1h]))", "joined · digabung"),
                    (
                        "sum by (limit) (increase(pantau_notifications_throttled_total[1h]))",
                        "held, {{limit}} · ditahan",
                    ),
                    size=(14, 8),
                    stacked=True,
                ),
                lines(
                    "Time to tell people · Tempoh pemakluman",
                    "How long it took for 95 of 100 notices of the hour before, from the verdict until a gateway took them "
                    "(accepted), they arrived (delivered), and one of the staff took the matter on (acknowledged).",
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
                    "Usual time to tell · Tempoh pemakluman biasa",
                    "How long it took for half of the notices in the time shown on this dashboard, by channel: accepted by a "
                    "gateway, delivered, and acknowledged by one of the staff.",
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
                    "What is overdue · Perkara yang melepasi tempoh",
                    "Lapses of escalations, by what should have happened.",
                    (none_if_written("max by (action) (pantau_escalation_overdue)"), "{{action}}"),
                    size=(6, 6),
                    steps=RED_FROM_ONE,
                ),
                bars(
                    "Who was not reached · Siapa tidak dihubungi",
                    "Open incidents whose notices came to nothing, by how; and those whose agency has left the configuration, "
                    "which are closed.",
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
                        0: ("not working · rosak", "red"),
                        1: ("works · berfungsi", "green"),
                        2: ("no receipts · tiada pengesahan", "orange"),
                    },
                    text="value_and_name",
                ),
                lines(
                    "Refused callbacks per hour · Panggilan balik ditolak sejam",
                    "Callbacks that were not trusted or understood. untrusted for a gateway of ours: a wrong key or public "
                    "address, or somebody who pretends.",
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
                    'For how long nobody is on call, by rota, overrides counted; the ten longest. "none" when somebody always '
                    "is.",
                    (first("max by (agency, rota) (pantau_on_call_gap_seconds)"), "{{agency}}/{{rota}}"),
                    size=(8, 6),
                    unit="s",
                    steps=("green", (1, "orange"), (_DAY, "red")),
                    links=agency_link("${__field.labels.agency}"),
                ),
                lines(
                    "Rotas without anybody when needed · Jadual tanpa petugas",
                    "Rotas that were to tell somebody and had nobody on call, of all agencies; the fallback was told.",
                    ("sum(increase(pantau_nobody_on_call_total[1h]))", "nobody · tiada"),
                    size=(8, 6),
                    colours={"nobody · tiada": "red"},
                ),
                bars(
                    "Numbers not verified · Nombor belum disahkan",
                    "Numbers of staff where nobody has answered for too long, or ever, by agency; the ten with most. "
                    '"none" when there are none.',
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
                    "Our incidents reach it · Insiden sampai kepadanya",
                    "Whether each Alertmanager that is told of our incidents has answered the last time.",
                    (f"min by (member) (pantau_alertmanager_up) or on () 0 * {LIVES} - 1", "{{member}}"),
                    size=(8, 6),
                    unit="none",
                    steps=GREEN_FROM_ONE,
                    words={
                        -1: ("none is told · tiada", "blue"),
                        0: ("does not answer · tidak menjawab", "red"),
                        1: ("works · berfungsi", "green"),
                    },
                    text="value_and_name",
                ),
                lines(
                    "Alerts that it brings, per hour · Amaran yang diterima sejam",
                    "What Alertmanager brought: fires opens an incident, is_over ends one; and what was refused of it.",
                    ("sum by (effect) (increase(pantau_alerts_received_total[1h]))", "{{effect}}"),
                    (
                        "sum by (reason) (increase(pantau_alert_webhooks_refused_total[1h]))",
                        "refused · ditolak: {{reason}}",
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
                    "How long ago a drill of all contacts came to its end.",
                    f"time() - max(pantau_drill_last_timestamp_seconds) or 0 * {LIVES} - 1",
                    size=(3, 6),
                    unit="s",
                    steps=PLAIN,
                    words={-1: ("none yet · belum ada", "orange")},
                ),
                stat(
                    "Next drill within · Latihan seterusnya dalam",
                    "How long until the next drill should have come to its end, by the schedule and a day for whatever it gives "
                    "way to. Below 0 it is overdue.",
                    f"max(pantau_drill_overdue_timestamp_seconds) - time() or 0 * {LIVES}",
                    size=(3, 6),
                    unit="s",
                    steps=("red", (0, "green")),
                    words={0: ("not planned · tiada jadual", "orange")},
                ),
                lines(
                    "Drills by result · Latihan mengikut hasil",
                    "Notices of drills by how they ended, per day.",
                    (
                        or_none(
                            "sum by (channel, result) (increase(pantau_drill_notifications_total[1d]) > 0)", "channel"
                        ),
                        "{{channel}} {{result}}",
                    ),
                    size=(6, 6),
                ),
                bars(
                    "Not reached for · Tidak dihubungi selama",
                    "How long ago a contact was last reached in a drill, of the ten where that is longest.",
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
                    "Letters that a clerk has still to print (laid) or to post (printed). Absent while the store cannot be "
                    "read.",
                    ("max by (step) (pantau_letters_waiting)", "{{step}}"),
                    size=(6, 6),
                    steps=PLAIN,
                ),
            ),
        ),
    ),
)
