"""Check of an SMS against the rules of Malaysian carriers.

Since 1 September 2024 carriers silently drop an SMS with a link, a telephone number or a request for personal data
(directive of the regulator, which includes enterprise short codes). They replace the sender by a short code, so the
text must contain the agency's name, and a free message must begin with RM0. A text that breaks a rule would be "sent"
and never arrive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

#: Default alphabet of GSM-7 (3GPP TS 23.038), without the escape (0x1B), which is not a character.
_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
#: Characters that take two septets.
_EXTENDED = frozenset("\f^{}\\[~]|€")

#: Maximum septets of one message. A longer text is split into parts of 153 septets, and each part is charged.
LIMIT = 160
#: Length that is safe with all providers: for a longer text one provider adds no "RM0", another has no room for the
#: code that it adds.
SAFE_LENGTH = 153
#: Marks an SMS as free for the recipient.
PREFIX = "RM0 "

_LINK = re.compile(r"https?|\bwww|://|@|[A-Za-z0-9-]+\.(?:[A-Za-z]{2,}|\d+[A-Za-z])|\d+\.\d+\.\d+", re.IGNORECASE)
_DIGITS = re.compile(r"\d[\d -]{5,}\d")
#: An agency's code or an incident number: JBA1001, PPD01-9999. A telephone number has no letter.
_CODE = re.compile(r"(?<![\w-])[A-Z\d]+(?:-\d+)?(?![\w-])", re.ASCII)
#: A code with this many digits is rejected too, because filters may count digits across letters and hyphens.
_MIN_TELEPHONE_DIGITS = 7
_BLOCKED_WORDS = re.compile(
    r"\b(?:kata laluan|kad pengenalan|akaun bank|klik|pautan|password|identity card|bank account|click|link)\b",
    re.IGNORECASE,
)
_HELP = re.compile(r"\bhelp\b", re.IGNORECASE)


class TextSeverity(StrEnum):
    """Severity of a problem."""

    #: Should be reworded, but may be sent.
    WARNING = "warning"
    #: Must not be sent.
    ERROR = "error"


class Rule(StrEnum):
    """A rule of the check."""

    PREFIX = "prefix"
    AGENCY = "agency"
    CHARACTERS = "characters"
    LENGTH = "length"
    LINK = "link"
    DIGITS = "digits"
    WORDS = "words"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextProblem:
    """A violation; `detail` says what to write instead."""

    rule: Rule
    severity: TextSeverity
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


def septets(text: str) -> int:
    """Return the number of septets of *text*. A character outside GSM-7 counts as one; `lint` rejects it."""
    return len(text) if _EXTENDED.isdisjoint(text) else len(text) + sum(character in _EXTENDED for character in text)


def lint(text: str, agency: str) -> tuple[TextProblem, ...]:
    """Return the problems of an SMS, which must name *agency*. Unless one is an ERROR, the SMS may be sent."""
    return (*_check_form(text, agency), *blocked_content(text))


def errors(problems: tuple[TextProblem, ...]) -> tuple[TextProblem, ...]:
    """Return the problems that forbid sending."""
    return tuple(problem for problem in problems if problem.severity is TextSeverity.ERROR)


def _check_form(text: str, agency: str) -> tuple[TextProblem, ...]:
    problems = []
    if not text.startswith(PREFIX):
        problems.append(_error(Rule.PREFIX, f"the text must begin with '{PREFIX}'"))
    if not agency.strip() or agency not in text:
        problems.append(
            _error(Rule.AGENCY, "the agency's short name must be in the text, since the sender is replaced")
        )
    unsupported = sorted(set(text) - _BASIC - _EXTENDED)
    if unsupported:
        listed = " ".join(f"{character!r}" for character in unsupported)
        problems.append(_error(Rule.CHARACTERS, f"GSM-7 lacks {listed}; write plain letters, quotes and hyphens"))
    length = septets(text)
    if length > LIMIT:
        problems.append(_error(Rule.LENGTH, f"{length} septets; shorten the text by {length - LIMIT}"))
    elif length > SAFE_LENGTH:
        problems.append(
            TextProblem(
                rule=Rule.LENGTH,
                severity=TextSeverity.WARNING,
                detail=f"{length} septets fit, but some providers need {length - SAFE_LENGTH} fewer",
            )
        )
    return tuple(problems)


def blocked_content(text: str) -> tuple[TextProblem, ...]:
    """Return the problems of the content alone: links, telephone numbers, and blocked words."""
    problems = []
    if match := _LINK.search(text):
        problems.append(
            _error(Rule.LINK, f"'{match[0]}' looks like a link; leave it out, and put a space after a full stop")
        )
    if match := _find_telephone_number(text):
        problems.append(
            _error(Rule.DIGITS, f"'{match[0]}' looks like a telephone number; say it by voice, fax or letter")
        )
    if match := _BLOCKED_WORDS.search(text):
        problems.append(_error(Rule.WORDS, f"'{match[0]}' is blocked as a request for personal data; leave it out"))
    if match := _HELP.search(text):
        problems.append(
            TextProblem(
                rule=Rule.WORDS,
                severity=TextSeverity.WARNING,
                detail=f"'{match[0]}' is a command word of some providers; write INFO",
            )
        )
    return tuple(problems)


def _find_telephone_number(text: str) -> re.Match[str] | None:
    """Return the first run of digits that looks like a telephone number.

    A run with few digits does not look like one if it is part of an agency's code or an incident number.
    """
    runs = list(_DIGITS.finditer(text))
    codes = [code.span() for code in _CODE.finditer(text)] if runs else []
    for run in runs:
        is_short = sum(character.isdecimal() for character in run[0]) < _MIN_TELEPHONE_DIGITS
        if not (is_short and any(first < run.start() and run.end() <= last for first, last in codes)):
            return run
    return None


def _error(rule: Rule, detail: str) -> TextProblem:
    return TextProblem(rule=rule, severity=TextSeverity.ERROR, detail=detail)
