"""Data of an incident record: everything on record about one incident, for the file. Pure.

The record gives names and numbers in full, because it proves who was notified: it is classified TERHAD and handled as
such (Arahan Keselamatan). Measurements come as text from the probes. The page shows what a reader needs; every step and
every measurement are in the attached files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from alerts.documents import phrase
from alerts.documents.phrase import stamp
from alerts.documents.printable import Json
from alerts.documents.sender import enclosure, letterhead, present
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

#: Rows at each end. The data of an outage of days fills hundreds of pages; the page shows the first and the last rows.
_SHOWN_AT_EACH_END = 20
#: Details of an entry that only programs read.
_FOR_PROGRAMS = frozenset({"number", "matter", "sha256", "reference", "code", "gateway"})

_HOW_TO_VERIFY = (
    "Data di sebalik rekod ini disertakan dalam fail yang berikut. Setiap catatan jejak audit mengandungi cincangan "
    "catatan sebelumnya, maka perubahan, penambahan atau pembuangan dapat dikesan. Bandingkan hujung jejak audit dengan "
    "salinan yang disimpan di tempat lain. Cara semakan ada dalam BACA-SAYA.txt."
)
_CERTIFIED = (
    "Saya memperakui bahawa rekod ini dikeluarkan oleh sistem komputer dalam perjalanan penggunaan biasanya (Akta "
    "Keterangan 1950, seksyen 90A), dan bahawa saya bertanggungjawab atas pengendalian sistem itu."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measurement."""

    at: datetime
    #: The measured route: as in the data, and in Malay.
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
    """Status and measurements of one site, by its own clock."""

    site: str
    #: The reported status, or the first reported fault: as in the data, and in Malay; "" without a report.
    says: str
    says_ms: str
    #: Failed measurements by their end; and the latest of each subject, the newest first.
    failed: Sequence[Measurement]
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
    #: Status of each site, first the one that keeps the record; empty with a single site.
    sites: Sequence[SiteFindings] = ()


def dossier_data(dossier: IncidentRecord, digests: Mapping[str, str], wording: Wording) -> dict[str, Json]:
    """Return the data of `incident_record.typ`; *digests* are the SHA-256 of the attached files, by name."""
    incident = dossier.incident
    return {
        "lang": "ms",
        "title": f"REKOD INSIDEN {incident.number}",
        "author": incident.policy.office.name,
        "head": letterhead(incident.policy.office, wording, MALAY),
        "heading": "REKOD INSIDEN GANGGUAN E-MEL RASMI",
        "marking": "TERHAD",
        "notice": {"label": "No. Notis", "value": incident.number},
        "summary": {"heading": "RINGKASAN", "rows": _summary(dossier)},
        "sections": [
            *(_told(dossier), _story(dossier), _evidence(dossier)),
            *([_sites(dossier)] if dossier.sites else []),
            _files(digests),
        ],
        "certificate": _certificate(),
    }


def _summary(dossier: IncidentRecord) -> list[Json]:
    incident = dossier.incident
    office = incident.policy.office
    rows = [
        ("Agensi", f"{office.name} ({incident.policy.agency})" if incident.policy.agency else office.name),
        ("Domain", office.domain),
        ("Perkara", _subject(incident)),
        ("Bermula", _long(incident.reported_type_began_at)),
        ("Terjejas sejak", _long(incident.began_at) if incident.began_at < incident.reported_type_began_at else ""),
        ("Insiden dibuka", _long(incident.opened_at)),
        *_declared(incident),
        ("Penerimaan disahkan", _done(incident.acknowledged_at, incident.acknowledged_by)),
        (
            "Diserahkan" if incident.escalated else "Penerimaan luput, kali terakhir menjawab",
            _done(incident.last_response_at, incident.previous_assignee),
        ),
        ("Pemakluman dikeluarkan", _done(incident.released_at, incident.released_by)),
        ("Amaran palsu", _done(incident.false_alarm_at, incident.false_alarm_by)),
        *_closed(incident),
        ("Berakhir", _ended(incident)),
        (
            "Tempoh",
            moment.lasted(incident.reported_type_began_at, incident.ended_at, MALAY) if incident.ended_at else "",
        ),
        ("Rekod dijana", f"{_long(dossier.made_at)}, oleh {dossier.made_by}"),
        ("Hujung jejak audit", f"{dossier.head.number}:{dossier.head.hash}"),
    ]
    return [{"label": label, "value": value} for label, value in rows if value.strip()]


def _declared(incident: Incident) -> list[tuple[str, str]]:
    """Return who declared the incident, the reason, and who ended it."""
    said = incident.declared
    if said is None:
        return []
    return [
        ("Diisytiharkan", f"{_done(said.at, said.by)}: {said.reason}"),
        ("Pengisytiharan tamat", _done(said.ended_at, said.ended_by)),
    ]


