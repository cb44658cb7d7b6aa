"""Data of a monthly report: an agency's mail in a month, for its head (circular, paragraph 6). Pure.

It states measurements and records: minutes, incidents, notifications, drills, checks. It contains no telephone number,
so that it may be shown to anybody; the incident record says who was notified by which number.
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

#: Rows of a table of people; further rows are in the attached files.
_SHOWN = 60


class DayKind(StrEnum):
    """Kinds of a day's parts, the worst last."""

    NO_DATA = "no_data"
    MAINTENANCE = "maintenance"
    UP = "up"
    DEGRADED = "degraded"
    OUTAGE = "outage"


KINDS: Mapping[DayKind, str] = {
    DayKind.NO_DATA: "Tidak dipantau",
    DayKind.MAINTENANCE: "Penyelenggaraan atau di luar waktu ujian",
    DayKind.UP: "Baik",
    DayKind.DEGRADED: "Terjejas",
    DayKind.OUTAGE: "Terganggu",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedLine:
    """A drill or check result as text."""

    at: datetime
    what: str
    how: str
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementDay:
    """Minutes of each kind on one day."""

    on: date
    minutes: Mapping[DayKind, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthlyReport:
    """An agency's month."""

    agency: str
    office: IssuingOffice
    #: The first day.
    month: date
    #: The end of the month, or of the data.
    until: datetime
    is_over: bool
    #: Share of the observed minutes in which mail could be sent, and received: 0 to 1. `None`: none was observed.
    sending: float | None
    receiving: float | None
    days: Sequence[StatementDay]
    #: Incidents that were open in the month, with their notifications.
    incidents: Sequence[tuple[Incident, Sequence[Notification]]]
    exercises: Sequence[StatedLine]
    #: Latest findings of the checks that did not pass.
    checks: Sequence[StatedLine]
    #: Whether checks have run.
    was_checked: bool
    made_at: datetime
    #: The process that ran the checks, if this process does not have their results.
    checked_by: str = ""

    @property
    def minutes(self) -> Mapping[DayKind, int]:
        """Minutes of the month by kind."""
        return {kind: sum(day.minutes.get(kind, 0) for day in self.days) for kind in DayKind}


def month_of(first: date) -> str:
    """Return the name of a month: "November 2026"."""
    return moment.date(datetime(first.year, first.month, 1, 12, tzinfo=moment.MALAYSIA), MALAY).split(" ", 1)[1]


def statement_data(statement: MonthlyReport, wording: Wording) -> dict[str, Json]:
    """Return the data of `monthly_report.typ`."""
    return {
        "lang": "ms",
        "title": f"Penyata e-mel {statement.agency}, {month_of(statement.month)}",
        "author": statement.office.name,
        "head": letterhead(statement.office, wording, MALAY),
        "heading": f"PENYATA BULANAN E-MEL RASMI, {month_of(statement.month).upper()}",
        "summary": {"heading": "RINGKASAN", "rows": _summary(statement)},
        "chart": "HARI DEMI HARI",
        "kinds": [{"key": kind, "name": name} for kind, name in KINDS.items()],
        "days": [_bar(day) for day in statement.days],
        "sections": [
            _incidents(statement, wording),
            _notices(statement),
            _exercises(statement),
            _checks(statement),
        ],
    }


def share_text(share: float | None) -> str:
    """Return a share as text: "99.87 %". Truncated, not rounded: a minute of downtime must not become 100 %."""
    if share is None:
        return "tidak diketahui"
    return f"{int(share * 10_000 + 1e-6) / 100:.2f} %"


def _summary(statement: MonthlyReport) -> list[Json]:
    minutes = statement.minutes
    outages = [each for each, _ in statement.incidents if _is_outage(each)]
    rows = [
        ("Agensi", f"{statement.office.name} ({statement.agency})"),
        ("Domain", statement.office.domain),
        ("Tempoh", f"{_day(statement.month)} hingga {_until(statement)}"),
        ("E-mel dapat dihantar", share_text(statement.sending)),
        ("E-mel dapat diterima", share_text(statement.receiving)),
        ("Terganggu", _length(minutes[DayKind.OUTAGE])),
        ("Terjejas", _length(minutes[DayKind.DEGRADED])),
        ("Penyelenggaraan atau di luar waktu ujian", _length(minutes[DayKind.MAINTENANCE])),
        ("Tidak dipantau", _length(minutes[DayKind.NO_DATA])),
        ("Gangguan", f"{len(outages)}"),
        ("Penyata dijana", _long(statement.made_at)),
    ]
    return [{"label": label, "value": value} for label, value in rows if value]


def _bar(day: StatementDay) -> Json:
    whole = max(1, sum(day.minutes.values()))
    # In thousandths.
    shares: dict[str, Json] = {kind: round(1000 * day.minutes.get(kind, 0) / whole) for kind in DayKind}
    return {"label": str(day.on.day), "shares": shares}


def _incidents(statement: MonthlyReport, wording: Wording) -> dict[str, Json]:
    rows = [
        cells(
            incident.number,
            _matter(incident, wording),
            _minute(incident.reported_type_began_at),
            _minute(incident.ended_at) if incident.ended_at else "masih berlaku",
            moment.lasted(incident.reported_type_began_at, incident.ended_at or statement.until, MALAY),
            incident.acknowledged_by or "",
        )
        for incident, _ in statement.incidents
    ]
    return {
        "heading": "GANGGUAN DAN KEJADIAN",
        "notes": [] if rows else ["Tiada."],
        "columns": ["No. notis", "Perkara dan punca", "Bermula", "Berakhir", "Tempoh", "Disahkan oleh"],
        "widths": [18, 0, 28, 28, 24, 28],
        "rows": rows,
    }


def _matter(incident: Incident, wording: Wording) -> str:
    matter = phrase.MATTERS[incident.type]
    lines = [matter]
    if (cause := incident.policy.cause) is not None:
        lines.append(f"Punca: {wording.say(MALAY, f'call.cause.{cause}')}")
    if incident.declared_by:
        lines.append(f"Diisytiharkan oleh {incident.declared_by}")
    if incident.false_alarm_at is not None:
        lines.append(f"Amaran palsu, menurut {incident.false_alarm_by}")
    return "\n".join(lines)


def _notices(statement: MonthlyReport) -> dict[str, Json]:
    told = sorted(
        ((notice, incident) for incident, notices in statement.incidents for notice in notices),
        key=lambda each: (each[0].created_at, each[0].id),
    )
    rows = [
        cells(
            _minute(notice.created_at),
            incident.number,
            incident.reader(notice),
            f"{phrase.CHANNELS[notice.channel]}, {phrase.PURPOSES[notice.purpose]}",
            phrase.STATES[notice.state],
        )
        for notice, incident in told
    ]
    left = sum(notice.has_left for notice, _ in told)
    notes = [f"{left} daripada {len(told)} notis telah dikeluarkan."] if rows else ["Tiada sesiapa dimaklumkan."]
    return {
        "heading": "SIAPA YANG DIMAKLUMKAN",
        "notes": [*notes, *_more(rows)],
        "columns": ["Masa", "No. notis", "Kepada", "Melalui", "Keadaan"],
        "widths": [28, 18, 0, 42, 30],
        "rows": rows[:_SHOWN],
    }


def _exercises(statement: MonthlyReport) -> dict[str, Json]:
    rows = [cells(_minute(each.at), each.what, each.how, each.result) for each in statement.exercises]
    return {
        "heading": "LATIHAN PEGAWAI BERTUGAS",
        "notes": _more(rows) if rows else ["Tiada latihan dalam bulan ini."],
        "columns": ["Masa", "Pegawai", "Melalui", "Hasil"],
        "widths": [28, 0, 30, 50],
        "rows": rows[:_SHOWN],
    }


def _checks(statement: MonthlyReport) -> dict[str, Json]:
    rows = [cells(_minute(each.at), each.what, each.how, each.result) for each in statement.checks]
    well = "Semua pemeriksaan lulus." if statement.was_checked else "Belum dilihat."
    if statement.checked_by:
        well = f"Hasil pemeriksaan ada pada proses {statement.checked_by}: jana penyata di sana untuk mendapatkannya."
    return {
        "heading": "PEMERIKSAAN PELAYAN DAN DOMAIN",
        "notes": ["Ketika penyata ini dijana."] if rows else [well],
        "columns": ["Masa", "Perkara", "Pemeriksaan", "Hasil"],
        "widths": [28, 0, 40, 34],
        "rows": rows[:_SHOWN],
    }


def _more(rows: Sequence[object]) -> list[Json]:
    left = len(rows) - _SHOWN
    return [f"{left} lagi ada dalam fail yang disertakan."] if left > 0 else []


def _is_outage(incident: Incident) -> bool:
    return incident.type in OUTAGES and incident.false_alarm_at is None


def _length(minutes: int) -> str:
    start = datetime(2026, 1, 1, tzinfo=moment.MALAYSIA)
    return moment.lasted(start, start + timedelta(minutes=minutes), MALAY) if minutes else "tiada"


def _until(statement: MonthlyReport) -> str:
    if statement.is_over:
        return moment.date(statement.until - timedelta(minutes=1), MALAY)
    return f"{_long(statement.until)} (bulan ini belum berakhir)"


def _day(on: date) -> str:
    return moment.date(datetime(on.year, on.month, on.day, 12, tzinfo=moment.MALAYSIA), MALAY)


def _long(at: datetime) -> str:
    return f"{moment.date(at, MALAY)}, pukul {moment.clock(at, MALAY)}"


def _minute(at: datetime) -> str:
    """Return the minute, in Malaysian time: "24/11/2026 14:15"."""
    return moment.local(at).strftime("%d/%m/%Y %H:%M")
