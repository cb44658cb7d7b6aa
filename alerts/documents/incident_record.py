"""Data of an incident record: a document of everything that is stored about one incident, for the office's file. Pure.

The record gives names and telephone numbers in full, because it proves who was notified. It is classified TERHAD
(restricted) and handled as such (Arahan Keselamatan). The PDF shows a selection; the attached files contain every
delivery step and every measurement.
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

#: A table shows this many rows from its beginning and from its end. All rows of a long outage fill hundreds of pages.
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
    """Result of one probe message, as texts. A field `..._ms` has the Malay text."""

    #: When the run ended.
    at: datetime
    #: The route: the mailboxes from which and to which the message is sent.
    subject: str
    subject_ms: str
    outcome: str
    outcome_ms: str
    #: Reason of the failure: as reported by the server or the probe, and in Malay without the server's text; "" on
    #: success.
    reason: str
    reason_ms: str
    #: Seconds from submission to arrival; `None` when the message did not arrive.
    transit_seconds: float | None
    is_delivered: bool
    #: Id of the token in the message, which identifies it.
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFindings:
    """Status and measurements that one site reports, by its own clock. A site is a location with its own prober."""

    site: str
    #: The reported status, or the first fault that the site reported; "" without a report.
    status: str
    status_ms: str
    #: All failed measurements, in the order of their end.
    failed: Sequence[Measurement]
    #: The latest failed measurement of each route, the newest first.
    latest_failed: Sequence[Measurement]
    #: Number of measurements that are left out, because the site published them in an invalid form.
    implausible_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentRecord:
    """Everything about one incident, at one time."""

    incident: Incident
    notifications: Sequence[Notification]
    #: Entries of the audit log about the incident.
    entries: Sequence[ChainedEntry]
    #: Measurements during the incident.
    evidence: Sequence[Measurement]
    #: All measurements before this time have been deleted.
    evidence_since: datetime
    #: Measurements of delivered messages before this time have been deleted.
    delivered_since: datetime
    #: Head of the audit log's hash chain.
    head: ChainHead
    made_at: datetime
    #: Name of the person who made the record.
    made_by: str
    #: What each site reports, first the site whose database has the incident; empty with a single site.
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
        ("Perkara", _type_and_object(incident)),
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
    """Return who closed the incident, the reason, and whether recipients were notified of a recovery."""
    closure = incident.closed
    if closure is None:
        return []
    statement = "pemulihan dimaklumkan" if closure.recovered else "pemulihan tidak dimaklumkan"
    return [("Ditutup", f"{_by_whom(closure.at, closure.by)}; {statement}: {closure.reason}")]


def _end_text(incident: Incident) -> str:
    if incident.ended_at is not None:
        return _long(incident.ended_at)
    return "Belum berakhir" if incident.is_open else "Tidak dapat dipastikan"


def _type_and_object(incident: Incident) -> str:
    """Return the incident type and, for an alert or a monitoring fault, the affected object."""
    incident_type = phrase.INCIDENT_TYPES[incident.type]
    return f"{incident_type}: {incident.policy.subject}" if incident.policy.subject else incident_type


def _evidence_section(record: IncidentRecord) -> dict[str, Json]:
    good = [each for each in record.evidence if each.is_delivered]
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
                streak[0].reason_ms,
            )
            for streak in shown_rows
        ],
    }


def _sites_section(record: IncidentRecord) -> dict[str, Json]:
    """Return the status of each site, and the latest failed measurement of each of its routes."""
    notes = ["Masa di bawah ialah masa menurut jam setiap tapak. Semua ujian yang gagal ada dalam sites.csv."]
    if not record.incident.is_open:
        notes.append(
            "Insiden telah berakhir: laporan tapak ialah yang pertama menyatakan gangguan ketika insiden itu terbuka."
        )
    notes += [
        f"{each.implausible_count} keputusan daripada tapak {each.site} tidak dapat difahami."
        for each in record.sites
        if each.implausible_count
    ]
    rows, omitted = [], 0
    for site_findings in record.sites:
        omitted += len(site_findings.latest_failed[_SHOWN_AT_EACH_END:])
        measurements = [
            (stamp(each.at), each.subject_ms, each.outcome_ms, each.reason_ms)
            for each in site_findings.latest_failed[:_SHOWN_AT_EACH_END]
        ]
        for number, each in enumerate(measurements or [("", "", "tiada ujian yang gagal", "")]):
            site_cell = "\n".join(filter(None, (site_findings.site, site_findings.status_ms))) if number == 0 else ""
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
    """Return the streaks: consecutive equal results of one route. They are sorted by their first measurement."""
    route_streaks: dict[str, list[list[Measurement]]] = {}
    for each in evidence:
        streaks = route_streaks.setdefault(each.subject, [])
        if streaks and (streaks[-1][0].outcome, streaks[-1][0].reason_ms) == (each.outcome, each.reason_ms):
            streaks[-1].append(each)
        else:
            streaks.append([each])
    return sorted((streak for streaks in route_streaks.values() for streak in streaks), key=lambda streak: streak[0].at)


def _end_of_span(starts_at: datetime, ends_at: datetime) -> str:
    """Return the end of a span: only the time if it is on the day of the start, else day and time."""
    day, _, clock = stamp(ends_at).partition(" ")
    return clock if stamp(starts_at).startswith(day) else f"{day} {clock}"


def _notifications_section(record: IncidentRecord) -> dict[str, Json]:
    attempts = [
        (attempt, delivery, notification)
        for notification in record.notifications
        for delivery in notification.deliveries
        for attempt in delivery.attempts
    ]
    attempts.sort(key=lambda each: (each[0].started_at, each[0].id))
    rows = [
        cells(
            stamp(attempt.started_at),
            f"{record.incident.reader_name(notification)}\n{_purpose(notification)}",
            f"{phrase.CHANNELS[delivery.address.channel]}\n{_address(delivery)}",
            attempt.gateway,
            _result(delivery, attempt),
        )
        for attempt, delivery, notification in attempts
    ]
    not_attempted = [each for each in record.notifications if not each.attempts]
    notes = [] if rows else ["Tiada sesiapa dihubungi."]
    notes += [
        f"Tidak dihubungi: {record.incident.reader_name(each)} ({phrase.STATES[each.state]})." for each in not_attempted
    ]
    return {
        "heading": "SIAPA YANG DIMAKLUMKAN",
        "notes": notes,
        "columns": ["Masa", "Kepada", "Saluran dan nombor", "Melalui", "Hasil"],
        "widths": [33, 44, 36, 24, 0],
        "rows": rows,
    }


def _chronology_section(record: IncidentRecord) -> dict[str, Json]:
    names = {notification.person: record.incident.reader_name(notification) for notification in record.notifications}
    notifications = {notification.id: notification for notification in record.notifications}
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
                    filter(
                        None,
                        (phrase.event(entry.event), _page_text(entry, notifications, names), _detail(entry, names)),
                    )
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


def _purpose(notification: Notification) -> str:
    """Return the purpose of a notification; for a letter or fax about one incident also the end of its reference.

    The page is filed by this reference.
    """
    is_single = notification.channel in ON_PAPER and len(notification.incident_ids) == 1
    return " ".join(
        non_empty(phrase.PURPOSES[notification.purpose], enclosure(notification.facts) if is_single else "")
    )


def _page_text(entry: ChainedEntry, notifications: Mapping[int, Notification], names: Mapping[str, str]) -> str:
    """Return which letter or fax an entry is about, and its reader; "" if the entry is about none."""
    notification = notifications.get(entry.notification_id or 0)
    if notification is None or notification.channel not in ON_PAPER:
        return ""
    return f"{_purpose(notification)}, {names[notification.person]}"


def _detail(entry: ChainedEntry, names: Mapping[str, str]) -> str:
    """Return the details of an audit entry, without those of `_PROGRAM_DETAILS`."""
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