def _closed(incident: Incident) -> list[tuple[str, str]]:
    """Return who closed the incident, the reason, and their statement about mail."""
    closing = incident.closed
    if closing is None:
        return []
    told = "pemulihan dimaklumkan" if closing.recovered else "pemulihan tidak dimaklumkan"
    return [("Ditutup", f"{_done(closing.at, closing.by)}; {told}: {closing.reason}")]


def _ended(incident: Incident) -> str:
    if incident.ended_at is not None:
        return _long(incident.ended_at)
    return "Belum berakhir" if incident.is_open else "Tidak dapat dipastikan"


def _subject(incident: Incident) -> str:
    what = phrase.MATTERS[incident.type]
    return f"{what}: {incident.policy.subject}" if incident.policy.subject else what


def _evidence(dossier: IncidentRecord) -> dict[str, Json]:
    good = [each for each in dossier.evidence if each.good]
    notes = [
        f"{len(dossier.evidence)} ujian pergi balik dalam tempoh insiden; {len(good)} daripadanya diterima.",
    ]
    if not dossier.evidence:
        notes = [
            f"Tiada keputusan ujian dalam simpanan. Keputusan sebelum {_long(dossier.evidence_since)} telah dipadam."
        ]
    elif dossier.incident.began_at < dossier.delivered_since:
        notes.append(
            f"Ujian yang diterima sebelum {_long(dossier.delivered_since)} telah dipadam; yang tinggal ialah kegagalan."
        )
    streaks = _streaks(dossier.evidence)
    shown, left = _ends(streaks)
    if dossier.evidence:
        notes.append(
            "Ujian berturut-turut dengan keputusan yang sama dicetak sebagai satu baris; setiap ujian ada dalam evidence.csv."
        )
    if left:
        notes.append(f"{left} baris di tengah tidak dicetak.")
    return {
        "heading": "BUKTI",
        "notes": notes,
        "columns": ["Dari", "Hingga", "Laluan ujian", "Bilangan", "Keputusan", "Sebab"],
        "widths": [33, 17, 34, 16, 24, 0],
        "rows": [
            cells(
                stamp(streak[0].at),
                _until(streak[0].at, streak[-1].at),
                streak[0].subject_ms,
                str(len(streak)),
                streak[0].outcome_ms,
                streak[0].why_ms,
            )
            for streak in shown
        ],
    }


def _sites(dossier: IncidentRecord) -> dict[str, Json]:
    """Return the status of each site, and the latest failed measurement of each route there."""
    notes = ["Masa di bawah ialah masa menurut jam setiap tapak. Semua ujian yang gagal ada dalam sites.csv."]
    if not dossier.incident.is_open:
        notes.append(
            "Insiden telah berakhir: laporan tapak ialah yang pertama menyatakan gangguan ketika insiden itu terbuka."
        )
    notes += [
        f"{each.unclear} keputusan daripada tapak {each.site} tidak dapat difahami."
        for each in dossier.sites
        if each.unclear
    ]
    rows, left = [], 0
    for word in dossier.sites:
        left += len(word.last[_SHOWN_AT_EACH_END:])
        seen = [
            (stamp(each.at), each.subject_ms, each.outcome_ms, each.why_ms) for each in word.last[:_SHOWN_AT_EACH_END]
        ]
        for number, each in enumerate(seen or [("", "", "tiada ujian yang gagal", "")]):
            told = "\n".join(filter(None, (word.site, word.says_ms))) if number == 0 else ""
            rows.append(cells(told, *each))
    if left:
        notes.append(f"{left} laluan lain tidak dicetak.")
    return {
        "heading": "TAPAK",
        "notes": notes,
        "columns": ["Tapak dan laporannya", "Gagal terakhir", "Laluan ujian", "Keputusan", "Sebab"],
        "widths": [44, 33, 34, 24, 0],
        "rows": rows,
    }


def _streaks(evidence: Sequence[Measurement]) -> Sequence[Sequence[Measurement]]:
    """Return the measurements of each route as sequences of equal results, by their first start."""
    of_route: dict[str, list[list[Measurement]]] = {}
    for each in evidence:
        streaks = of_route.setdefault(each.subject, [])
        if streaks and (streaks[-1][0].outcome, streaks[-1][0].why_ms) == (each.outcome, each.why_ms):
            streaks[-1].append(each)
        else:
            streaks.append([each])
    return sorted((streak for streaks in of_route.values() for streak in streaks), key=lambda streak: streak[0].at)


def _until(begins: datetime, ends: datetime) -> str:
    """Return the end of a span: the time alone if it is on the day of the start."""
    day, _, clock = stamp(ends).partition(" ")
    return clock if stamp(begins).startswith(day) else f"{day} {clock}"


