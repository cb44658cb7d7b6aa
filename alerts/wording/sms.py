"""Text of an SMS, and a check that every SMS of an office can be sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from alerts.model.gateway import SmsContent
from alerts.model.notification import ABOUT_NOTIFICATIONS, Facts, IncidentType, IssuingOffice, Language, Plan, Purpose
from alerts.wording import moment, values
from alerts.wording.key import ANNOUNCED, CHANGED_TYPES, FOR_STAFF, situation_key
from alerts.wording.lint import PREFIX, SAFE_LENGTH, TextProblem, blocked_content, errors, lint, septets
from alerts.wording.texts import Wording

#: Length of the longest incident number ("JKR-07") that the texts have room for.
NUMBER_ROOM = 8
#: The longest response code: the number of a notification on this phone, and the letter of the answer. Notifications
#: are bundled before a phone has 100 of them open.
_LONGEST_RESPONSE = "99A"
#: The time whose text is the longest in both languages: 12.58 pm on 22 December in Malaysia.
_LONGEST_MOMENT = datetime(2026, 12, 22, 4, 58, tzinfo=UTC)

#: Stand for the office's short name and the incident number: private-use characters, which no wording contains.
#: `WorstCase` calls these two the placeholders.
_SHORT_NAME_MARK, _NUMBER_MARK = "\ue000", "\ue001"
#: No rule rejects this word. It replaces both placeholders where only the rest of the text is checked.
_HARMLESS_WORD = "N"
_COULD_BE_DIGITS = re.compile(f"[\\d{_SHORT_NAME_MARK}{_NUMBER_MARK}-]*")

#: Placeholders that hold names of people.
_PEOPLE = ("relieved", "by", "declared")

_PATRONYMIC = re.compile(r"\s+(?:bin|binti|bt|a/l|a/p|anak)\s", re.IGNORECASE)


class UnsendableTextError(Exception):
    """No carrier in Malaysia would deliver the text. `WorstCase` finds such texts when the configuration is loaded."""

    def __init__(self, text_key: str, problems: tuple[TextProblem, ...]) -> None:
        super().__init__(f"{text_key}: " + "; ".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFinding:
    """A problem in one of an office's texts with its longest values."""

    language: Language
    key: str
    text: str
    problem: TextProblem

    def __str__(self) -> str:
        return f"{self.key} ({self.language}): {self.problem}"


def compose(facts: Facts, language: Language, wording: Wording, *, response: str = "") -> SmsContent:
    """Return an SMS that carriers in Malaysia deliver. Raise `UnsendableTextError` when the office's name does not fit.

    *response*: the code with which the reader replies, or "". The cause is included if it fits; a call always contains
    it. If the text breaks a rule (a host name in the subject looks like a link), optional values are left out one after
    another. Among the last is the response code, although the recipient could also look up the number and answer by
    telephone.
    """
    text_key, short_name = f"sms.{situation_key(facts)}", facts.office.short
    values_by_name = {
        **values.for_sms(facts, language),
        **values.pending_release(facts, wording, language, "sms"),
        "response": response,
    }
    values_by_name |= values.next_step([facts], wording, language, "sms")
    # The texts state either the person who declared the outage or the cause.
    if not facts.declared_by and (cause_text := values.failure_cause(facts, wording, language, "sms")):
        text = wording.render(language, text_key, {**values_by_name, **cause_text})
        # A warning is enough to leave out the cause: the response code is more important.
        if not lint(text, short_name):
            return SmsContent(text=text)
    optional = ("relieved", "waits", "subject", "by", "declared", "response", "unreached")
    return _shorten_until_sendable(
        text_key, short_name, language, wording, values_by_name=values_by_name, optional=optional
    )


