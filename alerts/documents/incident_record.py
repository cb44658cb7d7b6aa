"""Data of an incident record: a document of everything that is stored about one incident, for the file. Pure.

The record gives names and numbers in full, because it proves who was notified: it is classified TERHAD and handled as
such (Arahan Keselamatan). Measurements are the results of probe messages, already as texts. The document shows what a
reader needs; the attached files contain every step and every measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from alerts.documents import phrase
from alerts.documents.phrase import stamp
from alerts.documents.printable import Json
from alerts.documents.sender import enclosure, letterhead, non_empty
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.delivery import Attempt, AttemptState, Delivery, Notification
from alerts.model.event import AUTOMATIC
from alerts.model.gateway import NO_KEY
from alerts.model.incident import Incident
from alerts.model.notification import Language
from alerts.persistence.audit import ChainedEntry, ChainHead
from alerts.wording import moment
from alerts.wording.texts import Wording

MALAY = Language.MALAY
T = TypeVar("T")

#: Number of first and of last rows that a table shows. The data of an outage of days fill hundreds of pages.
_SHOWN_AT_EACH_END = 20
#: Details of an audit entry that are not printed.
_PROGRAM_DETAILS = frozenset({"number", "matter", "sha256", "reference", "code", "gateway"})

_HOW_TO_VERIFY = (
    "Data di sebalik rekod ini disertakan dalam fail yang berikut. Setiap catatan jejak audit mengandungi cincangan "
    "catatan sebelumnya, maka perubahan, penambahan atau pembuangan dapat dikesan. Bandingkan hujung jejak audit dengan "
    "salinan yang disimpan di tempat lain. Cara semakan ada dalam BACA-SAYA.txt."
)
_CERTIFICATE = (
    "Saya memperakui bahawa rekod ini dikeluarkan oleh sistem komputer dalam perjalanan penggunaan biasanya (Akta "
    "Keterangan 1950, seksyen 90A), dan bahawa saya bertanggungjawab atas pengendalian sistem itu."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Result of one probe message."""

    at: datetime
    #: The route, from one mailbox to another: as in the data, and in Malay.
    subject: str
    subject_ms: str
    #: The outcome: as in the data, and in Malay.
    outcome: str
    outcome_ms: str
    #: The reason: as reported by the server or the probe, and in Malay without the server's text; "" on success.
    why: str
    why_ms: str
    #: Seconds from submission to arrival; `None` when the message did not arrive.
    transit: float | None
    good: bool
    #: Token that identifies the message.
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFindings:
    """Status and measurements of one site (place of a prober), by its own clock."""

    site: str
    #: The reported status, or the first reported fault: as in the data, and in Malay; "" without a report.
    says: str
    says_ms: str
    #: All failed measurements by their end.
    failed: Sequence[Measurement]
    #: The latest failed measurement of each route, the newest first.
    last: Sequence[Measurement]
    #: Number of implausible measurements from the site.
    unclear: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentRecord:
    """Everything about one incident, at one time."""

    incident: Incident
    notices: Sequence[Notification]
    entries: Sequence[ChainedEntry]
    evidence: Sequence[Measurement]
    #: Raw results before this time have been deleted.
    evidence_since: datetime
    #: Results of delivered runs before this time have been deleted.
    delivered_since: datetime
    head: ChainHead
    made_at: datetime
    made_by: str
    #: Status of each site, first of the one whose database has the incident; empty with a single site.
    sites: Sequence[SiteFindings] = ()


def incident_record_data(record: IncidentRecord, digests: Mapping[str, str], wording: Wording) -> dict[str, Json]:
    """Return the data of `incident_record.typ`; *digests* are the SHA-256 of the attached files, by name."""
    incident = record.incident
    return {
        "lang": "ms",
        "title": f"REKOD INSIDEN {incident.number}",
        "author": incident.policy.office.name,
        "head": letterhead(incident.policy.office, wording, MALAY),
        "heading": "REKOD INSIDEN GANGGUAN E-MEL RASMI",
        "marking": "TERHAD",
        "notice": {"label": "No. Notis", "value": incident.number},
        "summary": {"heading": "RINGKASAN", "rows": _summary(record)},
        "sections": [
            *(_notifications_section(record), _chronology_section(record), _evidence_section(record)),
            *([_sites_section(record)] if record.sites else []),
            _files_section(digests),
        ],
        "certificate": _certificate(),
    }


