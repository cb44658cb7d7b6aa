"""The words of a dossier, in Malay. Pure.

A dossier is the office's own record and no notice: its words are the same everywhere, and are no wording that a site
edits. An event of the journal that is not listed is told as it stands there.
"""

from __future__ import annotations

from datetime import datetime

from alerts.decide.auditor import Lapse
from alerts.model.channel import Channel
from alerts.model.delivery import Attempt, AttemptState, NoticeState
from alerts.model.gateway import NO_KEY
from alerts.model.incident import IncidentState
from alerts.model.notice import Matter, Purpose
from alerts.wording import moment

MATTERS = {
    Matter.BOTH: "E-mel rasmi tidak dapat dihantar dan diterima",
    Matter.SENDING: "E-mel rasmi tidak dapat dihantar",
    Matter.RECEIVING: "E-mel rasmi tidak dapat diterima",
    Matter.DEGRADED: "E-mel rasmi lambat, masuk ke folder spam atau memberi ralat ketika dihantar",
    Matter.OWN_FAULT: "Sebahagian sistem pemantauan gagal",
    Matter.UNREACHED: "Notis tidak sampai atau tidak disahkan oleh sesiapa",
    Matter.DOUBTFUL: "Tidak pasti sama ada notis telah sampai",
    Matter.UNRELEASED: "Notis kepada pihak luar menunggu kebenaran",
}
CHANNELS = {Channel.SMS: "SMS", Channel.VOICE: "Panggilan", Channel.FAX: "Faks", Channel.LETTER: "Surat"}
PURPOSES = {
    Purpose.OUTAGE: "gangguan",
    Purpose.UPDATE: "susulan",
    Purpose.RECOVERY: "pemulihan",
    Purpose.CORRECTION: "pembetulan",
    Purpose.RELEASE: "permohonan kebenaran",
    Purpose.TAKEN: "makluman pengesahan",
    Purpose.REMINDER: "peringatan",
    Purpose.DRILL: "latihan",
}
STATES: dict[str, str] = {
    AttemptState.CALLING: "sedang dihubungi",
    AttemptState.UNKNOWN: "tidak dapat dipastikan",
    AttemptState.NO_TRACE: "tiada kesan",
    AttemptState.NEVER_SENT: "tidak dihantar",
    AttemptState.ACCEPTED: "diambil oleh pembekal",
    AttemptState.SENT: "dihantar",
    AttemptState.DELIVERED: "diterima",
    AttemptState.FAILED: "gagal",
    AttemptState.WITHDRAWN: "ditarik balik",
    NoticeState.PENDING: "menunggu",
}
INCIDENT_STATES = {
    IncidentState.TRIGGERED: "belum disahkan",
    IncidentState.ACKNOWLEDGED: "disahkan",
    IncidentState.RESOLVED: "berakhir",
}
#: What an attempt came to, as a reader sees it: what has happened to the paper, or on the telephone.
RESULTS: dict[Channel, dict[AttemptState, str]] = {
    Channel.SMS: {
        AttemptState.CALLING: "sedang dihantar",
        AttemptState.ACCEPTED: "diserahkan kepada pembekal",
        AttemptState.SENT: "dihantar oleh pembekal",
        AttemptState.DELIVERED: "sampai ke telefon",
        AttemptState.FAILED: "tidak sampai",
    },
    Channel.VOICE: {
        AttemptState.CALLING: "sedang dihubungi",
        AttemptState.ACCEPTED: "panggilan sedang dibuat",
        AttemptState.SENT: "telefon berdering",
        AttemptState.DELIVERED: "dijawab, kekunci ditekan",
        AttemptState.FAILED: "tidak dijawab",
    },
    Channel.FAX: {
        AttemptState.CALLING: "sedang difakskan",
        AttemptState.ACCEPTED: "diserahkan kepada perkhidmatan faks",
        AttemptState.SENT: "sedang difakskan",
        AttemptState.DELIVERED: "diterima oleh mesin faks",
        AttemptState.FAILED: "tidak diterima oleh mesin faks",
    },
    Channel.LETTER: {
        AttemptState.CALLING: "sedang diletakkan dalam dulang",
        AttemptState.ACCEPTED: "dalam dulang, belum dipos",
        AttemptState.SENT: "telah dipos",
        AttemptState.DELIVERED: "telah dipos",
        AttemptState.FAILED: "tidak dapat diletakkan dalam dulang",
    },
}
#: The same on every channel.
COMMON_RESULTS = {
    AttemptState.UNKNOWN: "tidak dapat dipastikan sama ada dihantar",
    AttemptState.NO_TRACE: "tidak dapat dipastikan sama ada dihantar",
    AttemptState.NEVER_SENT: "tidak dihantar",
    AttemptState.WITHDRAWN: "ditarik balik sebelum dihantar",
}
DEEDS = {
    "send": "Penghantaran",
    "ask": "Pertanyaan kepada pembekal",
    "check": "Semakan penghantaran",
    "withdraw": "Penarikan balik",
    "reported": "Laporan pembekal",
}
EVENTS = {
    "incident opened": "Insiden dibuka",
    "incident got worse": "Gangguan bertambah",
    "incident changed": "Keadaan gangguan berubah",
    "incident acknowledged": "Penerimaan disahkan",
    "acknowledgement prolonged": "Penerimaan dilanjutkan",
    "acknowledgement expired": "Penerimaan luput: tiada maklum balas lagi",
    "handed on": "Diserahkan kepada pegawai seterusnya",
    "remark": "Catatan",
    "incident resolved": "Insiden berakhir",
    "outage declared": "Gangguan diisytiharkan",
    "outage measured, too": "Gangguan itu turut dikesan melalui ujian",
    "outage measured no more": "Gangguan itu tidak lagi dikesan melalui ujian",
    "declared outage over, measured still": "Gangguan yang diisytiharkan telah tamat; ujian masih mengesan gangguan",
    "incident closed": "Insiden ditutup",
    "announcement released": "Pemakluman kepada pihak luar dikeluarkan",
    "announcement released by itself": "Pemakluman kepada pihak luar dikeluarkan secara automatik",
    "declared a false alarm": "Diisytiharkan sebagai penggera palsu",
    "receipt confirmed": "Notis disahkan telah didengar",
    "attempt written": "Percubaan direkodkan sebelum penghantaran",
    "letter printed": "Surat telah dicetak",
    "letter dispatched": "Surat telah dipos",
    "notice settled by hand: arrived": "Notis disahkan telah sampai",
    "notice settled by hand: lost": "Notis disahkan tidak sampai",
    "notice settled by hand: resend": "Notis disahkan tidak sampai dan akan dihantar semula",
    "nobody is on call": "Tiada pegawai bertugas",
    "notice held": "Notis ditangguhkan oleh had penghantaran",
    "notice bundled": "Notis digabungkan dengan notis lain",
    "notice superseded": "Notis telah diliputi oleh notis lain",
    "left a bundle": "Dikeluarkan daripada notis gabungan",
    "dossier made": "Dosier dikeluarkan",
    "PIN proven": "PIN betul",
    "wrong PIN": "PIN salah",
    "no more SMS wanted": "Tidak mahu menerima SMS lagi",
    "SMS wanted again": "Mahu menerima SMS semula",
    "not sent: STOP": "Tidak dihantar: penerima tidak mahu SMS",
}
LAPSES = {
    Lapse.STEP: "Langkah",
    Lapse.NOTICE: "Notis",
    Lapse.ANNOUNCEMENT: "Pemakluman kepada pihak luar",
    Lapse.RECOVERY: "Notis pemulihan",
}
#: Parts of the program that act of themselves.
_OURS = frozenset({"engine", "auditor", "automatic"})
_OVERDUE = {"overdue": "lewat", "overdue no more": "tidak lewat lagi"}
BRAKES = {"contact": "had bagi seorang penerima", "gateway": "had bagi satu get laluan"}
#: Details that are moments, and what goes before them: a bare moment below an event could be anything.
_MOMENTS = {"since": "sejak", "until": "hingga"}


