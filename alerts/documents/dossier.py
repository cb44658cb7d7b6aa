"""The data of a dossier: all that is on record of one incident, for the file. Pure.

A dossier names people and their numbers in full, because it has to prove who was told: it is marked TERHAD and kept as
such (Arahan Keselamatan). What proved the incident comes from whoever measured it, already in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.audit import Head, Sealed
from alerts.channel import Channel
from alerts.delivery import Attempt, AttemptState, Delivery, Notice
from alerts.documents import phrase
from alerts.documents.phrase import both, stamp
from alerts.documents.printable import Json
from alerts.documents.sender import letterhead
from alerts.event import AUTOMATIC
from alerts.incident import Incident
from alerts.notice import Language
from alerts.wording import moment
from alerts.wording.texts import Wording

MALAY = Language.MALAY

#: The data fills hundreds of pages when an outage goes on for days; on paper are the first and the last of it.
_SHOWN_AT_EACH_END = 20

#: Parts of the program that act of themselves.
_OURS = frozenset({"engine", "auditor"})

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
class Evidence:
    """One measurement that says how things stood."""

    at: datetime
    #: What was measured: a route.
    subject: str
    #: What came of it, as the data has it, and in Malay.
    outcome: str
    outcome_ms: str
    #: Why, in the words of the server or the measurer; "" when all was well.
    why: str
    #: Seconds on the way; `None` when it did not arrive.
    transit: float | None
    good: bool
    #: The mark that ties it to the message.
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """Everything about one incident, at one moment."""

    incident: Incident
    notices: Sequence[Notice]
    entries: Sequence[Sealed]
    evidence: Sequence[Evidence]
    #: Raw results before this moment are not kept any more.
    evidence_since: datetime
    #: From when on the results of runs that delivered are kept.
    delivered_since: datetime
    head: Head
    made_at: datetime
    made_by: str


def dossier_data(dossier: Dossier, digests: Mapping[str, str], wording: Wording) -> dict[str, Json]:
    """Return what `dossier.typ` prints; *digests* are the SHA-256 of the files beside it, by name."""
    incident = dossier.incident
    return {
        "lang": "ms",
        "title": f"REKOD INSIDEN {incident.number}",
        "author": incident.brief.office.name,
        "head": letterhead(incident.brief.office, wording, MALAY),
        "heading": both("REKOD INSIDEN GANGGUAN E-MEL RASMI", "OFFICIAL E-MAIL INCIDENT RECORD"),
        "marking": "TERHAD",
        "notice": {"label": "No. Notis", "value": incident.number},
        "summary": {"heading": both("RINGKASAN", "SUMMARY"), "rows": _summary(dossier)},
        "sections": [_told(dossier), _story(dossier), _evidence(dossier), _files(digests)],
        "certificate": _certificate(),
    }


def _summary(dossier: Dossier) -> list[Json]:
    incident = dossier.incident
    office = incident.brief.office
    rows = [
        ("Agensi", f"{office.name} ({incident.brief.agency})" if incident.brief.agency else office.name),
        ("Domain", office.domain),
        ("Perkara", _subject(incident)),
        ("Bermula", _long(incident.began_at)),
        ("Insiden dibuka", _long(incident.opened_at)),
        ("Penerimaan disahkan", _done(incident.acknowledged_at, incident.acknowledged_by)),
        ("Pemakluman dikeluarkan", _done(incident.released_at, incident.released_by)),
        ("Penggera palsu", _done(incident.corrected_at, incident.corrected_by)),
        ("Berakhir", _long(incident.ended_at) if incident.ended_at else "Belum berakhir"),
        ("Tempoh", moment.lasted(incident.began_at, incident.ended_at, MALAY) if incident.ended_at else ""),
        ("Rekod dijana", f"{_long(dossier.made_at)}, oleh {dossier.made_by}"),
        ("Hujung jejak audit", f"{dossier.head.number}:{dossier.head.hash}"),
    ]
    return [{"label": label, "value": value} for label, value in rows if value.strip()]


def _subject(incident: Incident) -> str:
    what = phrase.MATTERS[incident.matter]
    return f"{what}: {incident.brief.subject}" if incident.brief.subject else what


def _evidence(dossier: Dossier) -> dict[str, Json]:
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
    shown, left = _ends(dossier.evidence)
    if left:
        notes.append(f"{left} baris di tengah tidak dicetak; semuanya ada dalam evidence.csv.")
    return {
        "heading": both("BUKTI", "EVIDENCE"),
        "notes": notes,
        "columns": ["Masa", "Laluan ujian", "Keputusan", "Saat", "Sebab"],
        "widths": [33, 38, 24, 12, 0],
        "rows": [
            _cells(
                stamp(each.at),
                each.subject,
                each.outcome_ms,
                "" if each.transit is None else f"{each.transit:.1f}",
                each.why,
            )
            for each in shown
        ],
    }


def _told(dossier: Dossier) -> dict[str, Json]:
    tries = [
        (attempt, delivery, n) for n in dossier.notices for delivery in n.deliveries for attempt in delivery.attempts
    ]
    rows = [
        _cells(
            stamp(attempt.started_at),
            f"{name_of(notice, dossier.incident)}\n{phrase.PURPOSES[notice.purpose]}",
            f"{phrase.CHANNELS[delivery.address.channel]}\n{_address(delivery)}",
            attempt.gateway,
            _result(attempt),
        )
        for attempt, delivery, notice in sorted(tries, key=lambda each: (each[0].started_at, each[0].id))
    ]
    untold = [n for n in dossier.notices if not any(d.attempts for d in n.deliveries)]
    notes = [] if rows else ["Tiada sesiapa dihubungi."]
    notes += [f"Tidak dihubungi: {name_of(n, dossier.incident)} ({phrase.STATES[n.state]})." for n in untold]
    return {
        "heading": both("SIAPA YANG DIMAKLUMKAN", "WHO WAS TOLD"),
        "notes": notes,
        "columns": ["Masa", "Kepada", "Saluran dan nombor", "Melalui", "Hasil"],
        "widths": [33, 44, 36, 24, 0],
        "rows": rows,
    }


def _story(dossier: Dossier) -> dict[str, Json]:
    names = {notice.person: name_of(notice, dossier.incident) for notice in dossier.notices}
    return {
        "heading": both("KRONOLOGI", "CHRONOLOGY"),
        "notes": [
            "Bil. ialah nombor catatan dalam jejak audit, dan Cincangan ialah lapan aksara pertama cincangannya.",
        ],
        "columns": ["Bil.", "Masa", "Oleh", "Peristiwa", "Cincangan"],
        "widths": [12, 33, 34, 0, 19],
        "rows": [
            _cells(
                str(entry.number),
                stamp(entry.at),
                _actor(entry.actor, names),
                "\n".join(filter(None, (phrase.event(entry.event), _detail(entry, names)))),
                entry.hash[:8],
            )
            for entry in dossier.entries
        ],
    }


def _files(digests: Mapping[str, str]) -> dict[str, Json]:
    return {
        "heading": both("PENGESAHAN", "VERIFICATION"),
        "notes": [_HOW_TO_VERIFY],
        "columns": ["Fail", "SHA-256"],
        "widths": [34, 0],
        "rows": [_cells(name, digest) for name, digest in digests.items()],
    }


def _certificate() -> dict[str, Json]:
    return {
        "heading": both("PERAKUAN", "CERTIFICATION"),
        "text": _CERTIFIED,
        "blanks": ["Nama", "Jawatan", "Tarikh", "Tandatangan"],
    }


def _cells(*texts: str) -> list[Json]:
    """Return the cells of a row, each as its lines."""
    return [text.split("\n") for text in texts]


def name_of(notice: Notice, incident: Incident) -> str:
    """Return whom a notice went to, as people know them."""
    if notice.addressee is not None:
        return f"{notice.addressee.title}, {notice.addressee.organisation}"
    contact = incident.brief.escalation.contact(notice.person)
    return contact.name if contact else notice.person


def _actor(actor: str, names: Mapping[str, str]) -> str:
    return "Pantau" if actor in _OURS else names.get(actor, actor)


def _detail(entry: Sealed, names: Mapping[str, str]) -> str:
    """Return what an entry says besides, without what stands elsewhere on the page."""
    said = {
        key: str(value) for key, value in entry.detail.items() if value and key not in {"number", "matter", "sha256"}
    }
    if "person" in said:
        said["person"] = names.get(said["person"], said["person"])
    text = ", ".join(phrase.detail(key, value) for key, value in said.items())
    digest = str(entry.detail.get("sha256", ""))
    return f"{text}; SHA-256 {digest[:16]}..." if digest else text


def _address(delivery: Delivery) -> str:
    address = delivery.address
    if address.channel is Channel.LETTER:
        return address.number
    return f"{address.number} {address.extension}".strip()


def _result(attempt: Attempt) -> str:
    state = phrase.STATES[attempt.state]
    ended = f" {stamp(attempt.ended_at)}" if attempt.ended_at else ""
    why = ""
    if attempt.state not in {AttemptState.DELIVERED, AttemptState.SENT, AttemptState.ACCEPTED}:
        why = " ".join(filter(None, (attempt.detail, attempt.code)))
    return f"{state}{ended}" + (f"\n{why}" if why else "")


def _ends(evidence: Sequence[Evidence]) -> tuple[Sequence[Evidence], int]:
    """Return the first and the last measurements, and how many between them are left out."""
    if len(evidence) <= 2 * _SHOWN_AT_EACH_END:
        return evidence, 0
    return [*evidence[:_SHOWN_AT_EACH_END], *evidence[-_SHOWN_AT_EACH_END:]], len(evidence) - 2 * _SHOWN_AT_EACH_END


def _done(at: datetime | None, by: str | None) -> str:
    if not at or not by:
        return ""
    return f"{_long(at)}, secara automatik" if by == AUTOMATIC else f"{_long(at)}, oleh {by}"


def _long(at: datetime) -> str:
    return f"{moment.date(at, MALAY)} ({moment.weekday(at, MALAY)}), pukul {moment.clock(at, MALAY)}"
