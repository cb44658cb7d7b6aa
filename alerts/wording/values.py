"""Values of the placeholders: the same facts for SMS, voice and paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from alerts.model.notification import Facts, Language, Purpose, Successors
from alerts.wording import moment, spoken
from alerts.wording.texts import Wording

Values = Mapping[str, str]


def for_sms(facts: Facts, language: Language) -> Values:
    """Return the values for an SMS: moments as "24/11, 2.15 ptg"."""
    values = {"agency": facts.office.short, "number": facts.number, "subject": subject(facts, language)}
    values |= {"by": facts.by, "relieved": facts.relieved, "declared": facts.declared_by}
    values |= result([facts])
    values |= {name: moment.stamp(at, language) for name, at in _moments(facts).items()}
    return on_one_line(values)


def for_call(facts: Facts, language: Language) -> Values:
    """Return the values for a voice: numbers and times as words."""
    values = _names(facts, language) | spoken_at(_moments(facts), language)
    came_of = result([facts])
    counts = {name: spoken.number(int(count), language) for name, count in came_of.items() if count.isdecimal()}
    return on_one_line({**values, **came_of, **counts, "number": spoken.letters(facts.number, language)})


def for_page(facts: Facts, language: Language) -> Values:
    """Return the values for a letter or a fax. Unknown values are ""."""
    office = facts.office
    values = {
        **_names(facts, language),
        **result([facts]),
        **_told(_moments(facts), language, moment.date, moment.clock),
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
        values["lasted"] = moment.lasted(facts.began_at, facts.ended_at, language)
    return on_one_line(values)


def subject(facts: Facts, language: Language) -> str:
    """Return what our own fault affects, in the other language if need be."""
    if language is Language.MALAY:
        return facts.subject or facts.subject_en
    return facts.subject_en or facts.subject


def cause(facts: Facts, wording: Wording, language: Language, channel: str) -> Values:
    """Return the cause of a failure for an SMS or a call; empty if unknown."""
    return {"cause": wording.say(language, f"{channel}.cause.{facts.cause}")} if facts.cause else {}


def waits(facts: Facts, wording: Wording, language: Language, channel: str) -> Values:
    """Return that an announcement waits for its release, for a handover of duty; empty otherwise."""
    return {"waits": wording.say(language, f"{channel}.waits")} if facts.is_handover and facts.may_release else {}


def result(told: Sequence[Facts]) -> Values:
    """Return the result of releases: delivered and failed notifications, and who was not reached."""
    names = list(dict.fromkeys(name for facts in told for name in facts.undelivered))
    failed, unposted = sum(len(facts.undelivered) for facts in told), sum(facts.unposted for facts in told)
    return {
        "arrived": str(sum(facts.arrived for facts in told)),
        "failed": str(failed) if failed else "",
        "unreached": next(iter(names), ""),
        "others": str(len(names) - 1) if len(names) > 1 else "",
        "unposted": str(unposted),
    }


def then(facts: Sequence[Facts], wording: Wording, language: Language, channel: str) -> Values:
    """Return who is notified when an acknowledgement expires, for a reminder; empty otherwise."""
    if facts[0].purpose is not Purpose.REMINDER:
        return {}
    who = {each.successors for each in facts}
    situation = str(who.pop()) if len(who) == 1 else str(Successors.OTHERS)
    if situation == Successors.NOBODY and facts[0].office.domain == "":
        situation = "again"  # The operations centre has no next step.
    return {"then": wording.say(language, f"{channel}.then.{situation}")}


def on_one_line(values: Mapping[str, str]) -> dict[str, str]:
    """Return *values* without line breaks, because a line break starts a list item."""
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
    moments = {"began": facts.began_at, "noticed": facts.notified_at}
    heard, handed = (None, facts.last_response_at) if facts.escalated else (facts.last_response_at, None)
    issued = facts.first_notified_at if facts.unposted else None
    later = {"ended": facts.ended_at, "heard": heard, "handed": handed, "until": facts.until, "issued": issued}
    return moments | {name: at for name, at in later.items() if at is not None}


def spoken_at(moments: Mapping[str, datetime], language: Language) -> dict[str, str]:
    """Return day, date and clock time of each of *moments*, by its name, as words."""
    return _told(moments, language, spoken.date, spoken.clock)


def _told(
    moments: Mapping[str, datetime],
    language: Language,
    date: Callable[[datetime, Language], str],
    clock: Callable[[datetime, Language], str],
) -> dict[str, str]:
    told = {}
    for name, at in moments.items():
        told[f"{name}_day"] = moment.weekday(at, language)
        told[f"{name}_date"] = date(at, language)
        told[f"{name}_clock"] = clock(at, language)
    return told