def _summary(record: IncidentRecord) -> list[Json]:
    incident = record.incident
    office = incident.policy.office
    rows = [
        ("Agensi", f"{office.name} ({incident.policy.agency})" if incident.policy.agency else office.name),
        ("Domain", office.domain),
        ("Perkara", _subject(incident)),
        ("Bermula", _long(incident.reported_type_began_at)),
        ("Terjejas sejak", _long(incident.began_at) if incident.began_at < incident.reported_type_began_at else ""),
        ("Insiden dibuka", _long(incident.opened_at)),
        *_declaration_rows(incident),
        ("Penerimaan disahkan", _by_whom(incident.acknowledged_at, incident.acknowledged_by)),
        (
            "Diserahkan" if incident.escalated else "Penerimaan luput, kali terakhir menjawab",
            _by_whom(incident.last_response_at, incident.previous_assignee),
        ),
        ("Pemakluman dikeluarkan", _by_whom(incident.released_at, incident.released_by)),
        ("Amaran palsu", _by_whom(incident.false_alarm_at, incident.false_alarm_by)),
        *_closure_rows(incident),
        ("Berakhir", _end_text(incident)),
        (
            "Tempoh",
            moment.duration_text(incident.reported_type_began_at, incident.ended_at, MALAY)
            if incident.ended_at
            else "",
        ),
        ("Rekod dijana", f"{_long(record.made_at)}, oleh {record.made_by}"),
        ("Hujung jejak audit", f"{record.head.number}:{record.head.hash}"),
    ]
    return [{"label": label, "value": value} for label, value in rows if value.strip()]


def _declaration_rows(incident: Incident) -> list[tuple[str, str]]:
    """Return who declared the incident, the reason, and who ended it."""
    declaration = incident.declared
    if declaration is None:
        return []
    return [
        ("Diisytiharkan", f"{_by_whom(declaration.at, declaration.by)}: {declaration.reason}"),
        ("Pengisytiharan tamat", _by_whom(declaration.ended_at, declaration.ended_by)),
    ]


def _closure_rows(incident: Incident) -> list[tuple[str, str]]:
    """Return who closed the incident, the reason, and their statement about mail."""
    closure = incident.closed
    if closure is None:
        return []
    statement = "pemulihan dimaklumkan" if closure.recovered else "pemulihan tidak dimaklumkan"
    return [("Ditutup", f"{_by_whom(closure.at, closure.by)}; {statement}: {closure.reason}")]


def _end_text(incident: Incident) -> str:
    if incident.ended_at is not None:
        return _long(incident.ended_at)
    return "Belum berakhir" if incident.is_open else "Tidak dapat dipastikan"


def _subject(incident: Incident) -> str:
    incident_type = phrase.INCIDENT_TYPES[incident.type]
    return f"{incident_type}: {incident.policy.subject}" if incident.policy.subject else incident_type


def _evidence_section(record: IncidentRecord) -> dict[str, Json]:
    good = [each for each in record.evidence if each.good]
    notes = [
        f"{len(record.evidence)} ujian pergi balik dalam tempoh insiden; {len(good)} daripadanya diterima.",
    ]
    if not record.evidence:
        notes = [
            f"Tiada keputusan ujian dalam simpanan. Keputusan sebelum {_long(record.evidence_since)} telah dipadam."
        ]
    elif record.incident.began_at < record.delivered_since:
        notes.append(
            f"Ujian yang diterima sebelum {_long(record.delivered_since)} telah dipadam; yang tinggal ialah kegagalan."
        )
    streaks = _streaks(record.evidence)
    shown_rows, omitted = _first_and_last(streaks)
    if record.evidence:
        notes.append(
            "Ujian berturut-turut dengan keputusan yang sama dicetak sebagai satu baris; setiap ujian ada dalam evidence.csv."
        )
    if omitted:
        notes.append(f"{omitted} baris di tengah tidak dicetak.")
    return {
        "heading": "BUKTI",
        "notes": notes,
        "columns": ["Dari", "Hingga", "Laluan ujian", "Bilangan", "Keputusan", "Sebab"],
        "widths": [33, 17, 34, 16, 24, 0],
        "rows": [
            cells(
                stamp(streak[0].at),
                _end_of_span(streak[0].at, streak[-1].at),
                streak[0].subject_ms,
                str(len(streak)),
                streak[0].outcome_ms,
                streak[0].why_ms,
            )
            for streak in shown_rows
        ],
    }


