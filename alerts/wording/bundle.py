"""Texts of bundles. A bundle is one SMS or call that reports several incidents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from alerts.model.gateway import Script, SmsContent, VoiceContent
from alerts.model.notification import Facts, IncidentType, Language, Plan, Purpose
from alerts.wording import call, moment, spoken, values
from alerts.wording.key import ANNOUNCED, FOR_STAFF, occasion, recovery_type, situation_key
from alerts.wording.lint import LIMIT, SAFE_LENGTH, errors, lint, septets
from alerts.wording.sms import UnsendableTextError, call_name
from alerts.wording.texts import Wording

#: More names never fit into an SMS, and trying them takes time.
_MAX_NAMES_IN_SMS = 50
#: Maximum number of agencies or incident numbers that a call names, because nobody remembers more. Others are counted.
_MAX_SPOKEN_NAMES = 6
#: Types of incidents about notifications that fail or wait. There may be many at once; a text names the notification
#: concerned.
_ABOUT_NOTIFICATIONS = frozenset({IncidentType.UNREACHED, IncidentType.DOUBTFUL, IncidentType.UNRELEASED})
#: Kinds of incidents (see `_kind`) that concern no agency. A text names their incident numbers.
_NAMED_BY_NUMBER = frozenset({"ours", "alert", *map(str, _ABOUT_NOTIFICATIONS)})


def situation(facts: Sequence[Facts]) -> str:
    """Return the part of a text's key that the incidents of a bundle have in common.

    It consists of plan, purpose and, where the text depends on it, the kind (see `_kind`): "escalation.outage.mail".
    """
    first = facts[0]
    if first.plan is Plan.ANNOUNCEMENT:
        return f"announcement.{first.purpose}"
    if first.purpose in FOR_STAFF or first.purpose is Purpose.UPDATE:
        return f"escalation.{occasion(first)}"
    if first.by:
        # The previous assignee (`by`) escalated, or their acknowledgement expired.
        return "escalation.lapsed"
    incident_type = recovery_type(first.type) if first.purpose is Purpose.RECOVERY else first.type
    return f"escalation.{occasion(first)}.{_kind(incident_type)}"


def compose_sms(facts: Sequence[Facts], language: Language, wording: Wording, *, response: str = "") -> SmsContent:
    """Return an SMS that names as many agencies as fit; the portal has the rest.

    *response*: code with which the reader replies ("1A"), or "". Raise `UnsendableTextError` when not even one name
    fits; `WorstCase` detects that when the texts are loaded.
    """
    is_single = is_about_one_agency(facts)
    # Such as "bundle.sms.escalation.outage.mail" or, about one agency, "bundle.sms.one.escalation.recovery.mail".
    text_key = f"bundle.sms.{'one.' if is_single else ''}{situation(facts)}"
    agency = facts[0].office.short
    names = _ended_outages(facts, language) if is_single else _names(facts)
    text = ""
    by = call_name(facts[0].by)
    # If no text fits, the name of the assignee is left out, and then the response code.
    for left_out in ({}, {"by": ""}, {"by": "", "response": ""}):
        values_by_name = {
            "by": by,
            "response": response,
            **left_out,
            **values.next_step(facts, wording, language, "sms"),
        }
        texts = [
            wording.render(language, text_key, for_sms(facts, language, names[:count], len(names)) | values_by_name)
            for count in range(min(len(names), _MAX_NAMES_IN_SMS), 0, -1)
        ]
        # Some providers add a few septets, which would split a text that is longer than `SAFE_LENGTH`. So fewer names
        # are preferred to a longer text.
        for max_length in (SAFE_LENGTH, LIMIT):
            for text in texts:
                if septets(text) <= max_length and not errors(lint(text, agency)):
                    return SmsContent(text=text)
    raise UnsendableTextError(text_key, lint(text, agency))


def compose_call(
    facts: Sequence[Facts], language: Language, wording: Wording, *, may_release: bool = False
) -> VoiceContent:
    """Return two scripts: *language* first, the other for key 3. One key acknowledges all incidents.

    *may_release*: key 5 starts the release of all announcements that wait for one.
    """
    plan, purpose = facts[0].plan, facts[0].purpose
    closing = "call.release.closing" if may_release else "call.closing"

    def script_in(script_language: Language) -> Script:
        is_question = plan is Plan.ESCALATION and purpose is Purpose.OUTAGE
        return call.script(
            facts[0],
            script_language,
            wording,
            headline=_headline(facts, script_language, wording),
            blocks=tuple(_blocks(facts, script_language, wording, closing)),
            unkeyed=wording.render(script_language, "call.unkeyed.outage") if is_question else "",
            may_release=may_release,
        )

    return call.in_both_languages(language, script_in)


def is_about_one_agency(facts: Sequence[Facts]) -> bool:
    """Whether the bundle has only ended outages of one agency: its texts list numbers and times instead of agencies."""
    first = facts[0]
    return (
        all(each.office.short == first.office.short and each.ended_at is not None for each in facts)
        and _kind(first.type) not in _NAMED_BY_NUMBER
        and first.purpose is not Purpose.RESULT
    )


def _ended_outages(facts: Sequence[Facts], language: Language) -> Sequence[str]:
    """Return number and duration of each outage: "JCM-02 (24/11, 2.15 ptg-2.20 ptg)"."""
    return [f"{each.number} ({moment.span(each.began_at, each.ended_at, language)})" for each in facts if each.ended_at]


def _kind(incident_type: IncidentType) -> str:
    """Return "mail" for outages, "ours" for faults of Pantau itself, and the name of any other type."""
    if incident_type in ANNOUNCED:
        return "mail"
    other_types = {IncidentType.SIGN_IN, IncidentType.DEGRADED, IncidentType.ALERT, *_ABOUT_NOTIFICATIONS}
    return str(incident_type) if incident_type in other_types else "ours"


def _names(facts: Sequence[Facts]) -> Sequence[str]:
    """Return the names of the incidents: their agencies, each once, or their numbers.

    In a report on a release, return only the agencies with undelivered notifications, if there are any.
    """
    facts = [each for each in facts if each.undelivered] or facts
    return list(dict.fromkeys(_name(each) for each in facts))


def _name(facts: Facts) -> str:
    if facts.type is IncidentType.DOUBTFUL and facts.subject:
        return facts.subject  # Number of the notification, with the number of its incident in brackets.
    if facts.type in _ABOUT_NOTIFICATIONS and facts.subject:
        return facts.subject.partition(" (")[0]
    return facts.number if _kind(facts.type) in _NAMED_BY_NUMBER else facts.office.short


def for_sms(facts: Sequence[Facts], language: Language, names: Sequence[str], count: int) -> dict[str, str]:
    """Return the placeholders' values for an SMS that lists *names*; *count*: number of all names, listed or not."""
    return {
        "agency": facts[0].office.short,
        "number": facts[0].number,
        "count": str(count),
        "names": ", ".join(names),
        "more": str(count - len(names)) if count > len(names) else "",
        **values.release_result(facts),
        **{name: moment.stamp(at, language) for name, at in _moments(facts).items()},
    }


