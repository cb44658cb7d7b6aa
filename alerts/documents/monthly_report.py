"""Data of a monthly report: an agency's mail in a month, for its head (MAMPU circular, 1 June 2007, paragraph 6). Pure.

The report contains availability in minutes, incidents, notifications, drills (test calls and messages to staff) and
checks of servers and domains. It has no telephone numbers, so that it may be shown to anybody; an incident record has
the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from alerts.documents import phrase
from alerts.documents.incident_record import cells
from alerts.documents.printable import Json
from alerts.documents.sender import letterhead
from alerts.model.delivery import Notification
from alerts.model.incident import OUTAGES, Incident
from alerts.model.notification import IssuingOffice, Language
from alerts.wording import moment
from alerts.wording.texts import Wording

MALAY = Language.MALAY

#: Maximum number of rows of a table; further rows are in the attached files.
_MAX_ROWS = 60


class MinuteKind(StrEnum):
    """State of an agency's mail in one minute, the worst last."""

    NO_DATA = "no_data"
    MAINTENANCE = "maintenance"
    UP = "up"
    DEGRADED = "degraded"
    OUTAGE = "outage"


MINUTE_KIND_NAMES: Mapping[MinuteKind, str] = {
    MinuteKind.NO_DATA: "Tidak dipantau",
    MinuteKind.MAINTENANCE: "Penyelenggaraan atau di luar waktu ujian",
    MinuteKind.UP: "Baik",
    MinuteKind.DEGRADED: "Terjejas",
    MinuteKind.OUTAGE: "Terganggu",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultLine:
    """Result of a drill or a check, as texts for a table row."""

    at: datetime
    #: Person of a drill; server or domain of a check.
    what: str
    #: Channel of a drill; name of a check.
    how: str
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportDay:
    """Minutes of each kind on one day."""

    on: date
    minutes: Mapping[MinuteKind, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthlyReport:
    """An agency's month."""

    agency: str
    office: IssuingOffice
    #: The first day of the month.
    month: date
    #: End of the data: the end of the month, or now in the current month.
    until: datetime
    #: Whether the month is over.
    is_over: bool
    #: Share of the observed minutes in which mail could be sent, 0 to 1; `None`: no minute was observed.
    sending: float | None
    #: The same for mail that could be received.
    receiving: float | None
    days: Sequence[ReportDay]
    #: Incidents that were open in the month, with their notifications.
    incidents: Sequence[tuple[Incident, Sequence[Notification]]]
    drills: Sequence[ResultLine]
    #: Failed findings of the checks' latest runs.
    checks: Sequence[ResultLine]
    #: Whether this process has results of checks, which only the process that ran them has.
    has_check_results: bool
    made_at: datetime
    #: Name of the other process that has the results of the checks; "": this process has them, or no check has run.
    checked_by: str = ""

    @property
    def minutes(self) -> Mapping[MinuteKind, int]:
        """Minutes of the month by kind."""
        return {kind: sum(day.minutes.get(kind, 0) for day in self.days) for kind in MinuteKind}


def month_name(first: date) -> str:
    """Return the name of a month: "November 2026"."""
    return moment.date(datetime(first.year, first.month, 1, 12, tzinfo=moment.MALAYSIA), MALAY).split(" ", 1)[1]


def monthly_report_data(report: MonthlyReport, wording: Wording) -> dict[str, Json]:
    """Return the data of `monthly_report.typ`."""
    return {
        "lang": "ms",
        "title": f"Penyata e-mel {report.agency}, {month_name(report.month)}",
        "author": report.office.name,
        "head": letterhead(report.office, wording, MALAY),
        "heading": f"PENYATA BULANAN E-MEL RASMI, {month_name(report.month).upper()}",
        "summary": {"heading": "RINGKASAN", "rows": _summary(report)},
        "chart": "HARI DEMI HARI",
        "kinds": [{"key": kind, "name": name} for kind, name in MINUTE_KIND_NAMES.items()],
        "days": [_bar(day) for day in report.days],
        "sections": [
            _incidents_section(report, wording),
            _notifications_section(report),
            _drills_section(report),
            _checks_section(report),
        ],
    }


def share_text(share: float | None) -> str:
    """Return a share from 0 to 1 as text: "99.87 %".

    It is not rounded up, because a month with downtime must not show 100 %.
    """
    if share is None:
        return "tidak diketahui"
    # The small summand corrects binary fractions that are slightly too small.
    return f"{int(share * 10_000 + 1e-6) / 100:.2f} %"


def _summary(report: MonthlyReport) -> list[Json]:
    minutes = report.minutes
    outages = [each for each, _ in report.incidents if _is_outage(each)]
    rows = [
        ("Agensi", f"{report.office.name} ({report.agency})"),
        ("Domain", report.office.domain),
        ("Tempoh", f"{_day(report.month)} hingga {_until(report)}"),
        ("E-mel dapat dihantar", share_text(report.sending)),
        ("E-mel dapat diterima", share_text(report.receiving)),
        ("Terganggu", _duration(minutes[MinuteKind.OUTAGE])),
        ("Terjejas", _duration(minutes[MinuteKind.DEGRADED])),
        ("Penyelenggaraan atau di luar waktu ujian", _duration(minutes[MinuteKind.MAINTENANCE])),
        ("Tidak dipantau", _duration(minutes[MinuteKind.NO_DATA])),
        ("Gangguan", f"{len(outages)}"),
        ("Penyata dijana", _long(report.made_at)),
    ]
    return [{"label": label, "value": value} for label, value in rows if value]


def _bar(day: ReportDay) -> Json:
    total = max(1, sum(day.minutes.values()))
    # Share of each kind in the day's minutes, in thousandths.
    shares: dict[str, Json] = {kind: round(1000 * day.minutes.get(kind, 0) / total) for kind in MinuteKind}
    return {"label": str(day.on.day), "shares": shares}


def _incidents_section(report: MonthlyReport, wording: Wording) -> dict[str, Json]:
    rows = [
        cells(
            incident.number,
            _type_and_cause(incident, wording),
            _minute(incident.reported_type_began_at),
            _minute(incident.ended_at) if incident.ended_at else "masih berlaku",
            moment.duration_text(incident.reported_type_began_at, incident.ended_at or report.until, MALAY),
            incident.acknowledged_by or "",
        )
        for incident, _ in report.incidents
    ]
    return {
        "heading": "GANGGUAN DAN KEJADIAN",
        "notes": [] if rows else ["Tiada."],
        "columns": ["No. notis", "Perkara dan punca", "Bermula", "Berakhir", "Tempoh", "Disahkan oleh"],
        "widths": [18, 0, 28, 28, 24, 28],
        "rows": rows,
    }


def _type_and_cause(incident: Incident, wording: Wording) -> str:
    type_name = phrase.INCIDENT_TYPES[incident.type]
    type_lines = [type_name]
    if (cause := incident.policy.cause) is not None:
        type_lines.append(f"Punca: {wording.render(MALAY, f'call.cause.{cause}')}")
    if incident.declared_by:
        type_lines.append(f"Diisytiharkan oleh {incident.declared_by}")
    if incident.false_alarm_at is not None:
        type_lines.append(f"Amaran palsu, menurut {incident.false_alarm_by}")
    return "\n".join(type_lines)


def _notifications_section(report: MonthlyReport) -> dict[str, Json]:
    notifications = [
        (notification, incident)
        for incident, its_notifications in report.incidents
        for notification in its_notifications
    ]
    notifications.sort(key=lambda pair: (pair[0].created_at, pair[0].id))
    rows = [
        cells(
            _minute(notification.created_at),
            incident.number,
            incident.reader_name(notification),
            f"{phrase.CHANNELS[notification.channel]}, {phrase.PURPOSES[notification.purpose]}",
            phrase.STATES[notification.state],
        )
        for notification, incident in notifications
    ]
    submitted = sum(notification.is_submitted for notification, _ in notifications)
    notes = (
        [f"{submitted} daripada {len(notifications)} notis telah dikeluarkan."]
        if rows
        else ["Tiada sesiapa dimaklumkan."]
    )
    return {
        "heading": "SIAPA YANG DIMAKLUMKAN",
        "notes": [*notes, *_omission_note(rows)],
        "columns": ["Masa", "No. notis", "Kepada", "Melalui", "Keadaan"],
        "widths": [28, 18, 0, 42, 30],
        "rows": rows[:_MAX_ROWS],
    }


def _drills_section(report: MonthlyReport) -> dict[str, Json]:
    rows = [cells(_minute(each.at), each.what, each.how, each.result) for each in report.drills]
    return {
        "heading": "LATIHAN PEGAWAI BERTUGAS",
        "notes": _omission_note(rows) if rows else ["Tiada latihan dalam bulan ini."],
        "columns": ["Masa", "Pegawai", "Melalui", "Hasil"],
        "widths": [28, 0, 30, 50],
        "rows": rows[:_MAX_ROWS],
    }


def _checks_section(report: MonthlyReport) -> dict[str, Json]:
    rows = [cells(_minute(each.at), each.what, each.how, each.result) for each in report.checks]
    note = "Semua pemeriksaan lulus." if report.has_check_results else "Belum dilihat."
    if report.checked_by:
        note = f"Hasil pemeriksaan ada pada proses {report.checked_by}: jana penyata di sana untuk mendapatkannya."
    return {
        "heading": "PEMERIKSAAN PELAYAN DAN DOMAIN",
        "notes": ["Ketika penyata ini dijana."] if rows else [note],
        "columns": ["Masa", "Perkara", "Pemeriksaan", "Hasil"],
        "widths": [28, 0, 40, 34],
        "rows": rows[:_MAX_ROWS],
    }


def _omission_note(rows: Sequence[object]) -> list[Json]:
    omitted = len(rows) - _MAX_ROWS
    return [f"{omitted} lagi ada dalam fail yang disertakan."] if omitted > 0 else []


def _is_outage(incident: Incident) -> bool:
    return incident.type in OUTAGES and incident.false_alarm_at is None


def _duration(minutes: int) -> str:
    start = datetime(2026, 1, 1, tzinfo=moment.MALAYSIA)
    return moment.duration_text(start, start + timedelta(minutes=minutes), MALAY) if minutes else "tiada"


def _until(report: MonthlyReport) -> str:
    if report.is_over:
        return moment.date(report.until - timedelta(minutes=1), MALAY)
    return f"{_long(report.until)} (bulan ini belum berakhir)"


def _day(on: date) -> str:
    return moment.date(datetime(on.year, on.month, on.day, 12, tzinfo=moment.MALAYSIA), MALAY)


def _long(at: datetime) -> str:
    return f"{moment.date(at, MALAY)}, pukul {moment.clock(at, MALAY)}"


def _minute(at: datetime) -> str:
    """Return the minute, in Malaysian time: "24/11/2026 14:15"."""
    return moment.local(at).strftime("%d/%m/%Y %H:%M")
