"""Text of an SMS, and a check that every SMS of an office can be sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from alerts.model.gateway import SmsContent
from alerts.model.notification import OF_TELLING, Facts, IncidentType, IssuingOffice, Language, Plan, Purpose
from alerts.wording import moment, values
from alerts.wording.key import ANNOUNCED, CHANGED, FOR_STAFF, key
from alerts.wording.lint import COMFORTABLE, PREFIX, TextProblem, errors, lint, septets, substance
from alerts.wording.texts import Wording

#: The longest notification number that the texts have room for.
NUMBER_ROOM = 8
#: More than 99 open incidents on one phone are bundled.
_LONGEST_RESPONSE = "99A"
#: 22 December, 12.58 pm in Malaysia: the longest time in either language.
_LONGEST_MOMENT = datetime(2026, 12, 22, 4, 58, tzinfo=UTC)

#: Placeholders for the office's short name and the notification number. No wording contains them.
_SHORT, _NUMBER = "\ue000", "\ue001"
#: Replacement that no rule rejects.
_PLAIN = "N"
_MAYBE_DIGITS = re.compile(f"[\\d{_SHORT}{_NUMBER}-]*")

#: Placeholders that hold names of people.
_PEOPLE = ("relieved", "by", "declared")

_WHOSE_CHILD = re.compile(r"\s+(?:bin|binti|bt|a/l|a/p|anak)\s", re.IGNORECASE)


class UnsendableTextError(Exception):
    """No carrier in Malaysia would deliver this text. `WorstCase` detects it when the configuration is loaded."""

    def __init__(self, text_key: str, problems: tuple[TextProblem, ...]) -> None:
        super().__init__(f"{text_key}: " + "; ".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFinding:
    """A problem in one of an office's texts at its longest."""

    language: Language
    key: str
    text: str
    problem: TextProblem

    def __str__(self) -> str:
        return f"{self.key} ({self.language}): {self.problem}"


def compose(facts: Facts, language: Language, wording: Wording, *, response: str = "") -> SmsContent:
    """Return an SMS that carriers in Malaysia deliver. Raise `UnsendableTextError` when the office's name does not fit.

    *response*: the code of a reply, or "". A subject that breaks the rules (a host name looks like a link) is left out,
    then the code: the notification number replaces the one, a telephone call the other. The cause is included if it
    fits; a call always contains it.
    """
    text_key, short = f"sms.{key(facts)}", facts.office.short
    told = {**values.for_sms(facts, language), **values.waits(facts, wording, language, "sms"), "response": response}
    told |= values.then([facts], wording, language, "sms")
    if not facts.declared_by and (why := values.cause(facts, wording, language, "sms")):
        text = wording.say(language, text_key, {**told, **why})
        if not lint(text, short):  # Only with room to spare: the response code is more important.
            return SmsContent(text=text)
    optional = ("relieved", "waits", "subject", "by", "declared", "response", "unreached")
    return _sendable(text_key, short, language, wording, told=told, optional=optional)


def answer(
    situation: str, language: Language, wording: Wording, told: values.Values, *, until: datetime | None = None
) -> SmsContent:
    """Return the reply to an officer's SMS. Raise `UnsendableTextError`.

    *situation*: a text below `sms.response`. *told*: `agency`, and the values of that text. *until*: end of the
    acknowledgement. The name of the assignee is left out if it would prevent delivery.
    """
    told = {**told, "until": moment.stamp(until, language) if until else ""}
    return _sendable(f"sms.response.{situation}", told["agency"], language, wording, told=told, optional=("by",))


def _sendable(
    text_key: str, agency: str, language: Language, wording: Wording, *, told: values.Values, optional: Sequence[str]
) -> SmsContent:
    """Return a text with as few *optional* values removed, in their order, as it takes to be sendable.

    Names are shortened first, also to leave room for the provider: "Siti" is enough of "Siti binti Contoh", and the
    number of "JCM-01 (Siti)".
    """
    wrong: tuple[TextProblem, ...] = ()
    left = dict(told)
    for name in _PEOPLE:
        if left.get(name) and septets(wording.say(language, text_key, left)) > COMFORTABLE:
            left[name] = call_name(left[name])
    if left.get("relieved") and septets(wording.say(language, text_key, left)) > COMFORTABLE:
        left["relieved"] = ""
    for name in ("", *optional):
        for short in (left.get(name, "").partition(" (")[0], ""):
            left[name] = short
            text = wording.say(language, text_key, left)
            if not (wrong := errors(lint(text, agency))):
                return SmsContent(text=text)
    raise UnsendableTextError(text_key, wrong)


