"""Texts of out-of-band alerts: SMS and calls to the operations centre (NOC) when Pantau itself fails.

They need no database, so they have no incident number. Each is short, in Malay and English.
"""

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

#: Situations, as in the texts' keys: the database is unavailable, another process sends no heartbeat, either has ended.
SITUATIONS = ("store", "peer", "clear")

#: The time whose text is the longest: see `alerts.wording.sms`.
_LONGEST_MOMENT = datetime(2026, 12, 22, 4, 58, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfBandMessage:
    """An out-of-band alert."""

    #: One of `SITUATIONS`.
    situation: str
    #: Recipient and sender.
    office: IssuingOffice
    #: When the problem began; for "clear", when it ended.
    at: datetime
    #: Name of the process concerned, or "".
    process: str = ""


def sms(message: OutOfBandMessage, wording: Wording) -> SmsContent:
    """Return one SMS with the text in both languages. A process name that looks like a link to carriers is left out."""
    text = _text(message, wording, message.process)
    if message.process and lint(text, message.office.short):
        text = _text(message, wording, "")
    return SmsContent(text=text)


def call(message: OutOfBandMessage, wording: Wording) -> VoiceContent:
    """Return a call in Malay and English. It accepts no key: without the database no answer can be stored."""
    return VoiceContent(scripts=tuple(_script(message, language, wording) for language in Language))


def find_problems(office: IssuingOffice, wording: Wording) -> tuple[tuple[str, TextProblem], ...]:
    """Return the problems of the SMS with the longest time, each with the text's key; empty if all can be sent."""
    problems = []
    for situation in SITUATIONS:
        text = sms(OutOfBandMessage(situation=situation, office=office, at=_LONGEST_MOMENT), wording).text
        problems += [(f"out_of_band.sms.{situation}", problem) for problem in lint(text, office.short)]
    return tuple(problems)


def _text(message: OutOfBandMessage, wording: Wording, process: str) -> str:
    """Return the SMS with *process*, the name for the placeholder {whose}, or without a name if *process* is ""."""
    halves = [
        wording.render(
            language,
            f"out_of_band.sms.{message.situation}",
            {_time_placeholder(message): moment.stamp(message.at, language), "whose": process},
        )
        for language in (Language.MALAY, Language.ENGLISH)
    ]
    return f"RM0 {message.office.short}: {' '.join(halves)}"


def _script(message: OutOfBandMessage, language: Language, wording: Wording) -> Script:
    goodbye = wording.render(language, "out_of_band.goodbye")
    return Script(
        language=language.value,
        blocks=wording.render_all(language, f"out_of_band.call.{message.situation}", _spoken(message, language)),
        menu=goodbye,
        thanks=goodbye,
        already=goodbye,
        goodbye=goodbye,
    )


def _spoken(message: OutOfBandMessage, language: Language) -> Mapping[str, str]:
    at = spoken_at({_time_placeholder(message): message.at}, language)
    return {"agency_name": message.office.name, "whose": message.process, **at}


def _time_placeholder(message: OutOfBandMessage) -> str:
    return "ended" if message.situation == "clear" else "began"