def _sites_section(record: IncidentRecord) -> dict[str, Json]:
    """Return the status of each site, and the latest failed measurement of each route there."""
    notes = ["Masa di bawah ialah masa menurut jam setiap tapak. Semua ujian yang gagal ada dalam sites.csv."]
    if not record.incident.is_open:
        notes.append(
            "Insiden telah berakhir: laporan tapak ialah yang pertama menyatakan gangguan ketika insiden itu terbuka."
        )
    notes += [
        f"{each.unclear} keputusan daripada tapak {each.site} tidak dapat difahami."
        for each in record.sites
        if each.unclear
    ]
    rows, omitted = [], 0
    for site_findings in record.sites:
        omitted += len(site_findings.last[_SHOWN_AT_EACH_END:])
        measurements = [
            (stamp(each.at), each.subject_ms, each.outcome_ms, each.why_ms)
            for each in site_findings.last[:_SHOWN_AT_EACH_END]
        ]
        for number, each in enumerate(measurements or [("", "", "tiada ujian yang gagal", "")]):
            site_cell = "\n".join(filter(None, (site_findings.site, site_findings.says_ms))) if number == 0 else ""
            rows.append(cells(site_cell, *each))
    if omitted:
        notes.append(f"{omitted} laluan lain tidak dicetak.")
    return {
        "heading": "TAPAK",
        "notes": notes,
        "columns": ["Tapak dan laporannya", "Gagal terakhir", "Laluan ujian", "Keputusan", "Sebab"],
        "widths": [44, 33, 34, 24, 0],
        "rows": rows,
    }


def _streaks(evidence: Sequence[Measurement]) -> Sequence[Sequence[Measurement]]:
    """Return streaks: sequences of equal results of one route, in the order of their first measurement."""
    route_streaks: dict[str, list[list[Measurement]]] = {}
    for each in evidence:
        streaks = route_streaks.setdefault(each.subject, [])
        if streaks and (streaks[-1][0].outcome, streaks[-1][0].why_ms) == (each.outcome, each.why_ms):
            streaks[-1].append(each)
        else:
            streaks.append([each])
    return sorted((streak for streaks in route_streaks.values() for streak in streaks), key=lambda streak: streak[0].at)


def _end_of_span(starts_at: datetime, ends_at: datetime) -> str:
    """Return the end of a span: only the time if it is on the day of the start, else day and time."""
    day, _, clock = stamp(ends_at).partition(" ")
    return clock if stamp(starts_at).startswith(day) else f"{day} {clock}"


def _notifications_section(record: IncidentRecord) -> dict[str, Json]:
    calls = [
        (attempt, delivery, n) for n in record.notices for delivery in n.deliveries for attempt in delivery.attempts
    ]
    rows = [
        cells(
            stamp(attempt.started_at),
            f"{record.incident.reader_name(notice)}\n{_purpose(notice)}",
            f"{phrase.CHANNELS[delivery.address.channel]}\n{_address(delivery)}",
            attempt.gateway,
            _result(delivery, attempt),
        )
        for attempt, delivery, notice in sorted(calls, key=lambda each: (each[0].started_at, each[0].id))
    ]
    not_attempted = [n for n in record.notices if not n.attempts]
    notes = [] if rows else ["Tiada sesiapa dihubungi."]
    notes += [f"Tidak dihubungi: {record.incident.reader_name(n)} ({phrase.STATES[n.state]})." for n in not_attempted]
    return {
        "heading": "SIAPA YANG DIMAKLUMKAN",
        "notes": notes,
        "columns": ["Masa", "Kepada", "Saluran dan nombor", "Melalui", "Hasil"],
        "widths": [33, 44, 36, 24, 0],
        "rows": rows,
    }