def call_name(name: str) -> str:
    """Return a person's name without the patronymic: "Siti" of "Siti binti Contoh"."""
    return _WHOSE_CHILD.split(name, maxsplit=1)[0]


class WorstCase:
    """Every SMS of an office with the longest values. Created once for all offices, which differ in two words only."""

    def __init__(self, wording: Wording) -> None:
        #: By language, key and text, with placeholders for the two words.
        self._texts: dict[tuple[Language, str, str], None] = {}
        marked = IssuingOffice(short=_SHORT, name=_SHORT, domain=_SHORT)
        situations = {f"sms.{key(facts)}": facts for facts in _situations(marked, _NUMBER)}
        for text_key, facts in situations.items():
            for language in Language:
                # The name of the previous assignee is left out where it does not fit.
                told = {**values.for_sms(facts, language), **values.then([facts], wording, language, "sms"), "by": ""}
                # A text without room for the response code is the same with it.
                for response in ("", _LONGEST_RESPONSE):
                    self._texts[language, text_key, wording.say(language, text_key, {**told, "response": response})] = (
                        None
                    )
        texts = [text for _, _, text in self._texts]
        #: Whether only the two words can break a rule.
        self._sound = all(_SHORT in text and not lint(_unmarked(text), _PLAIN) for text in texts)
        #: The surroundings of each placeholder, and the room left for the words, once per kind of text.
        self._near = tuple(dict.fromkeys(near for text in texts for near in _near_marks(text)))
        self._room = {(septets(_unmarked(text, "")), text.count(_SHORT), text.count(_NUMBER)) for text in texts}

    def of(self, office: IssuingOffice, *, number: str = "N" * (NUMBER_ROOM - 3) + "-99") -> tuple[TextFinding, ...]:
        """Return the problems of any SMS of *office* with the longest *number*; empty if all can be sent."""
        if self._is_clear(office.short, number):
            return ()
        findings: list[TextFinding] = []
        for language, text_key, marked in self._texts:
            text = _filled(marked, office.short, number)
            found = [
                TextFinding(language=language, key=text_key, text=text, problem=p) for p in lint(text, office.short)
            ]
            findings += [finding for finding in found if finding not in findings]
        return tuple(findings)

    def _is_clear(self, short: str, number: str) -> bool:
        """Whether no text has a problem, by the two words alone. A full check takes ten times as long."""
        longest = max(rest + s * septets(short) + n * septets(number) for rest, s, n in self._room)
        if not self._sound or longest > COMFORTABLE:
            return False
        near = "\n".join(self._near)
        return not lint(f"{PREFIX}{short} {number}", short) and not substance(_filled(near, short, number))


def _filled(marked: str, short: str, number: str) -> str:
    return marked.replace(_SHORT, short).replace(_NUMBER, number)


def _unmarked(text: str, plain: str = _PLAIN) -> str:
    return _filled(text, plain, plain)


def _near_marks(text: str) -> Iterator[str]:
    """Yield each placeholder with the words on either side, as far as a rule may reach.

    A link contains no blank, blocked phrases contain one at most, and a telephone number may continue over words of
    digits and hyphens.
    """
    words = text.split(" ")
    for place, word in enumerate(words):
        if _SHORT in word or _NUMBER in word:
            first, last = place - 1, place + 1
            while first > 0 and _MAYBE_DIGITS.fullmatch(words[first]):
                first -= 1
            while last < len(words) - 1 and _MAYBE_DIGITS.fullmatch(words[last]):
                last += 1
            yield " ".join(words[max(first, 0) : last + 1])


def _situations(office: IssuingOffice, number: str) -> Iterator[Facts]:
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
        staff = plan is Plan.ESCALATION
        for purpose in Purpose:
            if purpose is Purpose.UPDATE if staff else purpose in FOR_STAFF:
                continue
            for matter in IncidentType if staff else sorted(ANNOUNCED):
                yield replace(longest, plan=plan, purpose=purpose, type=matter)
        for matter in sorted(CHANGED[plan]):
            yield replace(longest, plan=plan, purpose=Purpose.UPDATE, type=matter, previous_type=IncidentType.BOTH)
    yield replace(longest, flapping=True)
    yield replace(longest, purpose=Purpose.CLOSED, by="-")
    yield replace(longest, purpose=Purpose.RESULT, unposted=999)
    yield from (replace(longest, type=matter, by="-") for matter in IncidentType)
    yield from (replace(longest, purpose=Purpose.UPDATE, type=matter) for matter in IncidentType)
    for matter in set(IncidentType) - OF_TELLING:
        yield replace(longest, purpose=Purpose.RECOVERY, type=matter, first_notified_at=None)
