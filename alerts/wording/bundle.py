"""SMS and calls that report several incidents at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain

from alerts.model.gateway import Script, SmsContent, VoiceContent
from alerts.model.notification import Facts, IncidentType, Language, Plan, Purpose
from alerts.wording import call, moment, spoken, values
from alerts.wording.key import ANNOUNCED, FOR_STAFF, key, news, recovered
from alerts.wording.lint import COMFORTABLE, LIMIT, errors, lint, septets
from alerts.wording.sms import UnsendableTextError, call_name
from alerts.wording.texts import Wording

#: More names never fit into an SMS, and trying them takes time.
_NAMED = 50
#: Names spoken in a call; nobody remembers more at three in the morning.
SPOKEN = 6
#: Types of incidents about notifications, of which there may be many at once. Named by the notification concerned.
_OF_NOTICES = frozenset({IncidentType.UNREACHED, IncidentType.DOUBTFUL, IncidentType.UNRELEASED})
#: Types of incidents that concern no agency.
_NUMBERED = frozenset({"ours", "alert", *map(str, _OF_NOTICES)})


def situation(facts: Sequence[Facts]) -> str:
    """Return the part of a text's key that the incidents of a bundle have in common.

    "mail", "sign_in", "degraded", "ours", "alert" or a type about notifications, after the plan and the purpose; an
    announcement is always about mail.
    """
    first = facts[0]
    if first.plan is Plan.ANNOUNCEMENT:
        return f"announcement.{first.purpose}"
    if first.purpose in FOR_STAFF or first.purpose is Purpose.UPDATE:
        return f"escalation.{news(first)}"
    if first.by:
        return "escalation.lapsed"
    matter = recovered(first.type) if first.purpose is Purpose.RECOVERY else first.type
    return f"escalation.{news(first)}.{_kind(matter)}"


def compose_sms(facts: Sequence[Facts], language: Language, wording: Wording, *, response: str = "") -> SmsContent:
    """Return an SMS that names as many agencies as fit; the portal has the rest.

    Raise `UnsendableTextError` when not even the first fits: `WorstCase` finds that when the texts are loaded.
    """
    alone = is_about_one(facts)
    text_key = f"bundle.sms.{'one.' * alone}{situation(facts)}"
    agency = facts[0].office.short
    names = _ended(facts, language) if alone else _names(facts)
    text = ""
    by = call_name(facts[0].by)
    for left_out in ({}, {"by": ""}, {"by": "", "response": ""}):
        told = {"by": by, "response": response, **left_out, **values.then(facts, wording, language, "sms")}
        texts = [
            wording.say(language, text_key, for_sms(facts, language, names[:count], len(names)) | told)
            for count in range(min(len(names), _NAMED), 0, -1)
        ]
        # Some providers add a few septets: rather one name less than a message in two parts.
        for room in (COMFORTABLE, LIMIT):
            for text in texts:
                if septets(text) <= room and not errors(lint(text, agency)):
                    return SmsContent(text=text)
    raise UnsendableTextError(text_key, lint(text, agency))


def compose_call(
    facts: Sequence[Facts], language: Language, wording: Wording, *, may_release: bool = False
) -> VoiceContent:
    """Return two scripts: *language* first, the other for key 3. One key acknowledges all.

    *may_release*: key 5 starts the release of all that wait.
    """
    plan, purpose = facts[0].plan, facts[0].purpose
    closing = "call.release.closing" if may_release else "call.closing"

    def script_in(each: Language) -> Script:
        asks = plan is Plan.ESCALATION and purpose is Purpose.OUTAGE
        return call.script(
            facts[0],
            each,
            wording,
            headline=_headline(facts, each, wording),
            blocks=tuple(_blocks(facts, each, wording, closing)),
            unkeyed=wording.say(each, "call.unkeyed.outage") if asks else "",
            may_release=may_release,
        )

    return call.in_both(language, script_in)


def is_about_one(facts: Sequence[Facts]) -> bool:
    """Whether the bundle has several ended outages of one agency, with common numbers and times only."""
    same = len({each.office.short for each in facts}) == 1 and _kind(facts[0].type) not in _NUMBERED
    same = same and facts[0].purpose is not Purpose.RESULT
    return same and all(each.ended_at is not None for each in facts)


def _ended(facts: Sequence[Facts], language: Language) -> Sequence[str]:
    """Return number and duration of each outage: "JCM-02 (24/11, 2.15 ptg-2.20 ptg)"."""
    return [f"{each.number} ({moment.span(each.began_at, each.ended_at, language)})" for each in facts if each.ended_at]


def _kind(matter: IncidentType) -> str:
    if matter in ANNOUNCED:
        return "mail"
    return (
        str(matter)
        if matter in {IncidentType.SIGN_IN, IncidentType.DEGRADED, IncidentType.ALERT, *_OF_NOTICES}
        else "ours"
    )


def _names(facts: Sequence[Facts]) -> Sequence[str]:
    """Return the names of the incidents: their agencies, each once, or their numbers.

    For a release with failed notifications, the agencies that have some.
    """
    facts = [each for each in facts if each.undelivered] or facts
    return list(dict.fromkeys(_name(each) for each in facts))


def _name(facts: Facts) -> str:
    if facts.type is IncidentType.DOUBTFUL and facts.subject:
        return facts.subject  # Number of the notification, and that of its incident in brackets.
    if facts.type in _OF_NOTICES and facts.subject:
        return facts.subject.partition(" (")[0]
    return facts.number if _kind(facts.type) in _NUMBERED else facts.office.short


def for_sms(facts: Sequence[Facts], language: Language, names: Sequence[str], count: int) -> dict[str, str]:
    """Return the values for an SMS that names these of *count*."""
    return {
        "agency": facts[0].office.short,
        "number": facts[0].number,
        "count": str(count),
        "names": ", ".join(names),
        "more": str(count - len(names)) if count > len(names) else "",
        **values.result(facts),
        **{name: moment.stamp(at, language) for name, at in _moments(facts).items()},
    }


def for_call(facts: Sequence[Facts], language: Language) -> Mapping[str, str]:
    """Return the values for speech: numbers and times as words."""
    spelled = _kind(facts[0].type) in _NUMBERED - {"alert"}
    names = [spoken.letters(n, language) for n in _names(facts)] if spelled else _full_names(facts)
    told = {
        **values.result(facts),
        "count": spoken.number(len(names), language),
        "names": "; ".join(names[:SPOKEN]),
        "more": spoken.number(len(names) - SPOKEN, language) if len(names) > SPOKEN else "",
        "number": spoken.letters(facts[0].number, language),
        "by": facts[0].by,
    }
    return values.on_one_line(told | values.spoken_at(_moments(facts), language))


def _moments(facts: Sequence[Facts]) -> Mapping[str, datetime]:
    """Return start and end that apply to all of them."""
    moments = {"began": min(each.began_at for each in facts)}
    for name, at, pick in (
        ("ended", [each.ended_at for each in facts], max),
        ("handed" if facts[0].escalated else "heard", [each.last_response_at for each in facts], max),
        ("until", [each.until for each in facts], min),
    ):
        if known := [each for each in at if each is not None]:
            moments[name] = pick(known)
    return moments


def _full_names(facts: Sequence[Facts]) -> list[str]:
    facts = [each for each in facts if each.undelivered] or facts
    return list(dict.fromkeys(each.office.name for each in facts))


def _headline(facts: Sequence[Facts], language: Language, wording: Wording) -> str:
    """Return the headline; for several outages of one agency, how the last one ended."""
    plan = facts[0].plan
    if is_about_one(facts):
        last = max(facts, key=lambda each: each.ended_at or each.began_at)
        told = values.for_call(last, language)
        opening = wording.say(language, f"call.opening.{plan}", told)
        return f"{opening} {wording.say(language, f'call.headline.{key(last)}', told)}"
    opening = wording.say(language, f"bundle.call.opening.{plan}")
    headline = wording.say(language, f"bundle.call.headline.{situation(facts)}", for_call(facts, language))
    return f"{opening} {headline}"


def _blocks(facts: Sequence[Facts], language: Language, wording: Wording, closing: str) -> Iterator[str]:
    if is_about_one(facts):
        yield from _blocks_about_one(facts, language, wording)
        return
    told = {**for_call(facts, language), **values.then(facts, wording, language, "call")}
    yield from wording.say_all(language, f"bundle.call.{situation(facts)}", told)
    yield from wording.say_all(language, "bundle.call.names", told)
    yield from wording.say_all(language, closing, told)


def _blocks_about_one(facts: Sequence[Facts], language: Language, wording: Wording) -> Iterator[str]:
    """Yield what a call says about each incident, with common parts once."""
    told = [values.for_call(each, language) for each in facts]
    said = [wording.say_all(language, f"call.{key(each)}", of_it) for each, of_it in zip(facts, told, strict=True)]
    happened, to_do = (sentences[:1] for sentences in said), (sentences[1:] for sentences in said)
    yield from dict.fromkeys(chain.from_iterable((*happened, *to_do)))
    numbers = "; ".join(of_it["number"] for of_it in told)
    yield from wording.say_all(language, "call.closing", {**told[0], "number": numbers})