def for_call(facts: Sequence[Facts], language: Language) -> Mapping[str, str]:
    """Return the placeholders' values for a call: numbers and times as words."""
    is_spelled_out = _kind(facts[0].type) in _NAMED_BY_NUMBER - {"alert"}
    names = [spoken.letters(name, language) for name in _names(facts)] if is_spelled_out else _full_names(facts)
    values_by_name = {
        **values.release_result(facts),
        "count": spoken.number(len(names), language),
        "names": "; ".join(names[:_MAX_SPOKEN_NAMES]),
        "more": spoken.number(len(names) - _MAX_SPOKEN_NAMES, language) if len(names) > _MAX_SPOKEN_NAMES else "",
        "number": spoken.letters(facts[0].number, language),
        "by": facts[0].by,
    }
    return values.on_one_line(values_by_name | values.spoken_at(_moments(facts), language))


def _moments(facts: Sequence[Facts]) -> Mapping[str, datetime]:
    """Return the times that apply to the whole bundle, by placeholder.

    "began": the earliest start. "ended": the latest end. "handed" (escalated) or "heard": the latest response of the
    previous assignee. "until": the earliest end of an acknowledgement.
    """
    moments = {"began": min(each.began_at for each in facts)}
    for name, times, pick in (
        ("ended", [each.ended_at for each in facts], max),
        ("handed" if facts[0].escalated else "heard", [each.last_response_at for each in facts], max),
        ("until", [each.until for each in facts], min),
    ):
        if known_times := [at for at in times if at is not None]:
            moments[name] = pick(known_times)
    return moments


def _full_names(facts: Sequence[Facts]) -> list[str]:
    """Return the full names of the agencies, each once, selected as in `_names`."""
    facts = [each for each in facts if each.undelivered] or facts
    return list(dict.fromkeys(each.office.name for each in facts))


def _headline(facts: Sequence[Facts], language: Language, wording: Wording) -> str:
    """Return the headline; for ended outages of one agency, the headline of the outage that ended last."""
    plan = facts[0].plan
    if is_about_one_agency(facts):
        last = max(facts, key=lambda each: each.ended_at or each.began_at)
        values_by_name = values.for_call(last, language)
        opening = wording.render(language, f"call.opening.{plan}", values_by_name)
        return f"{opening} {wording.render(language, f'call.headline.{situation_key(last)}', values_by_name)}"
    opening = wording.render(language, f"bundle.call.opening.{plan}")
    headline = wording.render(language, f"bundle.call.headline.{situation(facts)}", for_call(facts, language))
    return f"{opening} {headline}"


def _blocks(facts: Sequence[Facts], language: Language, wording: Wording, closing: str) -> Iterator[str]:
    if is_about_one_agency(facts):
        yield from _blocks_about_one_agency(facts, language, wording)
        return
    values_by_name = {**for_call(facts, language), **values.next_step(facts, wording, language, "call")}
    yield from wording.render_all(language, f"bundle.call.{situation(facts)}", values_by_name)
    yield from wording.render_all(language, "bundle.call.names", values_by_name)
    yield from wording.render_all(language, closing, values_by_name)


def _blocks_about_one_agency(facts: Sequence[Facts], language: Language, wording: Wording) -> Iterator[str]:
    """Yield the sentences about each incident: first what happened, then what to do; equal sentences only once."""
    values_by_incident = [values.for_call(each, language) for each in facts]
    texts_by_incident = [
        wording.render_all(language, f"call.{situation_key(each)}", incident_values)
        for each, incident_values in zip(facts, values_by_incident, strict=True)
    ]
    what_happened = [sentence for sentences in texts_by_incident for sentence in sentences[:1]]
    what_to_do = [sentence for sentences in texts_by_incident for sentence in sentences[1:]]
    yield from dict.fromkeys([*what_happened, *what_to_do])
    numbers = "; ".join(incident_values["number"] for incident_values in values_by_incident)
    yield from wording.render_all(language, "call.closing", {**values_by_incident[0], "number": numbers})