def _told(dossier: IncidentRecord) -> dict[str, Json]:
    tries = [
        (attempt, delivery, n) for n in dossier.notices for delivery in n.deliveries for attempt in delivery.attempts
    ]
    rows = [
        cells(
            stamp(attempt.started_at),
            f"{dossier.incident.reader(notice)}\n{_purpose(notice)}",
            f"{phrase.CHANNELS[delivery.address.channel]}\n{_address(delivery)}",
            attempt.gateway,
            _result(delivery, attempt),
        )
        for attempt, delivery, notice in sorted(tries, key=lambda each: (each[0].started_at, each[0].id))
    ]
    untold = [n for n in dossier.notices if not n.attempts]
    notes = [] if rows else ["Tiada sesiapa dihubungi."]
    notes += [f"Tidak dihubungi: {dossier.incident.reader(n)} ({phrase.STATES[n.state]})." for n in untold]
    return {
        "heading": "SIAPA YANG DIMAKLUMKAN",
        "notes": notes,
        "columns": ["Masa", "Kepada", "Saluran dan nombor", "Melalui", "Hasil"],
        "widths": [33, 44, 36, 24, 0],
        "rows": rows,
    }


def _story(dossier: IncidentRecord) -> dict[str, Json]:
    names = {notice.person: dossier.incident.reader(notice) for notice in dossier.notices}
    notices = {notice.id: notice for notice in dossier.notices}
    entries = [entry for entry in dossier.entries if entry.event not in phrase.TOLD_ELSEWHERE]
    told = [entry for entry in entries if not phrase.is_machinery(entry.event)]
    shown, left = _ends(told)
    steps = len(entries) - len(told)
    notes = (
        [f"{steps} catatan tentang langkah penghantaran tidak dicetak; semuanya ada dalam audit-log.jsonl."]
        if steps
        else []
    )
    if left:
        notes.append(f"{left} catatan di tengah tidak dicetak; semuanya ada dalam audit-log.jsonl.")
    return {
        "heading": "KRONOLOGI",
        "notes": notes,
        "columns": ["Bil.", "Masa", "Oleh", "Peristiwa"],
        "widths": [12, 33, 40, 0],
        "rows": [
            cells(
                str(entry.number),
                stamp(entry.at),
                names.get(entry.actor, phrase.person(entry.actor)),
                "\n".join(
                    filter(None, (phrase.event(entry.event), _page(entry, notices, names), _detail(entry, names)))
                ),
            )
            for entry in shown
        ],
    }


def _files(digests: Mapping[str, str]) -> dict[str, Json]:
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
        "text": _CERTIFIED,
        "blanks": ["Nama", "Jawatan", "Tarikh", "Tandatangan"],
    }


def cells(*texts: str) -> list[Json]:
    """Return the cells of a row, each as a list of lines."""
    return [text.split("\n") for text in texts]


def _purpose(notice: Notification) -> str:
    """Return the purpose of a notification; for a page also the end of its reference, by which files are searched."""
    alone = notice.channel in ON_PAPER and len(notice.incident_ids) == 1
    return " ".join(present(phrase.PURPOSES[notice.purpose], enclosure(notice.facts) if alone else ""))


def _page(entry: ChainedEntry, notices: Mapping[int, Notification], names: Mapping[str, str]) -> str:
    """Return which letter was printed or posted, and to whom; "" for other actions."""
    notice = notices.get(entry.notification_id or 0)
    if notice is None or notice.channel not in ON_PAPER:
        return ""
    return f"{_purpose(notice)}, {names[notice.person]}"


def _detail(entry: ChainedEntry, names: Mapping[str, str]) -> str:
    """Return the further details of an entry, without those for programs or shown elsewhere on the page."""
    said = {key: str(value) for key, value in entry.detail.items() if value and key not in _FOR_PROGRAMS}
    if "person" in said:
        said["person"] = names.get(said["person"], said["person"])
    return ", ".join(phrase.detail(key, value) for key, value in said.items())


def _address(delivery: Delivery) -> str:
    address = delivery.address
    if address.channel is Channel.LETTER:
        return address.number
    return f"{address.number} {address.extension}".strip()


def _result(delivery: Delivery, attempt: Attempt) -> str:
    ended = f", {_until(attempt.started_at, attempt.ended_at)}" if attempt.ended_at else ""
    # The provider's own text is in the data.
    code = (
        f" (kod {attempt.code})"
        if attempt.code and attempt.state is AttemptState.FAILED and attempt.code != NO_KEY
        else ""
    )
    return f"{phrase.result(delivery.address.channel, attempt)}{code}{ended}"


def _ends(rows: Sequence[T]) -> tuple[Sequence[T], int]:
    """Return the first and the last rows, and the number of rows between them."""
    if len(rows) <= 2 * _SHOWN_AT_EACH_END:
        return rows, 0
    return [*rows[:_SHOWN_AT_EACH_END], *rows[-_SHOWN_AT_EACH_END:]], len(rows) - 2 * _SHOWN_AT_EACH_END


def _done(at: datetime | None, by: str | None) -> str:
    if not at or not by:
        return ""
    return f"{_long(at)}, secara automatik" if by == AUTOMATIC else f"{_long(at)}, oleh {by}"


def _long(at: datetime) -> str:
    return f"{moment.date(at, MALAY)} ({moment.weekday(at, MALAY)}), pukul {moment.clock(at, MALAY)}"
