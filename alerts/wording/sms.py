"""Compose an SMS, and prove beforehand that every SMS of an office can be sent."""

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

#: The longest notice number the texts leave room for.
NUMBER_ROOM = 8
#: More than 99 open incidents on one phone come as bundles.
_LONGEST_RESPONSE = "99A"
#: 22 December, 12.58 in the afternoon, Malaysian time: as long as a moment gets in either language.
_LONGEST_MOMENT = datetime(2026, 12, 22, 4, 58, tzinfo=UTC)

#: Stand in a text for the office's short name and the notice number. No wording holds them.
_SHORT, _NUMBER = "\ue000", "\ue001"
#: Stands there instead for what no rule minds.
_PLAIN = "N"
_MAYBE_DIGITS = re.compile(f"[\\d{_SHORT}{_NUMBER}-]*")

#: Placeholders that are names of people.
_PEOPLE = ("relieved", "by", "declared")

_WHOSE_CHILD = re.compile(r"\s+(?:bin|binti|bt|a/l|a/p|anak)\s", re.IGNORECASE)


class UnsendableTextError(Exception):
    """No carrier in Malaysia would deliver this text. `WorstCase` finds it before it matters."""

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
    """Return an SMS that carriers in Malaysia let through. Raise `UnsendableTextError` when the office's name cannot fit.

    *response*: the code by which the person can answer, or nothing. A subject that would break the rules (a host name
    looks like a link) is left out, and then the code: the notice number leads to the one, the telephone to the other. Why
    mail fails is said where there is room for it; a call always says it.
    """
    text_key, short = f"sms.{key(facts)}", facts.office.short
    told = {**values.for_sms(facts, language), **values.waits(facts, wording, language, "sms"), "response": response}
    told |= values.then([facts], wording, language, "sms")
    if not facts.declared_by and (why := values.cause(facts, wording, language, "sms")):
        text = wording.say(language, text_key, {**told, **why})
        if not lint(text, short):  # With room to spare: the code to answer by is worth more.
            return SmsContent(text=text)
    optional = ("relieved", "waits", "subject", "by", "declared", "response", "unreached")
    return _sendable(text_key, short, language, wording, told=told, optional=optional)


def answer(
    situation: str, language: Language, wording: Wording, told: values.Values, *, until: datetime | None = None
) -> SmsContent:
    """Return what to say to an officer who has sent an SMS. Raise `UnsendableTextError`.

    *situation*: one of the texts below `sms.response`. *told*: `agency`, and what that text needs. *until*: how long the
    acknowledgement stands. The name of whoever acknowledged is left out where it would keep the SMS from arriving.
    """
    told = {**told, "until": moment.stamp(until, language) if until else ""}
    return _sendable(f"sms.response.{situation}", told["agency"], language, wording, told=told, optional=("by",))


def _sendable(
    text_key: str, agency: str, language: Language, wording: Wording, *, told: values.Values, optional: Sequence[str]
) -> SmsContent:
    """Return a text without as many of the *optional* values, first ones first, as it takes to be sendable.

    Before that a name is cut short, also where some providers need the room: of "Siti binti Contoh" everybody knows "Siti",
    of "JCM-01 (Siti)" the number.
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
    """Return what a person is called without whose child they are: "Siti" of "Siti binti Contoh"."""
    return _WHOSE_CHILD.split(name, maxsplit=1)[0]


class WorstCase:
    """Every SMS of an office at the longest moment. Made once for all offices: they differ in two words only."""

    def __init__(self, wording: Wording) -> None:
        #: By language, key and text, with marks for the two words.
        self._texts: dict[tuple[Language, str, str], None] = {}
        marked = IssuingOffice(short=_SHORT, name=_SHORT, domain=_SHORT)
        situations = {f"sms.{key(facts)}": facts for facts in _situations(marked, _NUMBER)}
        for text_key, facts in situations.items():
            for language in Language:
                # The name of whoever had it is left out where it does not fit.
                told = {**values.for_sms(facts, language), **values.then([facts], wording, language, "sms"), "by": ""}
                # A text that has no room for the response is the same with it.
                for response in ("", _LONGEST_RESPONSE):
                    self._texts[language, text_key, wording.say(language, text_key, {**told, "response": response})] = (
                        None
                    )
        texts = [text for _, _, text in self._texts]
        #: Whether nothing but the two words can be wrong with any of them.
        self._sound = all(_SHORT in text and not lint(_unmarked(text), _PLAIN) for text in texts)
        #: All that stands next to a mark, and the room that is left to the marks, a text of its kind each.
        self._near = tuple(dict.fromkeys(near for text in texts for near in _near_marks(text)))
        self._room = {(septets(_unmarked(text, "")), text.count(_SHORT), text.count(_NUMBER)) for text in texts}

    def of(self, office: IssuingOffice, *, number: str = "N" * (NUMBER_ROOM - 3) + "-99") -> tuple[TextFinding, ...]:
        """Return what is wrong with any SMS of *office* at the longest *number*; empty when all can be sent."""
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
        """Whether nothing is wrong with any text, by what the two words change. To read them all takes ten times as long."""
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
    """Yield each word with a mark, and the words on either side as far as what the lint looks for may reach.

    A link has no blank in it, words that are blocked have one at most, and a telephone number goes on over words that are
    nothing but digits and hyphens.
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
        matter=IncidentType.BOTH,
        office=office,
        number=number,
        began_at=_LONGEST_MOMENT,
        noticed_at=_LONGEST_MOMENT,
        first_noticed_at=_LONGEST_MOMENT,
        ended_at=_LONGEST_MOMENT,
        heard_at=_LONGEST_MOMENT,
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
                yield replace(longest, plan=plan, purpose=purpose, matter=matter)
        for matter in sorted(CHANGED[plan]):
            yield replace(longest, plan=plan, purpose=Purpose.UPDATE, matter=matter, was=IncidentType.BOTH)
    yield replace(longest, unsteady=True)
    yield replace(longest, purpose=Purpose.CLOSED, by="-")
    yield replace(longest, purpose=Purpose.RESULT, unposted=999)
    yield from (replace(longest, matter=matter, by="-") for matter in IncidentType)
    yield from (replace(longest, purpose=Purpose.UPDATE, matter=matter) for matter in IncidentType)
    for matter in set(IncidentType) - OF_TELLING:
        yield replace(longest, purpose=Purpose.RECOVERY, matter=matter, first_noticed_at=None)
