"""Values of the placeholders in the texts, from the facts of a notification, for SMS, voice and paper.

The facts are what a notification reports: incident, times, office, people. *channel*: "sms" or "call", as in the texts'
keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from alerts.model.notification import Facts, Language, Purpose, Successors
from alerts.wording import moment, spoken
from alerts.wording.texts import Wording

Values = Mapping[str, str]


def for_sms(facts: Facts, language: Language) -> Values:
    """Return the values for an SMS: times as "24/11, 2.15 ptg"."""
    values = {"agency": facts.office.short, "number": facts.number, "subject": subject(facts, language)}
    values |= {"by": facts.by, "relieved": facts.relieved, "declared": facts.declared_by}
    values |= release_result([facts])
    values |= {name: moment.stamp(at, language) for name, at in _moments(facts).items()}
    return on_one_line(values)


def for_call(facts: Facts, language: Language) -> Values:
    """Return the values for a call: numbers and times as words."""
    values = _names(facts, language) | spoken_at(_moments(facts), language)
    results = release_result([facts])
    counts = {name: spoken.number(int(count), language) for name, count in results.items() if count.isdecimal()}
    return on_one_line({**values, **results, **counts, "number": spoken.letters(facts.number, language)})


def for_page(facts: Facts, language: Language) -> Values:
    """Return the values for a letter or a fax. Unknown values are ""."""
    office = facts.office
    values = {
        **_names(facts, language),
        **release_result([facts]),
        **_day_date_clock(_moments(facts), language, moment.date, moment.clock),
        "agency_capitals": office.name.upper(),
        "domain": office.domain,
        "number": facts.number,
        "first_date": moment.date(facts.first_notified_at, language) if facts.first_notified_at else "",
        "address": ", ".join(line.strip().rstrip(",") for line in office.address if line.strip()),
        "telephone": office.telephone,
        "fax": office.fax,
        "hours": office.hours if language is Language.MALAY else office.hours_en,
        "contact_name": office.contact_name,
        "contact_post": office.contact_post,
        "contact_telephone": office.contact_telephone or office.telephone,
    }
    if facts.ended_at is not None:
        values["lasted"] = moment.duration_text(facts.began_at, facts.ended_at, language)
    return on_one_line(values)


def subject(facts: Facts, language: Language) -> str:
    """Return what the incident is about, such as a host, in *language* if there is such a text."""
    if language is Language.MALAY:
        return facts.subject or facts.subject_en
    return facts.subject_en or facts.subject


def failure_cause(facts: Facts, wording: Wording, language: Language, channel: str) -> Values:
    """Return the cause of a failure for an SMS or a call; empty if unknown."""
    return {"cause": wording.render(language, f"{channel}.cause.{facts.cause}")} if facts.cause else {}


def pending_release(facts: Facts, wording: Wording, language: Language, channel: str) -> Values:
    """Return, at a handover of duty, the sentence that an announcement waits for its release; empty otherwise."""
    return {"waits": wording.render(language, f"{channel}.waits")} if facts.is_handover and facts.may_release else {}


def release_result(all_facts: Sequence[Facts]) -> Values:
    """Return the result of releases: counts of notifications, and the recipients that were not reached."""
    names = list(dict.fromkeys(name for facts in all_facts for name in facts.undelivered))
    failed, unposted = sum(len(facts.undelivered) for facts in all_facts), sum(facts.unposted for facts in all_facts)
    return {
        "arrived": str(sum(facts.arrived for facts in all_facts)),
        "failed": str(failed) if failed else "",
        "unreached": next(iter(names), ""),
        "others": str(len(names) - 1) if len(names) > 1 else "",
        "unposted": str(unposted),
    }


def next_step(facts: Sequence[Facts], wording: Wording, language: Language, channel: str) -> Values:
    """Return, in a reminder, the sentence on who is notified when the acknowledgement expires; empty otherwise."""
    if facts[0].purpose is not Purpose.REMINDER:
        return {}
    successors = {each.successors for each in facts}
    situation = str(successors.pop()) if len(successors) == 1 else str(Successors.OTHERS)
    if situation == Successors.NOBODY and facts[0].office.domain == "":
        situation = "again"  # The operations centre (no domain) has no next step: it is notified again.
    return {"then": wording.render(language, f"{channel}.then.{situation}")}


def on_one_line(values: Mapping[str, str]) -> dict[str, str]:
    """Return *values* without line breaks, because in a text of a page a line break starts a list item."""
    return {name: " ".join(value.split()) for name, value in values.items()}


def _names(facts: Facts, language: Language) -> dict[str, str]:
    return {
        "agency": facts.office.short,
        "agency_name": facts.office.name,
        "subject": subject(facts, language),
        "by": facts.by,
        "relieved": facts.relieved,
        "declared": facts.declared_by,
    }


def _moments(facts: Facts) -> dict[str, datetime]:
    """Return the known times by placeholder. The previous assignee escalated ("handed") or last responded ("heard")."""
    moments = {"began": facts.began_at, "noticed": facts.notified_at}
    responded_at, escalated_at = (None, facts.last_response_at) if facts.escalated else (facts.last_response_at, None)
    issued = facts.first_notified_at if facts.unposted else None
    later = {
        "ended": facts.ended_at,
        "heard": responded_at,
        "handed": escalated_at,
        "until": facts.until,
        "issued": issued,
    }
    return moments | {name: at for name, at in later.items() if at is not None}


def spoken_at(moments: Mapping[str, datetime], language: Language) -> dict[str, str]:
    """Return day, date and clock time of each of *moments*, by its name, as words."""
    return _day_date_clock(moments, language, spoken.date, spoken.clock)


def _day_date_clock(
    moments: Mapping[str, datetime],
    language: Language,
    date: Callable[[datetime, Language], str],
    clock: Callable[[datetime, Language], str],
) -> dict[str, str]:
    values = {}
    for name, at in moments.items():
        values[f"{name}_day"] = moment.weekday(at, language)
        values[f"{name}_date"] = date(at, language)
        values[f"{name}_clock"] = clock(at, language)
    return values