def _chronology_section(record: IncidentRecord) -> dict[str, Json]:
    names = {notice.person: record.incident.reader_name(notice) for notice in record.notices}
    notices = {notice.id: notice for notice in record.notices}
    entries = [entry for entry in record.entries if entry.event not in phrase.SHOWN_ELSEWHERE]
    shown_entries = [entry for entry in entries if not phrase.is_delivery_step(entry.event)]
    shown_rows, omitted = _first_and_last(shown_entries)
    step_count = len(entries) - len(shown_entries)
    notes = (
        [f"{step_count} catatan tentang langkah penghantaran tidak dicetak; semuanya ada dalam audit-log.jsonl."]
        if step_count
        else []
    )
    if omitted:
        notes.append(f"{omitted} catatan di tengah tidak dicetak; semuanya ada dalam audit-log.jsonl.")
    return {
        "heading": "KRONOLOGI",
        "notes": notes,
        "columns": ["Bil.", "Masa", "Oleh", "Peristiwa"],
        "widths": [12, 33, 40, 0],
        "rows": [
            cells(
                str(entry.number),
                stamp(entry.at),
                names.get(entry.actor, phrase.actor_name(entry.actor)),
                "\n".join(
                    filter(None, (phrase.event(entry.event), _page_text(entry, notices, names), _detail(entry, names)))
                ),
            )
            for entry in shown_rows
        ],
    }


def _files_section(digests: Mapping[str, str]) -> dict[str, Json]:
    return {
        "heading": "PENGESAHAN",
        "notes": [_HOW_TO_VERIFY],
        "columns": ["Fail", "SHA-256"],
        "widths": [34, 0],
        "rows": [cells(name, digest) for name, digest in digests.items()],
    }


def _certificate() -> dict[str, Json]:
    return {
        "heading": "PERAKUAN",
        "text": _CERTIFICATE,
        "blanks": ["Nama", "Jawatan", "Tarikh", "Tandatangan"],
    }


def cells(*texts: str) -> list[Json]:
    """Return the cells of a row, each as a list of lines."""
    return [text.split("\n") for text in texts]


def _purpose(notice: Notification) -> str:
    """Return the purpose of a notification; for a page also the end of its reference, by which people find it."""
    is_single = notice.channel in ON_PAPER and len(notice.incident_ids) == 1
    return " ".join(non_empty(phrase.PURPOSES[notice.purpose], enclosure(notice.facts) if is_single else ""))


def _page_text(entry: ChainedEntry, notices: Mapping[int, Notification], names: Mapping[str, str]) -> str:
    """Return which letter was printed or posted, and to whom; "" for other actions."""
    notice = notices.get(entry.notification_id or 0)
    if notice is None or notice.channel not in ON_PAPER:
        return ""
    return f"{_purpose(notice)}, {names[notice.person]}"


def _detail(entry: ChainedEntry, names: Mapping[str, str]) -> str:
    """Return the details of an audit entry, without those for programs."""
    details = {key: str(value) for key, value in entry.detail.items() if value and key not in _PROGRAM_DETAILS}
    if "person" in details:
        details["person"] = names.get(details["person"], details["person"])
    return ", ".join(phrase.detail(key, value) for key, value in details.items())


def _address(delivery: Delivery) -> str:
    address = delivery.address
    if address.channel is Channel.LETTER:
        return address.number
    return f"{address.number} {address.extension}".strip()


def _result(delivery: Delivery, attempt: Attempt) -> str:
    ended = f", {_end_of_span(attempt.started_at, attempt.ended_at)}" if attempt.ended_at else ""
    # The provider's error text is only in the attached data.
    code = (
        f" (kod {attempt.code})"
        if attempt.code and attempt.state is AttemptState.FAILED and attempt.code != NO_KEY
        else ""
    )
    return f"{phrase.result(delivery.address.channel, attempt)}{code}{ended}"


def _first_and_last(rows: Sequence[T]) -> tuple[Sequence[T], int]:
    """Return the first and the last rows, and the number of rows between them."""
    if len(rows) <= 2 * _SHOWN_AT_EACH_END:
        return rows, 0
    return [*rows[:_SHOWN_AT_EACH_END], *rows[-_SHOWN_AT_EACH_END:]], len(rows) - 2 * _SHOWN_AT_EACH_END


def _by_whom(at: datetime | None, by: str | None) -> str:
    if not at or not by:
        return ""
    return f"{_long(at)}, secara automatik" if by == AUTOMATIC else f"{_long(at)}, oleh {by}"


def _long(at: datetime) -> str:
    return f"{moment.date(at, MALAY)} ({moment.weekday(at, MALAY)}), pukul {moment.clock(at, MALAY)}"