def compose_reply(
    situation: str,
    language: Language,
    wording: Wording,
    values_by_name: values.Values,
    *,
    stated_time: datetime | None = None,
) -> SmsContent:
    """Return the reply to an officer's SMS. Raise `UnsendableTextError`.

    *situation*: end of the text's key, such as "taken" for `sms.response.taken`. *values_by_name*: `agency`, and the
    values of that text. *stated_time*: end of the acknowledgement, or the next notification to staff. The name of the
    assignee is left out if it would prevent delivery.
    """
    values_by_name = {**values_by_name, "until": moment.stamp(stated_time, language) if stated_time else ""}
    return _shorten_until_sendable(
        f"sms.response.{situation}",
        values_by_name["agency"],
        language,
        wording,
        values_by_name=values_by_name,
        optional=("by",),
    )


def _shorten_until_sendable(
    text_key: str,
    agency: str,
    language: Language,
    wording: Wording,
    *,
    values_by_name: values.Values,
    optional: Sequence[str],
) -> SmsContent:
    """Return a text that can be sent. Raise `UnsendableTextError`.

    Names of people are shortened ("Siti binti Contoh" to "Siti") if the text is longer than `SAFE_LENGTH`. Then the
    *optional* values are removed in their order, as few as possible. A bracket is removed before its value: "JCM-01
    (Siti)" becomes "JCM-01".
    """
    problems: tuple[TextProblem, ...] = ()
    remaining = dict(values_by_name)
    for name in _PEOPLE:
        if remaining.get(name) and septets(wording.render(language, text_key, remaining)) > SAFE_LENGTH:
            remaining[name] = call_name(remaining[name])
    if remaining.get("relieved") and septets(wording.render(language, text_key, remaining)) > SAFE_LENGTH:
        remaining["relieved"] = ""
    for name in ("", *optional):  # "" is no placeholder: the first text has all values.
        for value in (remaining.get(name, "").partition(" (")[0], ""):
            remaining[name] = value
            text = wording.render(language, text_key, remaining)
            if not (problems := errors(lint(text, agency))):
                return SmsContent(text=text)
    raise UnsendableTextError(text_key, problems)


def call_name(name: str) -> str:
    """Return a person's name without the patronymic: "Siti" of "Siti binti Contoh"."""
    return _PATRONYMIC.split(name, maxsplit=1)[0]


class WorstCase:
    """Check of every SMS of an office with the longest values.

    The texts are rendered once for all offices, because they differ only in two words: the short name and the incident
    number.
    """

    def __init__(self, wording: Wording) -> None:
        #: Language, key and text, with placeholders for the two words. The dict is an ordered set.
        self._texts: dict[tuple[Language, str, str], None] = {}
        placeholder_office = IssuingOffice(short=_SHORT_NAME_MARK, name=_SHORT_NAME_MARK, domain=_SHORT_NAME_MARK)
        situations = {f"sms.{situation_key(facts)}": facts for facts in _situations(placeholder_office, _NUMBER_MARK)}
        for text_key, facts in situations.items():
            for language in Language:
                # The name of the previous assignee is left out where it does not fit.
                values_by_name = {
                    **values.for_sms(facts, language),
                    **values.next_step([facts], wording, language, "sms"),
                    "by": "",
                }
                # A text that asks for no reply ignores the response code.
                for response in ("", _LONGEST_RESPONSE):
                    self._texts[
                        language, text_key, wording.render(language, text_key, {**values_by_name, "response": response})
                    ] = None
        texts = [text for _, _, text in self._texts]
        #: Whether no text breaks a rule, apart from the two words.
        self._other_rules_pass = all(
            _SHORT_NAME_MARK in text and not lint(_without_placeholders(text), _HARMLESS_WORD) for text in texts
        )
        #: Each placeholder with its neighbouring words.
        self._contexts = tuple(dict.fromkeys(context for text in texts for context in _placeholder_contexts(text)))
        #: Septets of each text without the two words, and how often each of them occurs.
        self._sizes = {
            (septets(_without_placeholders(text, "")), text.count(_SHORT_NAME_MARK), text.count(_NUMBER_MARK))
            for text in texts
        }

    def find_problems(
        self, office: IssuingOffice, *, number: str = "N" * (NUMBER_ROOM - 3) + "-99"
    ) -> tuple[TextFinding, ...]:
        """Return the problems of any SMS of *office* with the longest *number*; empty if all can be sent."""
        if self._is_sendable(office.short, number):
            return ()
        findings: list[TextFinding] = []
        for language, text_key, template_text in self._texts:
            text = _fill_placeholders(template_text, office.short, number)
            problems = [
                TextFinding(language=language, key=text_key, text=text, problem=problem)
                for problem in lint(text, office.short)
            ]
            findings += [finding for finding in problems if finding not in findings]
        return tuple(findings)

    def _is_sendable(self, short_name: str, number: str) -> bool:
        """Whether no text has a problem, judged by the two words alone.

        `False` means that `find_problems` must check all texts, which is ten times as slow.
        """
        longest = max(
            rest + short_name_count * septets(short_name) + number_count * septets(number)
            for rest, short_name_count, number_count in self._sizes
        )
        if not self._other_rules_pass or longest > SAFE_LENGTH:
            return False
        text = "\n".join(self._contexts)
        return not lint(f"{PREFIX}{short_name} {number}", short_name) and not blocked_content(
            _fill_placeholders(text, short_name, number)
        )