def event(text: str) -> str:
    """Return what an event of the journal is called: "Penghantaran: diterima"."""
    if text in EVENTS:
        return EVENTS[text]
    deed, _, state = text.partition(": ")
    if deed in DEEDS and state in STATES:
        return f"{DEEDS[deed]}: {STATES[state]}"
    first, _, rest = text.partition(" ")
    if first == "notice" and rest in STATES:
        return f"Notis: {STATES[rest]}"
    if first in set(Lapse) and rest in _OVERDUE:
        return f"{LAPSES[Lapse(first)]}: {_OVERDUE[rest]}"
    if rest == "notice decided" and first in set(Purpose):
        return f"Notis {PURPOSES[Purpose(first)]} diputuskan"
    return text


def is_machinery(text: str) -> bool:
    """Whether an event of the journal is a step of the program on the way to what a person was sent.

    Who was told, when and with what result stands in a table of its own; the steps are in the data.
    """
    if text == "attempt written" or text.endswith(" notice decided") or text.partition(": ")[0] in DEEDS:
        return True
    first, _, rest = text.partition(" ")
    return first == "notice" and rest in STATES


def result(channel: Channel, attempt: Attempt) -> str:
    """Return what an attempt came to: "sampai ke telefon"."""
    if attempt.code == NO_KEY:
        return "dijawab, tetapi tiada kekunci ditekan"
    return RESULTS[channel].get(attempt.state) or COMMON_RESULTS[attempt.state]


def person(name: str) -> str:
    """Return who did something: the program by its name."""
    return "Pantau" if name in _OURS else name


def detail(key: str, value: str) -> str:
    """Return what an entry's detail is called, where it is a word of ours or a moment."""
    match key:
        case "channel" if value in set(Channel):
            return CHANNELS[Channel(value)]
        case "purpose" if value in set(Purpose):
            return PURPOSES[Purpose(value)]
        case "brake" if value in BRAKES:
            return BRAKES[value]
        case "declared" if value in set(Matter):
            return MATTERS[Matter(value)]
        case _ if key in _MOMENTS and (at := _moment(value)) is not None:
            return f"{_MOMENTS[key]} {stamp(at)}"
        case _:
            return value


def stamp(at: datetime) -> str:
    """Return the second, in Malaysian time: "24/11/2026 14:15:09"."""
    return moment.local(at).strftime("%d/%m/%Y %H:%M:%S")


def _moment(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else None
