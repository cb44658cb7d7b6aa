"""Compose an SMS, and prove beforehand that every SMS of an office can be sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from alerts.gateway import SmsContent
from alerts.notice import Facts, Language, Matter, Office, Plan, Purpose
from alerts.wording import values
from alerts.wording.key import ANNOUNCED, key
from alerts.wording.lint import Problem, errors, lint
from alerts.wording.texts import Wording

#: The longest notice number the texts leave room for.
NUMBER_ROOM = 8
#: 22 December, 12.58 in the afternoon, Malaysian time: as long as a moment gets in either language.
_LONGEST_MOMENT = datetime(2026, 12, 22, 4, 58, tzinfo=UTC)


class Unsendable(Exception):
    """No carrier in Malaysia would deliver this text. `worst_case` finds it before it matters."""

    def __init__(self, text_key: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(f"{text_key}: " + "; ".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem in one of an office's texts at its longest."""

    language: Language
    key: str
    text: str
    problem: Problem

    def __str__(self) -> str:
        return f"{self.key} ({self.language}): {self.problem}"


def compose(facts: Facts, language: Language, wording: Wording) -> SmsContent:
    """Return an SMS that carriers in Malaysia let through. Raise `Unsendable` when the office's name cannot fit.

    A subject that would break the rules (a host name looks like a link) is left out; the notice number leads to it.
    """
    text_key = f"sms.{key(facts)}"
    told = dict(values.for_sms(facts, language))
    text = wording.say(language, text_key, told)
    wrong = errors(lint(text, facts.office.short))
    if wrong and told["subject"]:
        text = wording.say(language, text_key, told | {"subject": ""})
        wrong = errors(lint(text, facts.office.short))
    if wrong:
        raise Unsendable(text_key, wrong)
    return SmsContent(text=text)


def worst_case(
    office: Office, wording: Wording, *, number: str = "N" * (NUMBER_ROOM - 3) + "-99"
) -> tuple[Finding, ...]:
    """Return what is wrong with any SMS of *office* at the longest moment and *number*; empty when all can be sent."""
    findings = []
    situations = {f"sms.{key(facts)}": facts for facts in _situations(office, number)}
    for text_key, facts in situations.items():
        for language in Language:
            text = wording.say(language, text_key, values.for_sms(facts, language))
            findings += [
                Finding(language=language, key=text_key, text=text, problem=problem)
                for problem in lint(text, office.short)
            ]
    return tuple(findings)


def _situations(office: Office, number: str) -> Iterator[Facts]:
    longest = Facts(
        purpose=Purpose.OUTAGE,
        plan=Plan.ESCALATION,
        matter=Matter.BOTH,
        office=office,
        number=number,
        began_at=_LONGEST_MOMENT,
        noticed_at=_LONGEST_MOMENT,
        ended_at=_LONGEST_MOMENT,
    )
    for plan in Plan:
        for purpose in Purpose:
            for matter in Matter if plan is Plan.ESCALATION else sorted(ANNOUNCED):
                yield replace(longest, plan=plan, purpose=purpose, matter=matter)