def _fill_placeholders(template_text: str, short: str, number: str) -> str:
    return template_text.replace(_SHORT_NAME_MARK, short).replace(_NUMBER_MARK, number)


def _without_placeholders(text: str, plain: str = _HARMLESS_WORD) -> str:
    return _fill_placeholders(text, plain, plain)


def _placeholder_contexts(text: str) -> Iterator[str]:
    """Yield each placeholder with the neighbouring words that a rule could match together with it.

    A link contains no blank and a blocked phrase at most one, so one word on either side is enough. A telephone number
    may continue over words of digits and hyphens, which are included.
    """
    words = text.split(" ")
    for index, word in enumerate(words):
        if _SHORT_NAME_MARK in word or _NUMBER_MARK in word:
            first, last = index - 1, index + 1
            while first > 0 and _COULD_BE_DIGITS.fullmatch(words[first]):
                first -= 1
            while last < len(words) - 1 and _COULD_BE_DIGITS.fullmatch(words[last]):
                last += 1
            yield " ".join(words[max(first, 0) : last + 1])


def _situations(office: IssuingOffice, number: str) -> Iterator[Facts]:
    """Yield facts with the longest values for every text of an SMS."""
    longest = Facts(
        purpose=Purpose.OUTAGE,
        plan=Plan.ESCALATION,
        type=IncidentType.BOTH,
        office=office,
        number=number,
        began_at=_LONGEST_MOMENT,
        notified_at=_LONGEST_MOMENT,
        first_notified_at=_LONGEST_MOMENT,
        ended_at=_LONGEST_MOMENT,
        last_response_at=_LONGEST_MOMENT,
        until=_LONGEST_MOMENT,
        arrived=999,
        undelivered=("",) * 999,
    )
    for plan in Plan:
        is_to_staff = plan is Plan.ESCALATION
        # Updates to staff follow below.
        excluded_purposes = {Purpose.UPDATE} if is_to_staff else FOR_STAFF
        for purpose in Purpose:
            if purpose in excluded_purposes:
                continue
            for incident_type in IncidentType if is_to_staff else sorted(ANNOUNCED):
                yield replace(longest, plan=plan, purpose=purpose, type=incident_type)
        for incident_type in sorted(CHANGED_TYPES[plan]):
            yield replace(
                longest, plan=plan, purpose=Purpose.UPDATE, type=incident_type, previous_type=IncidentType.BOTH
            )
    yield replace(longest, flapping=True)
    yield replace(longest, purpose=Purpose.CLOSED, by="-")
    yield replace(longest, purpose=Purpose.RESULT, unposted=999)
    yield from (replace(longest, type=incident_type, by="-") for incident_type in IncidentType)
    yield from (replace(longest, purpose=Purpose.UPDATE, type=incident_type) for incident_type in IncidentType)
    for incident_type in set(IncidentType) - ABOUT_NOTIFICATIONS:
        yield replace(longest, purpose=Purpose.RECOVERY, type=incident_type, first_notified_at=None)
