"""SMS and calls to the NOC when the database is unavailable. Short, in Malay and English, without a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from alerts.model.gateway import Script, SmsContent, VoiceContent
from alerts.model.notification import IssuingOffice, Language
from alerts.wording import moment
from alerts.wording.lint import TextProblem, lint
from alerts.wording.texts import Wording
from alerts.wording.values import spoken_at

#: Situations, as in the texts' keys.
SITUATIONS = ("store", "peer", "clear")

#: The longest possible time: see `alerts.wording.sms`.
_LONGEST_MOMENT = datetime(2026, 12, 22, 4, 58, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfBandMessage:
    """An out-of-band alert."""

    #: One of `SITUATIONS`.
    situation: str
    #: Recipient and sender.
    office: IssuingOffice
    #: When it began; for "clear", when it ended.
    at: datetime
    #: A process's name, or "".
    whose: str = ""


def sms(plight: OutOfBandMessage, wording: Wording) -> SmsContent:
    """Return one text in both languages. A name that carriers would take for a link is left out."""
    text = _text(plight, wording, plight.whose)
    if plight.whose and lint(text, plight.office.short):
        text = _text(plight, wording, "")
    return SmsContent(text=text)


def call(plight: OutOfBandMessage, wording: Wording) -> VoiceContent:
    """Return a call in Malay and English. It accepts no key, because nothing could be stored."""
    return VoiceContent(scripts=tuple(_script(plight, language, wording) for language in Language))


def faults(office: IssuingOffice, wording: Wording) -> tuple[tuple[str, TextProblem], ...]:
    """Return the problems of each text at its longest, with the text's key; empty if all can be sent."""
    found = []
    for situation in SITUATIONS:
        text = sms(OutOfBandMessage(situation=situation, office=office, at=_LONGEST_MOMENT), wording).text
        found += [(f"out_of_band.sms.{situation}", problem) for problem in lint(text, office.short)]
    return tuple(found)


def _text(plight: OutOfBandMessage, wording: Wording, whose: str) -> str:
    halves = [
        wording.say(
            language,
            f"out_of_band.sms.{plight.situation}",
            {_moment_of(plight): moment.stamp(plight.at, language), "whose": whose},
        )
        for language in (Language.MALAY, Language.ENGLISH)
    ]
    return f"RM0 {plight.office.short}: {' '.join(halves)}"


def _script(plight: OutOfBandMessage, language: Language, wording: Wording) -> Script:
    goodbye = wording.say(language, "out_of_band.goodbye")
    return Script(
        language=language.value,
        blocks=wording.say_all(language, f"out_of_band.call.{plight.situation}", _spoken(plight, language)),
        menu=goodbye,
        thanks=goodbye,
        already=goodbye,
        goodbye=goodbye,
    )


def _spoken(plight: OutOfBandMessage, language: Language) -> Mapping[str, str]:
    at = spoken_at({_moment_of(plight): plight.at}, language)
    return {"agency_name": plight.office.name, "whose": plight.whose, **at}


def _moment_of(plight: OutOfBandMessage) -> str:
    return "ended" if plight.situation == "clear" else "began"
