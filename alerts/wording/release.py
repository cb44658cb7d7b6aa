"""What a duty officer hears who releases an announcement in a call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from alerts.brief import AnnouncementPlan
from alerts.channel import Channel
from alerts.notice import Facts, Language
from alerts.wording import spoken, values
from alerts.wording.texts import Wording


def say(line: str, wording: Wording) -> Mapping[str, str]:
    """Return one of the lines below `call.release` that tell nothing of the incident, by language."""
    return {language.value: wording.say(language, f"call.release.{line}") for language in Language}


def confirm(facts: Facts, plan: AnnouncementPlan, wording: Wording) -> Mapping[str, str]:
    """Return what would go out, to how many and by which channels, by language."""
    return {
        language.value: wording.say(
            language,
            f"call.release.confirm.{facts.matter}",
            {
                **values.for_call(facts, language),
                "recipients": spoken.number(len(plan.recipients), language),
                "counts": _counts(plan, language, wording),
            },
        )
        for language in Language
    }


def done(plan: AnnouncementPlan, wording: Wording) -> Mapping[str, str]:
    """Return that it was released, by language."""
    return {
        language.value: wording.say(
            language, "call.release.done", {"recipients": spoken.number(len(plan.recipients), language)}
        )
        for language in Language
    }


def _counts(plan: AnnouncementPlan, language: Language, wording: Wording) -> str:
    """Return "satu SMS, dua faks dan satu surat", in the order of the channels."""
    channels = Counter(address.channel for recipient in plan.recipients for address in recipient.addresses)
    *before, last = (
        wording.say(language, f"call.release.count.{channel}", {"count": spoken.number(channels[channel], language)})
        for channel in Channel
        if channels[channel]
    )
    return f"{', '.join(before)} {wording.say(language, 'letter.and')} {last}" if before else last
